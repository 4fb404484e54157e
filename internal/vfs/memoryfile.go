package vfs

import (
	"io"
	"io/fs"
	"math/bits"
	"sync"
	"sync/atomic"
	"syscall"
)

// memoryFile is a handle on a file in memory. It stays usable after the file was renamed
// or removed.
type memoryFile struct {
	name     string
	data     *chunks
	writable bool
	closed   atomic.Bool
}

func (f *memoryFile) check(op string, writes bool, off int64) error {
	switch {
	case f.closed.Load():
		return pathError(op, f.name, fs.ErrClosed)
	case writes && !f.writable:
		return pathError(op, f.name, syscall.EBADF)
	case off < 0:
		return pathError(op, f.name, syscall.EINVAL)
	}
	return nil
}

func (f *memoryFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.check("read", false, off); err != nil {
		return 0, err
	}
	n := f.data.readAt(p, off)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memoryFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.check("write", true, off); err != nil {
		return 0, err
	}
	if len(p) > 0 { // writing no bytes beyond the end must not grow the file
		f.data.writeAt(p, off)
	}
	return len(p), nil
}

func (f *memoryFile) Size() (int64, error) {
	if err := f.check("stat", false, 0); err != nil {
		return 0, err
	}
	return f.data.size(), nil
}

func (f *memoryFile) Truncate(size int64) error {
	if err := f.check("truncate", true, size); err != nil {
		return err
	}
	f.data.truncate(size)
	return nil
}

func (f *memoryFile) Sync() error { return f.check("sync", false, 0) }

func (f *memoryFile) Close() error {
	if f.closed.Swap(true) {
		return pathError("close", f.name, fs.ErrClosed)
	}
	return nil
}

// Chunks begin small, so that ten thousand small files cost little, and double
// up to a mebibyte, so that a large one has few.
const (
	firstChunkBits = 9  // 512 B: chunk 0
	lastChunkBits  = 20 // 1 MiB: every chunk from the twelfth on
	doublingChunks = lastChunkBits - firstChunkBits + 1
)

// chunks is the content of a file, in pieces that never move. So growing copies nothing,
// and a reader of old bytes doesn't notice.
type chunks struct {
	mu     sync.RWMutex
	length int64
	list   [][]byte // nil for a chunk that was never written, which reads as zeros
}

// chunkAt returns which chunk holds a position, the position in it, and its
// size. Chunk 0 is [0, 512), chunk k of the doubling ones is [256<<k, 512<<k).
func chunkAt(pos int64) (i int, at, size int64) {
	if pos >= 1<<lastChunkBits {
		i = int(pos>>lastChunkBits) - 1 + doublingChunks
		return i, pos & (1<<lastChunkBits - 1), 1 << lastChunkBits
	}
	i = bits.Len64(uint64(pos) >> firstChunkBits)
	if i == 0 {
		return 0, pos, 1 << firstChunkBits
	}
	size = 1 << (firstChunkBits + i - 1)
	return i, pos - size, size
}

func (c *chunks) size() int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.length
}

func (c *chunks) readAt(p []byte, off int64) int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if off >= c.length {
		return 0
	}
	p = p[:min(int64(len(p)), c.length-off)]
	n := 0
	for n < len(p) {
		i, at, size := chunkAt(off + int64(n))
		piece := p[n:min(int64(len(p)), int64(n)+size-at)]
		if i < len(c.list) && c.list[i] != nil {
			copy(piece, c.list[i][at:])
		} else {
			clear(piece)
		}
		n += len(piece)
	}
	return n
}

func (c *chunks) writeAt(p []byte, off int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	end := off + int64(len(p))
	for len(p) > 0 {
		i, at, size := chunkAt(off)
		for len(c.list) <= i {
			c.list = append(c.list, nil)
		}
		if c.list[i] == nil {
			c.list[i] = make([]byte, size)
		}
		n := copy(c.list[i][at:], p)
		p, off = p[n:], off+int64(n)
	}
	c.length = max(c.length, end)
}

// truncate sets the length. It zeroes the bytes beyond it, because a file that grows
// again has zeros there.
func (c *chunks) truncate(size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if size < c.length {
		i, at, _ := chunkAt(size)
		if i < len(c.list) {
			if c.list[i] != nil {
				clear(c.list[i][at:])
			}
			clear(c.list[i+1:])
			c.list = c.list[:i+1]
		}
	}
	c.length = size
}
