package fetch

import (
	"runtime"
	"sync"
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
type buffers struct {
	reuse   bool
	free    [][]byte
	retired []chunk  // read through, but their records are still in use
	packed  [][]byte // decompressed batches, decoded through and in use as well
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

// retire notes that a chunk was read through.
func (b *buffers) retire(c chunk) {
	if b.reuse && (c.buf != nil || c.Memory) {
		b.retired = append(b.retired, c)
	}
}

// unpack notes that a decompressed batch was decoded through.
func (b *buffers) unpack(buf *[]byte) {
	if b.reuse && *buf != nil {
		b.packed = append(b.packed, *buf)
	}
	*buf = nil
}

// release says that no record is in use that was brought so far.
func (b *buffers) release() {
	for i := range b.retired {
		c := &b.retired[i]
		switch {
		case c.Memory:
			c.Release()
		case cap(c.Bytes) > cap(c.buf):
			c.buf = c.Bytes // a batch that was larger than the buffer
		}
		b.give(c.buf)
	}
	clear(b.retired)
	b.retired = b.retired[:0]
	for i, buf := range b.packed {
		b.give(buf)
		b.packed[i] = nil
	}
	b.packed = b.packed[:0]
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
