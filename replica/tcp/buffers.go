package tcp

import "sync"

const (
	grain   = 16 << 10
	largest = 1 << 20 // of a buffer that is used again
)

// buffers are memory that frames arrive in, used again after Done. Sizes are rounded
// up to a grain.
type buffers struct{ pools [largest/grain + 1]sync.Pool }

// buffer is memory from buffers.
type buffer struct{ bytes []byte }

// get returns a buffer of n bytes, with whatever is in it.
func (b *buffers) get(n int) *buffer {
	if n < grain/4 || n > largest {
		return &buffer{make([]byte, n)}
	}
	class := (n + grain - 1) / grain
	if got, ok := b.pools[class].Get().(*buffer); ok {
		got.bytes = got.bytes[:n]
		return got
	}
	return &buffer{make([]byte, n, class*grain)}
}

// put gives a buffer back.
func (b *buffers) put(old *buffer) {
	if c := cap(old.bytes); c > 0 && c%grain == 0 && c <= largest {
		b.pools[c/grain].Put(old)
	}
}
