package main

import (
	"context"
	"runtime"
	"strings"
)

// words returns a line's words, in lower case.
func words(line string) []string { return strings.Fields(strings.ToLower(line)) }

// countWords is the plain loop with a map, and the right answer.
func countWords(lines []string) (counts map[string]int64, total, bytes int64) {
	counts = map[string]int64{}
	for _, line := range lines {
		bytes += int64(len(line))
		for _, word := range words(line) {
			counts[word]++
			total++
		}
	}
	return counts, total, bytes
}

func plainWordCount(_ context.Context, w *Work) (Sample, error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	m := w.start()
	counts, total, bytes := countWords(w.text)
	sample := m.done(total, bytes)
	var sum int64
	for _, n := range counts {
		sum += n
	}
	return sample, checkCount(sum, int(total))
}
