//go:build race

package replicatest_test

// underRace says that the race detector runs, which makes everything many times slower.
// Tests of a hundred seeds take a part of them then, and all of them without it.
const underRace = true
