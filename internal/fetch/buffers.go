package fetch

import (
	"runtime"
	"sync"

	"github.com/runnel-go/runnel/consumer"
)

// Limits of what a session reads into memory. Its partitions share one budget, so that
// a session of many partitions doesn't hold a large chunk of each.
const (
	fetchBudget   = 32 << 20 // about how many bytes all sources may hold together
	minChunkBytes = 64 << 10
)

// chunkBytes returns how much to read from one partition at once: its share of the
// budget, divided among the chunk being decoded and those read ahead.
func (s *Session) chunkBytes() int {
	s.mu.Lock()
	n := len(s.sources)
	s.mu.Unlock()
	return min(s.cfg.MaxBytes, max(minChunkBytes, fetchBudget/max(1, (1+chunksAhead)*n)))
}

// buffers are the buffers of a session with ReuseBuffers. Without that option, every
// read has a buffer of its own, and the garbage collector owns it. They belong to the
// goroutine that fetches.
//
// Keys and values of records point into the buffer that was read, and one buffer has
// the records of many Fetches, each with a lease of its own. So a buffer counts
// references: of the source that decodes it, and of each lease of records in it. It is
// free once it was decoded to its end and the last of these leases was released:
//
//	       read        decoded to its end    the last lease is released
//	free -------> used ---------------> used ---------------------------> free
//	              by its source         by leases alone
//	              and by leases
//
// A Lease is the index of a lease together with its life, which counts how often the
// index was used. So releasing a lease twice does nothing, and no lease needs an
// allocation once there have been as many at a time.
type buffers struct {
	reuse  bool
	free   [][]byte
	spare  []*buffer // without bytes, to be used again
	leases []lease   // by index
	ended  []uint32  // the indexes that are free
	open   *lease    // of the current Fetch, once it has records; nil before
	at     uint32    // its index
}

// buffer holds bytes that records point into: a chunk, or a decompressed batch.
type buffer struct {
	chunk
	refs int // the source that decodes it, and the leases of records in it
}

// lease has the buffers that the records of one Fetch point into.
type lease struct {
	life    uint32 // differs from that of earlier leases with the same index; never 0
	buffers []*buffer
}

// maxFree is how many free buffers are kept.
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

// hold returns the buffer of a chunk that is about to be decoded. The source has a
// reference to it, until unref. It is nil if the garbage collector owns the bytes.
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
	own.chunk, own.refs = *c, 1
	return own
}

// lease adds a buffer to the lease of the current Fetch.
func (b *buffers) lease(used *buffer) {
	if b.open == nil {
		b.begin()
	}
	l := b.open
	if n := len(l.buffers); n > 0 && l.buffers[n-1] == used {
		return // the next batch of the same chunk
	}
	used.refs++
	l.buffers = append(l.buffers, used)
}

// begin begins the lease of the current Fetch.
func (b *buffers) begin() {
	if n := len(b.ended); n > 0 {
		b.at, b.ended = b.ended[n-1], b.ended[:n-1]
	} else {
		b.at = uint32(len(b.leases))
		b.leases = append(b.leases, lease{life: 1})
	}
	b.open = &b.leases[b.at]
}

// leaseOf completes the lease of the current Fetch, which returns so many records. If it
// returns none, the lease is released at once: an error came after they were decoded.
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

// release ends a lease, unless it has ended already.
func (b *buffers) release(name consumer.Lease) {
	at, life := uint32(name), uint32(name>>32)
	if int64(at) >= int64(len(b.leases)) || b.leases[at].life != life {
		return
	}
	l := &b.leases[at]
	if l.life++; l.life == 0 {
		l.life = 1 // a Lease of 0 means none
	}
	for i, used := range l.buffers {
		b.unref(used)
		l.buffers[i] = nil
	}
	l.buffers = l.buffers[:0]
	b.ended = append(b.ended, at)
}

// unref drops a reference to a buffer, which may be nil. After the last one the buffer
// is free.
func (b *buffers) unref(used *buffer) {
	if used == nil {
		return
	}
	if used.refs--; used.refs > 0 {
		return
	}
	b.recycle(used.chunk)
	used.chunk = chunk{}
	b.spare = append(b.spare, used)
}

// recycle makes the bytes of a chunk available for later reads.
func (b *buffers) recycle(c chunk) {
	switch {
	case !b.reuse:
		return
	case c.Memory:
		c.Release()
	case cap(c.Bytes) > cap(c.buf):
		c.buf = c.Bytes // a batch was larger than the buffer, and Read made a larger one
	}
	b.give(c.buf)
}

func (b *buffers) give(buf []byte) {
	if len(b.free) < maxFree && cap(buf) > 0 {
		b.free = append(b.free, buf[:0])
	}
}

// chunkPool has buffers for sessions without ReuseBuffers. Records own their bytes
// there, so only the garbage collector knows when a buffer is unused: a finalizer
// returns it to the pool. Without the pool, a replay of small records would fill fresh
// memory all the time, and so would make the collector run all the time; meanwhile
// every write of a pointer costs several times as much. A buffer that isn't used again
// is freed after two collections, as in any sync.Pool.
type chunkPool struct{ free sync.Pool }

type pooledChunk [1 << 20]byte

// take returns a buffer for a chunk of n bytes, or nil if the pool has none of that
// size.
func (p *chunkPool) take(n int) []byte {
	if n != len(pooledChunk{}) {
		return nil
	}
	c, ok := p.free.Get().(*pooledChunk)
	if !ok {
		c = new(pooledChunk)
	}
	runtime.SetFinalizer(c, p.reclaim)
	return c[:0]
}

// reclaim is the finalizer of the buffers that take returns.
func (p *chunkPool) reclaim(c *pooledChunk) { p.free.Put(c) }
