//go:build race

package log

// underRace says that the race detector runs, which makes everything many times
// slower and finds nothing in what one goroutine does alone. Tests that do so for
// long do a part of it then; without the detector they do all of it.
const underRace = true
