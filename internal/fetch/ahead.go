package fetch

import (
	"sync"

	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/internal/role"
	"github.com/runnel-go/runnel/record"
)

// chunksAhead is how many chunks of a file are read ahead. With two the reader
// goes on while the consumer is being woken for the first, which takes about as
// long as decoding a chunk.
const chunksAhead = 2

// readAhead reads the chunks of one source that come next, in order, on a
// goroutine that runs only while there are chunks to be read.
type readAhead struct {
	session *Session
	part    host.Partition
	size    int

	// done holds what was read, and is closed by the reader after the last chunk
	// that is worth reading ahead. It has room for all that was asked for.
	done  chan chunk
	asked int // chunks asked for and not taken; owned by the goroutine that fetches

	// Who has the role of the reader owns these.
	next int64  // where the next chunk begins
	buf  []byte // what it is read into, once claimed

	mu      sync.Mutex // below
	reader  role.Role
	buffers [][]byte // one for each chunk still to be read; nil where Read makes its own
	over    bool     // nothing more is read
}

func newReadAhead(src *source, offset int64) *readAhead {
	a := &readAhead{
		session: src.session, part: src.part, size: src.session.chunkBytes(), next: offset, done: make(chan chunk, chunksAhead),
	}
	a.reader.Init(&a.mu, a.nextLocked, a.read, &a.session.reads)
	return a
}

// ask has chunks read until chunksAhead of them are on their way.
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

// askFor has one more chunk read, into buf, and reports false where nothing more is to
// be read. Only the goroutine that fetches asks, and it also waits for the readers when
// the session ends; so none starts once that has begun.
func (a *readAhead) askFor(buf []byte) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over || !a.reader.IsTaken() && a.session.gate.Closed() {
		return false
	}
	a.buffers = append(a.buffers, buf)
	a.reader.Take() // by a goroutine of the reader's own, as nextLocked wants it
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

// read reads one chunk. It has the role.
func (a *readAhead) read() {
	c := chunk{buf: a.buf}
	if c.Slice, c.err = a.part.Read(a.next, a.size, c.buf); c.err == nil {
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

// take returns the next chunk, once it is there, and whether there is one.
func (a *readAhead) take() (chunk, bool) {
	if a.asked == 0 {
		return chunk{}, false
	}
	a.asked--
	c, ok := <-a.done
	return c, ok
}

// stop ends reading after the chunk at hand.
func (a *readAhead) stop() {
	a.mu.Lock()
	a.over = true
	a.mu.Unlock()
}

// ahead returns the chunk that was read ahead if it is the one that is wanted.
func (src *source) ahead(offset int64) chunk {
	if src.readAhead == nil {
		return chunk{}
	}
	c, ok := src.readAhead.take()
	if !ok || c.err != nil || len(c.Bytes) == 0 {
		src.stopReading()
		return chunk{} // read again: an error may have passed
	}
	if h, err := record.ParseHeader(c.Bytes); err != nil || h.BaseOffset > offset || c.next <= offset {
		src.stopReading()
		src.session.buffers.recycle(c) // no record was decoded of it
		return chunk{}
	}
	return c
}

// startReading has the chunks from an offset on read, unless they are already.
func (src *source) startReading(offset int64) {
	if src.readAhead == nil {
		src.readAhead = newReadAhead(src, offset)
	}
	src.readAhead.ask()
}

// stopReading lets go of what was read ahead.
func (src *source) stopReading() {
	if src.readAhead != nil {
		src.readAhead.stop()
		src.readAhead = nil
	}
}
