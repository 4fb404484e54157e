package log

import (
	"bytes"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/runnel-go/runnel/record"
)

const epochName = "leader-epoch-checkpoint"

// maxEpochFile bounds the size of a leader-epoch-checkpoint that is read: a million
// entries.
const maxEpochFile = 32 << 20

// EpochEntry is a leader epoch and the offset of its first record.
type EpochEntry struct {
	Epoch int32
	Start int64
}

// encodeEpochs writes entries as Kafka's leader-epoch-checkpoint has them: the
// version 0, the number of entries, and "epoch offset" for each.
func encodeEpochs(entries []EpochEntry) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "0\n%d\n", len(entries))
	for _, e := range entries {
		fmt.Fprintf(&b, "%d %d\n", e.Epoch, e.Start)
	}
	return b.Bytes()
}

// decodeEpochs decodes such a file. ok is false if the bytes are not one.
func decodeEpochs(b []byte) (entries []EpochEntry, ok bool) {
	lines := strings.Split(string(b), "\n")
	if len(lines) < 3 || lines[0] != "0" || lines[len(lines)-1] != "" {
		return nil, false
	}
	n, err := strconv.Atoi(lines[1])
	if err != nil || n != len(lines)-3 {
		return nil, false
	}
	for _, line := range lines[2 : len(lines)-1] {
		epoch, start, _ := strings.Cut(line, " ")
		e, err := strconv.ParseInt(epoch, 10, 32)
		if err != nil {
			return nil, false
		}
		at, err := strconv.ParseInt(start, 10, 64)
		if err != nil || at < 0 || e < 0 {
			return nil, false
		}
		if last := len(entries) - 1; last >= 0 && (entries[last].Epoch >= int32(e) || entries[last].Start >= at) {
			return nil, false
		}
		entries = append(entries, EpochEntry{int32(e), at})
	}
	return entries, true
}

// epochAt returns the leader epoch of an offset, or record.NoLeaderEpoch for one
// before the first entry.
func epochAt(entries []EpochEntry, offset int64) int32 {
	if n := len(entries); n > 0 && entries[n-1].Start <= offset {
		return entries[n-1].Epoch
	}
	i := sort.Search(len(entries), func(i int) bool { return entries[i].Start > offset })
	if i == 0 {
		return record.NoLeaderEpoch
	}
	return entries[i-1].Epoch
}

// latestEpoch returns the last entry's epoch, or record.NoLeaderEpoch.
func latestEpoch(entries []EpochEntry) int32 {
	if len(entries) == 0 {
		return record.NoLeaderEpoch
	}
	return entries[len(entries)-1].Epoch
}

// withEpoch returns entries with one for a batch that begins at start, or the same
// entries if the batch is of the latest epoch. It drops entries from start on:
// epochs of which no record is left.
func withEpoch(entries []EpochEntry, epoch int32, start int64) []EpochEntry {
	if epoch <= latestEpoch(entries) {
		return entries
	}
	return append(epochsBelow(entries, start), EpochEntry{epoch, start})
}

// epochsBelow returns the entries of a log that ends at end.
func epochsBelow(entries []EpochEntry, end int64) []EpochEntry {
	i := sort.Search(len(entries), func(i int) bool { return entries[i].Start >= end })
	return entries[:i:i]
}

// epochsFrom returns the entries of a log that starts at start. The epoch of start
// then begins there.
func epochsFrom(entries []EpochEntry, start int64) []EpochEntry {
	i := sort.Search(len(entries), func(i int) bool { return entries[i].Start > start })
	if i == 0 || entries[i-1].Start == start && i == 1 {
		return entries
	}
	left := append([]EpochEntry(nil), entries[i-1:]...)
	left[0].Start = start
	return left
}
