package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// Sizes of a record's parts.
const (
	keyLen   = 16
	valueLen = 100
)

// Work describes what a case must do and where.
type Work struct {
	records int    // how many records a fast case does
	dir     string // an empty directory of the case's own
	keys    []byte // keys, one after the other
	values  []byte // bytes in which values begin anywhere
	joined  []byte // keys each with its value, one after the other
	text    []string
	profile *os.File // where a profile of the case goes, or nil
}

// tableLen is how many keys and values there are before they repeat: too many
// for a CPU to predict, and few enough to stay in its cache.
const tableLen = 4096

// newWork prepares keys, values and text, so that no case spends time on that.
func newWork(dir string, records, words int) *Work {
	random := rand.New(rand.NewPCG(1, 2))
	w := &Work{records: records, dir: dir}
	for i := range tableLen {
		w.keys = fmt.Appendf(w.keys, "key-%012d", i)
	}
	w.values = make([]byte, tableLen+valueLen)
	for i := range w.values {
		w.values[i] = byte(random.Uint32())
	}
	for i := range tableLen {
		w.joined = append(append(w.joined, w.key(i)...), w.value(i)...)
	}
	w.text = zipfText(random, words)
	return w
}

func (w *Work) key(i int) []byte {
	at := i % tableLen * keyLen
	return w.keys[at : at+keyLen : at+keyLen]
}

func (w *Work) value(i int) []byte {
	at := i % tableLen
	return w.values[at : at+valueLen : at+valueLen]
}

// payload returns key and value as one slice, for stores of byte slices.
func (w *Work) payload(i int) []byte {
	at := i % tableLen * (keyLen + valueLen)
	return w.joined[at : at+keyLen+valueLen : at+keyLen+valueLen]
}

// part returns how many records a case does that is slower by that factor.
func (w *Work) part(slower int) int { return max(w.records/slower, min(w.records, 100)) }

func (w *Work) path(name string) string { return filepath.Join(w.dir, name) }

// payloadBytes returns the length of n records' keys and values.
func payloadBytes(n int) int64 { return int64(n) * (keyLen + valueLen) }

// tally counts what a case read.
type tally struct{ records, bytes int64 }

func (t *tally) add(key, value []byte) {
	t.records++
	t.bytes += int64(len(key) + len(value))
}

func (t *tally) addJoined(payload []byte) { t.add(payload[:keyLen], payload[keyLen:]) }

// check returns an error unless n whole records were counted.
func (t *tally) check(n int) error {
	if t.records != int64(n) || t.bytes != payloadBytes(n) {
		return fmt.Errorf("read %d records of %d bytes, not %d of %d", t.records, t.bytes, n, payloadBytes(n))
	}
	return nil
}

// checkCount returns an error unless a store's own count is n.
func checkCount[N int | int64 | uint64](got N, n int) error {
	if int64(got) != int64(n) {
		return fmt.Errorf("%d records are stored, not %d", int64(got), n)
	}
	return nil
}

// zipfText returns lines of ten words, n words in all, with the frequencies of
// a natural language: few are frequent and most are rare, frequent ones are
// short, and some begin with a capital.
func zipfText(random *rand.Rand, n int) []string {
	const vocabulary = 30_000
	words := make([]string, vocabulary)
	for i := range words {
		length := 1 + min(i, 40)/10 + random.IntN(6)
		word := make([]byte, length)
		for j := range word {
			word[j] = 'a' + byte(random.IntN(26))
		}
		words[i] = string(word)
	}
	zipf := rand.NewZipf(random, 1.07, 3, vocabulary-1)
	var lines []string
	var line []byte
	for i := range n {
		word := words[zipf.Uint64()]
		if i%10 > 0 {
			line = append(line, ' ')
		}
		at := len(line)
		line = append(line, word...)
		if i%10 == 0 {
			line[at] -= 'a' - 'A'
		}
		if i%10 == 9 || i == n-1 {
			lines, line = append(lines, string(line)), line[:0]
		}
	}
	return lines
}
