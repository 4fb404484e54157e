// Package lint holds the rules of this code base that the compiler does not
// know: which package may import which, what an engine package never links,
// what a test never does, and that every exported thing is documented and shown
// by an example. It has tests only; each names the rule that it holds and, when
// it fails, the file or package that breaks it.
//
// The rules read sources and `go list`, nothing else, so they hold for every
// package in the tree from the moment it exists.
package lint
