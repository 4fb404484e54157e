package runnel

// Bounds of what a session fetches ahead. Many partitions share one budget.
const (
	fetchBudget   = 32 << 20 // bytes of all sources together, about
	minChunkBytes = 64 << 10
)

// chunkBytes is how much is read from one partition at once.
func (s *fetchSession) chunkBytes() int {
	s.mu.Lock()
	n := len(s.sources)
	s.mu.Unlock()
	return min(s.cfg.MaxBytes, max(minChunkBytes, fetchBudget/max(1, 2*n)))
}

// buffers are those of a session with ReuseBuffers; otherwise every read makes
// its own, which the garbage collector owns together with the records in it.
// They belong to the goroutine that fetches.
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
