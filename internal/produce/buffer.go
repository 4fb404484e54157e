package produce

import (
	"sync"
)

// buffer is the memory of one batch. It goes from the session to the partition,
// and comes back when no reader uses it any more.
type buffer struct {
	bytes []byte
	pool  *sync.Pool // of buffers of this size, or nil
}

// Recycle implements log.Recycler.
func (b *buffer) Recycle([]byte) {
	if b.pool != nil {
		b.pool.Put(b)
	}
}
