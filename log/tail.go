package log

import (
	"math"
	"sort"
	"sync/atomic"
)

// Recycler takes back a buffer that nobody uses any more. Recycle is called by
// any goroutine and must not block.
type Recycler interface{ Recycle(buf []byte) }

// tail keeps what was appended last, so that those who read along need no file.
// The log's writer adds and evicts; readers take no lock. A reader that is
// overtaken by eviction finds nothing, and the same bytes in the file.
type tail struct {
	budget int // bytes of buffers that may be kept, but for the newest
	ring   atomic.Pointer[ring]

	// The writer's own.
	bytes int    // the capacity of the buffers in the ring
	spare *entry // entries to use again
}

// ring is a circle of entries in the order of their offsets.
type ring struct {
	slots       []atomic.Pointer[entry] // a power of two
	first, next atomic.Uint64           // entries first to next-1 are there, each at its number modulo len(slots)
}

func (r *ring) slot(i uint64) *atomic.Pointer[entry] { return &r.slots[i&uint64(len(r.slots)-1)] }

// entry is the buffer of one append. Whoever holds a reference may read every
// field; base may be read by anybody, as a clue.
type entry struct {
	base atomic.Int64 // the first offset
	next int64        // the offset after the last one

	buf      []byte
	recycler Recycler

	refs  atomic.Int64 // the ring's and one for each reader; at 0 nobody may read
	spare *entry       // the next in tail.spare
}

func (e *entry) acquire() bool {
	for {
		n := e.refs.Load()
		if n == 0 {
			return false
		}
		if e.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release lets go of a reference, gives the buffer back with the last one, and
// reports whether it was the last.
func (e *entry) release() bool {
	buf, recycler := e.buf, e.recycler
	if e.refs.Add(-1) > 0 {
		return false
	}
	if recycler != nil {
		recycler.Recycle(buf)
	}
	return true
}

// add takes up the buffer of an append and evicts what no longer fits.
func (t *tail) add(base, next int64, buf []byte, r Recycler) {
	if t.budget <= 0 {
		if r != nil {
			r.Recycle(buf)
		}
		return
	}
	t.evict(t.budget - cap(buf))
	e := t.spare
	if e != nil {
		t.spare, e.spare = e.spare, nil
	} else {
		e = new(entry)
	}
	e.base.Store(base)
	e.next, e.buf, e.recycler = next, buf, r
	e.refs.Store(1)
	ring := t.room()
	i := ring.next.Load()
	ring.slot(i).Store(e)
	ring.next.Store(i + 1)
	t.bytes += cap(buf)
}

// room returns a ring with a free slot.
func (t *tail) room() *ring {
	old := t.ring.Load()
	if old == nil {
		old = &ring{slots: make([]atomic.Pointer[entry], 4)}
		t.ring.Store(old)
		return old
	}
	first, next := old.first.Load(), old.next.Load()
	if next-first < uint64(len(old.slots)) {
		return old
	}
	larger := &ring{slots: make([]atomic.Pointer[entry], 2*len(old.slots))}
	for i := first; i < next; i++ {
		larger.slot(i).Store(old.slot(i).Load())
	}
	larger.first.Store(first)
	larger.next.Store(next)
	t.ring.Store(larger)
	return larger
}

// evict drops the oldest entries until the rest takes at most budget bytes.
func (t *tail) evict(budget int) {
	ring := t.ring.Load()
	if ring == nil {
		return
	}
	for t.bytes > max(budget, 0) {
		t.drop(ring)
	}
}

// forget drops the entries that end at or before an offset.
func (t *tail) forget(before int64) {
	ring := t.ring.Load()
	for ring != nil && ring.first.Load() < ring.next.Load() && ring.slot(ring.first.Load()).Load().next <= before {
		t.drop(ring)
	}
}

// drop drops the oldest entry.
func (t *tail) drop(ring *ring) {
	i := ring.first.Load()
	e := ring.slot(i).Swap(nil)
	ring.first.Store(i + 1)
	t.bytes -= cap(e.buf)
	if e.release() {
		// Nobody reads it and nobody can begin to, so it is the writer's.
		e.buf, e.recycler = nil, nil
		e.spare, t.spare = t.spare, e
	}
}

// find returns the entry that holds an offset, acquired, with its number in
// the ring; or nil.
func (t *tail) find(offset int64) (*ring, uint64, *entry) {
	r := t.ring.Load()
	if r == nil {
		return nil, 0, nil
	}
	next, first := r.next.Load(), r.first.Load()
	if first >= next {
		return nil, 0, nil
	}
	base := func(i uint64) int64 {
		if e := r.slot(i).Load(); e != nil {
			return e.base.Load()
		}
		return math.MinInt64 // evicted, so before all that are left
	}
	i := next - 1
	if base(i) > offset {
		n := sort.Search(int(i-first), func(n int) bool { return base(first+uint64(n)) > offset })
		if n == 0 {
			return nil, 0, nil
		}
		i = first + uint64(n) - 1
	}
	return r, i, r.take(i, offset)
}

// take acquires the i-th entry if it is there and holds the offset. What was
// looked at without a reference was a clue: the slot, or the entry, may serve
// other offsets by now.
func (r *ring) take(i uint64, offset int64) *entry {
	e := r.slot(i).Load()
	if e == nil || !e.acquire() {
		return nil
	}
	if base := e.base.Load(); offset < base || offset >= e.next {
		e.release()
		return nil
	}
	return e
}
