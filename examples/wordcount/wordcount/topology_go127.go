//go:build go1.27

package wordcount

import (
	"strings"

	"github.com/runnel-go/runnel/streams"
)

// Topology splits lines into words, ignoring case, and counts each word.
func Topology(t *streams.Topology) {
	streams.Stream(t, lines).
		FlatMapValues(func(line string) []string { return strings.Fields(strings.ToLower(line)) }).
		GroupBy(func(_, word string) string { return word }).
		Count("counts").
		ToStream().
		To(totals)
}
