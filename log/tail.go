package log

import (
	"math"
	"sort"
	"sync/atomic"
)

// Recycler takes back a buffer that is no longer used. Any goroutine may call
// Recycle, which must not block.
type Recycler interface{ Recycle(buf []byte) }

// tail keeps the newest appends in memory, so that consumers at the end of the log
// read no file. The log's writer adds and evicts entries; readers take no lock. An
// entry may be evicted, and even used for another append, while a reader looks for
// it. The reader then reads the same batches from the file.
type tail struct {
	budget int // how many bytes of buffers may be kept, besides the newest
	ring   atomic.Pointer[ring]

	// The writer's own.
	bytes int    // the capacity of the buffers in the ring
	spare *entry // a list of entries to reuse
}

// ring is a circular buffer of entries in the order of their offsets. A ring that
// is full is replaced by a larger one.
type ring struct {
	slots       []atomic.Pointer[entry] // a power of two
	first, next atomic.Uint64           // it has the entries first to next-1, each at its number modulo len(slots)
}

func (r *ring) slot(i uint64) *atomic.Pointer[entry] { return &r.slots[i&uint64(len(r.slots)-1)] }

// entry is the buffer of one append. Its fields may only be read with a reference,
// except base, which any reader may load as a hint: it is compared again once the
// reader has a reference.
type entry struct {
	base atomic.Int64 // the first offset
	next int64        // the offset after the last one

	buf      []byte
	recycler Recycler

	refs  atomic.Int64 // the ring's and one for each reader; at 0 the entry is the writer's
	spare *entry       // the next in tail.spare
}

// acquire adds a reference, and returns false if there was none left.
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

// release drops a reference and reports whether it was the last one, with which it
// recycles the buffer. It reads the fields first: without a reference, the entry may
// be reused at once.
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

// add adds the buffer of an append and evicts the oldest entries beyond the budget.
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
		// No reader has a reference or can get one: the entry is the writer's to reuse.
		e.buf, e.recycler = nil, nil
		e.spare, t.spare = t.spare, e
	}
}

// find returns the entry that holds an offset, with a reference, and its number in
// the ring; or nil. It searches without references, by the entries' bases, and
// acquire checks the result.
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
		return math.MinInt64 // evicted, and so before all others
	}
	i := next - 1
	if base(i) > offset {
		n := sort.Search(int(i-first), func(n int) bool { return base(first+uint64(n)) > offset })
		if n == 0 {
			return nil, 0, nil
		}
		i = first + uint64(n) - 1
	}
	return r, i, r.acquire(i, offset)
}

// acquire returns the i-th entry with a reference, if it holds the offset. The
// check comes after the reference: before, the slot or the entry could be reused
// for other offsets at any time.
func (r *ring) acquire(i uint64, offset int64) *entry {
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
