package fetch

import (
	"runtime"
	"sync"

	"github.com/runnel-go/runnel/consumer"
)

// Bounds of what a session fetches ahead. Many partitions share one budget.
const (
	fetchBudget   = 32 << 20 // bytes of all sources together, about
	minChunkBytes = 64 << 10
)

// chunkBytes is how much is read from one partition at once.
func (s *Session) chunkBytes() int {
	s.mu.Lock()
	n := len(s.sources)
	s.mu.Unlock()
	return min(s.cfg.MaxBytes, max(minChunkBytes, fetchBudget/max(1, (1+chunksAhead)*n)))
}

// buffers are those of a session with ReuseBuffers; otherwise every read has its
// own, which the garbage collector owns together with the records in it. They
// belong to the goroutine that fetches.
//
// A buffer is shared: many Fetches bring records of one chunk, and each has a lease
// of its own. So a buffer counts who uses it, and is free when it was decoded through
// and the last lease of records in it is released:
//
//	       read        decoded through       the last lease is released
//	free -------> used ---------------> used ---------------------------> free
//	              by its source         by leases alone
//	              and by leases
//
// Nothing is allocated for a lease once there were as many at a time.
type buffers struct {
	reuse  bool
	free   [][]byte
	spare  []*buffer // that stand for no bytes
	leases []lease   // a Lease names its place here
	ended  []uint32  // places that are free
	open   *lease    // of the Fetch at hand, once it brought records; nil before
	at     uint32    // its place
}

// buffer is bytes that records point into: a chunk, or a batch that was decompressed.
type buffer struct {
	chunk
	uses int // the source that decodes it, and the leases of records in it
}

// lease is what the records of one Fetch point into.
type lease struct {
	life    uint32 // told apart from earlier leases at its place by this
	buffers []*buffer
}

// maxFree is how many buffers are kept for later.
const maxFree = 8

// take returns a buffer of at least n bytes, or nil for Read to make its own.
func (b *buffers) take(n int) []byte {
	if !b.reuse {
		return nil
	}
	for i := len(b.free) - 1; i >= 0; i-- {
		if buf := b.free[i]; cap(buf) >= n {
			b.free[i] = b.free[len(b.free)-1]
			b.free = b.free[:len(b.free)-1]
			return buf[:0]
		}
	}
	return make([]byte, 0, n)
}

// hold returns the buffer of a chunk that is to be decoded, which the source uses
// until drop. It is nil where the garbage collector owns it.
func (b *buffers) hold(c *chunk) *buffer {
	if !b.reuse || c.buf == nil && !c.Memory {
		return nil
	}
	var own *buffer
	if n := len(b.spare); n > 0 {
		own, b.spare = b.spare[n-1], b.spare[:n-1]
	} else {
		own = new(buffer)
	}
	own.chunk, own.uses = *c, 1
	return own
}

// lease notes that records of the Fetch at hand point into a buffer.
func (b *buffers) lease(used *buffer) {
	if b.open == nil {
		b.begin()
	}
	l := b.open
	if n := len(l.buffers); n > 0 && l.buffers[n-1] == used {
		return // batch after batch
	}
	used.uses++
	l.buffers = append(l.buffers, used)
}

// begin begins the lease of the Fetch at hand.
func (b *buffers) begin() {
	if n := len(b.ended); n > 0 {
		b.at, b.ended = b.ended[n-1], b.ended[:n-1]
	} else {
		b.at = uint32(len(b.leases))
		b.leases = append(b.leases, lease{life: 1})
	}
	b.open = &b.leases[b.at]
}

// leaseOf ends the lease of the Fetch at hand, which brought so many records, and
// returns its name. Where it brought none, there is nothing to lease.
func (b *buffers) leaseOf(records int) consumer.Lease {
	if b.open == nil {
		return 0
	}
	name := consumer.Lease(b.open.life)<<32 | consumer.Lease(b.at)
	b.open = nil
	if records == 0 {
		b.release(name)
		return 0
	}
	return name
}

// release ends a lease, unless it has ended.
func (b *buffers) release(name consumer.Lease) {
	at, life := uint32(name), uint32(name>>32)
	if int64(at) >= int64(len(b.leases)) || b.leases[at].life != life {
		return
	}
	l := &b.leases[at]
	if l.life++; l.life == 0 {
		l.life = 1 // so that no lease is named 0
	}
	for i, used := range l.buffers {
		b.drop(used)
		l.buffers[i] = nil
	}
	l.buffers = l.buffers[:0]
	b.ended = append(b.ended, at)
}

// drop ends one use of a buffer; nil is none.
func (b *buffers) drop(used *buffer) {
	if used == nil {
		return
	}
	if used.uses--; used.uses > 0 {
		return
	}
	b.recycle(used.chunk)
	used.chunk = chunk{}
	b.spare = append(b.spare, used)
}

// recycle takes back what a chunk was read into.
func (b *buffers) recycle(c chunk) {
	switch {
	case !b.reuse:
		return
	case c.Memory:
		c.Release()
	case cap(c.Bytes) > cap(c.buf):
		c.buf = c.Bytes // a batch that was larger than the buffer
	}
	b.give(c.buf)
}

func (b *buffers) give(buf []byte) {
	if len(b.free) < maxFree && cap(buf) > 0 {
		b.free = append(b.free, buf[:0])
	}
}

// chunkPool gives out buffers that the garbage collector gives back: a finalizer
// takes those to which no record points any more. A replay of small records into
// fresh memory makes the collector run all the time, and every pointer that is
// written meanwhile costs several times as much. What nobody wants again is let
// go after two collections, as with any sync.Pool.
type chunkPool struct{ free sync.Pool }

type pooledChunk [1 << 20]byte

// take returns a buffer for a chunk of n bytes, or nil where the pool has none
// of that size.
func (p *chunkPool) take(n int) []byte {
	if n != len(pooledChunk{}) {
		return nil
	}
	c, ok := p.free.Get().(*pooledChunk)
	if !ok {
		c = new(pooledChunk)
	}
	runtime.SetFinalizer(c, p.back)
	return c[:0]
}

// back is the finalizer of what take gave out.
func (p *chunkPool) back(c *pooledChunk) { p.free.Put(c) }
