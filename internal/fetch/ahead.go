package fetch

import (
	"sync"

	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/internal/role"
	"github.com/runnel-go/runnel/record"
)

// chunksAhead is how many chunks of a file are read ahead. With two, the reader
// continues while the consumer is being woken for the first, which takes about as
// long as decoding a chunk.
const chunksAhead = 2

// readAhead reads the next chunks of one source, in order, on a goroutine that runs
// only while there are chunks to read.
//
// The goroutine that fetches asks for chunks and gets them from a channel. The reader
// decides by itself when to stop: at an error, at the log's memory, and near the end.
// It never waits: done has room for every chunk that was asked for. So a source can
// drop its readAhead at any time; chunks that were read meanwhile are garbage.
type readAhead struct {
	session *Session
	part    host.Partition
	size    int

	// done holds the chunks that were read. The reader closes it after the last one
	// that is worth reading ahead.
	done  chan chunk
	asked int // chunks asked for and not received; owned by the goroutine that fetches

	// Owned by the goroutine that has the reader's role.
	next int64  // the offset at which the next chunk begins
	buf  []byte // the buffer for it, once claimed

	mu      sync.Mutex // below
	reader  role.Role
	buffers [][]byte // one for each chunk still to read; nil if Read makes its own
	over    bool     // nothing more will be read
}

func newReadAhead(src *source, offset int64) *readAhead {
	a := &readAhead{
		session: src.session, part: src.part, size: src.session.chunkBytes(), next: offset, done: make(chan chunk, chunksAhead),
	}
	a.reader.Init(&a.mu, a.nextLocked, a.read, &a.session.reads)
	return a
}

// ask asks for chunks until chunksAhead of them are being read or wait in done.
func (a *readAhead) ask() {
	s := a.session
	for a.asked < chunksAhead {
		buf := s.buffers.take(a.size)
		if buf == nil {
			buf = s.chunks.take(a.size)
		}
		if !a.askFor(buf) {
			if s.buffers.reuse {
				s.buffers.give(buf)
			}
			return
		}
		a.asked++
	}
}

// askFor asks for one more chunk, read into buf. It returns false if nothing more will
// be read. Only the goroutine that fetches calls it, which also waits for the readers
// when the session ends: so no reader starts after that wait has begun.
func (a *readAhead) askFor(buf []byte) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over || !a.reader.IsTaken() && a.session.gate.Closed() {
		return false
	}
	a.buffers = append(a.buffers, buf)
	a.reader.Take() // starts a goroutine, because nextLocked returns role.Own
	return true
}

// nextLocked claims a buffer for read.
func (a *readAhead) nextLocked() role.Next {
	if a.over || len(a.buffers) == 0 {
		a.buf = nil
		return role.None
	}
	a.buf, a.buffers = a.buffers[0], a.buffers[1:]
	return role.Own
}

// read reads one chunk. The caller has the reader's role.
func (a *readAhead) read() {
	c := chunk{buf: a.buf}
	if c.Slice, c.err = a.part.At(a.session.isolation()).Read(a.next, a.size, c.buf); c.err == nil {
		c.next = nextOffset(c.Bytes)
	}
	a.done <- c
	a.next = c.next
	a.mu.Lock()
	defer a.mu.Unlock()
	last := c.err != nil || c.Memory || len(c.Bytes) < readAheadFrom || c.next >= c.Visible
	if last && !a.over {
		a.over = true
		close(a.done)
	}
}

// nextChunk waits for the next chunk that was asked for, and reports whether there is one.
func (a *readAhead) nextChunk() (chunk, bool) {
	if a.asked == 0 {
		return chunk{}, false
	}
	a.asked--
	c, ok := <-a.done
	return c, ok
}

// stop ends reading after the current chunk.
func (a *readAhead) stop() {
	a.mu.Lock()
	a.over = true
	a.mu.Unlock()
}

// takeAhead returns the chunk that was read ahead, if it has the offset. Otherwise it
// stops reading ahead, and the caller reads the chunk itself: an error may have passed,
// and after a Seek the chunk is another one.
func (src *source) takeAhead(offset int64) chunk {
	if src.readAhead == nil {
		return chunk{}
	}
	c, ok := src.readAhead.nextChunk()
	if !ok || c.err != nil || len(c.Bytes) == 0 {
		src.stopReading()
		return chunk{}
	}
	if h, err := record.ParseHeader(c.Bytes); err != nil || h.BaseOffset > offset || c.next <= offset {
		src.stopReading()
		src.session.buffers.recycle(c) // no record points into it
		return chunk{}
	}
	return c
}

// startReading makes the chunks from an offset on be read ahead, unless that has
// started.
func (src *source) startReading(offset int64) {
	if src.readAhead == nil {
		src.readAhead = newReadAhead(src, offset)
	}
	src.readAhead.ask()
}

// stopReading drops what was read ahead.
func (src *source) stopReading() {
	if src.readAhead != nil {
		src.readAhead.stop()
		src.readAhead = nil
	}
}
