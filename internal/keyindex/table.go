package keyindex

import "slices"

// entry says that a key of this hash has a record at an offset.
type entry struct {
	hash   uint64
	offset int64
}

func (e entry) less(f entry) bool {
	return e.hash < f.hash || e.hash == f.hash && e.offset < f.offset
}

// table has the newest entries, in memory, by rising offsets.
type table struct {
	entries []entry
	before  []int32          // by entry: the one before it with its hash, or -1
	last    map[uint64]int32 // by hash
}

func newTable() *table { return &table{last: map[uint64]int32{}} }

func (t *table) add(e entry) {
	before, ok := t.last[e.hash]
	if !ok {
		before = -1
	}
	t.last[e.hash] = int32(len(t.entries))
	t.entries, t.before = append(t.entries, e), append(t.before, before)
}

// lastBefore returns the last offset of a hash before another offset.
func (t *table) lastBefore(hash uint64, bound int64) (int64, bool) {
	i, ok := t.last[hash]
	for ; ok && i >= 0; i = t.before[i] {
		if o := t.entries[i].offset; o < bound {
			return o, true
		}
	}
	return 0, false
}

// from appends the offsets of a hash from one on, in their order, until dst has n.
func (t *table) from(dst []int64, hash uint64, from int64, n int) []int64 {
	begin := len(dst)
	i, ok := t.last[hash]
	for ; ok && i >= 0 && t.entries[i].offset >= from; i = t.before[i] {
		dst = append(dst, t.entries[i].offset)
	}
	slices.Reverse(dst[begin:])
	return dst[:min(len(dst), max(n, begin))]
}
