//go:build !race

package replicatest_test

const underRace = false
