// Package buffers is memory that is used again: buffers of up to a megabyte, by size.
// Fresh memory of that size costs more than filling it, since it is cleared first, and
// collected in the end.
package buffers

import "sync"

const (
	grain   = 16 << 10 // sizes are rounded up to it
	largest = 1 << 20  // of a buffer that is used again
)

// Pool is buffers that are used again. The zero Pool is empty and ready. It is safe for
// concurrent use.
type Pool struct{ classes [largest/grain + 1]sync.Pool }

// Buffer is memory from a Pool.
type Buffer struct{ Bytes []byte }

// Get returns a buffer of n bytes, which hold anything.
func (p *Pool) Get(n int) *Buffer {
	if n < grain/4 || n > largest {
		return &Buffer{make([]byte, n)}
	}
	class := (n + grain - 1) / grain
	if got, ok := p.classes[class].Get().(*Buffer); ok {
		got.Bytes = got.Bytes[:n]
		return got
	}
	return &Buffer{make([]byte, n, class*grain)}
}

// Put gives a buffer back, which is not used any more.
func (p *Pool) Put(b *Buffer) {
	if c := cap(b.Bytes); c > 0 && c%grain == 0 && c <= largest {
		p.classes[c/grain].Put(b)
	}
}
