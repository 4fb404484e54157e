//go:build !go1.27

package wordcount

import (
	"strings"

	"github.com/runnel-go/runnel/streams"
)

// Go 1.27 builds the same topology from topology_go127.go, as one chain.

// Topology splits lines into words, ignoring case, and counts each word.
func Topology(t *streams.Topology) {
	words := streams.FlatMapValues(streams.Stream(t, lines), func(line string) []string {
		return strings.Fields(strings.ToLower(line))
	})
	byWord := streams.GroupBy(words, func(_, word string) string { return word })
	streams.Count(byWord, "counts").ToStream().To(totals)
}
