package attach

import (
	"sync"
	"time"
)

// maxQueued is how many bytes may be queued before send waits.
const maxQueued = 1 << 20

// joinedBytes is how many bytes of small frames are joined into one write.
const joinedBytes = 128 << 10

// link is the sending half of a connection: queued frames, and one goroutine
// that writes them. Each side has one per connection.
type link struct {
	conn stream

	// fill returns frames that are to be sent before the queue as it is now, or
	// nil. The writing goroutine calls it.
	fill func() [][]byte

	wake chan struct{} // one token when there is something to write
	down chan struct{} // closed when the connection is no longer usable
	idle chan struct{} // closed when the writing goroutine has ended

	joined []byte // owned by the writing goroutine

	mu     sync.Mutex
	frames [][]byte
	queued int           // bytes in frames
	taken  chan struct{} // closed when frames are taken; nil unless a goroutine waits for that
	ending bool          // the writer ends after everything is written
	dead   bool          // down is closed
}

// init makes a link usable. Its owner starts write, and reads from conn itself.
func (l *link) init(conn stream) {
	l.conn = conn
	l.wake, l.down, l.idle = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
}

// poke wakes the writer to look for frames.
func (l *link) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// send queues a frame, after waiting for room in the queue. It reports whether
// the connection is still usable.
func (l *link) send(frame []byte) bool {
	for {
		l.mu.Lock()
		if l.dead || l.ending {
			l.mu.Unlock()
			return false
		}
		if l.queued < maxQueued {
			l.frames = append(l.frames, frame)
			l.queued += len(frame)
			l.mu.Unlock()
			l.poke()
			return true
		}
		if l.taken == nil {
			l.taken = make(chan struct{})
		}
		taken := l.taken
		l.mu.Unlock()
		select {
		case <-taken:
		case <-l.down:
		}
	}
}

// sendFields queues a frame with these fields.
func (l *link) sendFields(k kind, id uint32, what fields) error {
	f, err := encode(k, id, what)
	if err == nil {
		l.send(f)
	}
	return err
}

// encode returns a whole frame.
func encode(k kind, id uint32, what fields) ([]byte, error) {
	c := writing()
	c.w.B = appendHead(make([]byte, 0, 128), k, id, 0)
	what(c)
	if err := c.w.Err(); err != nil {
		return nil, err
	}
	body := len(c.w.B) - frameHead
	appendHead(c.w.B[:0], k, id, body)
	return c.w.B, nil
}

// write is the writing goroutine. What fill returns goes first: an answer to a call, such
// as Flush, must not overtake the parcels and outcomes that it is about. Only when the
// socket takes a write does write get the next frames. So while the socket is busy,
// parcels grow and outcomes join.
func (l *link) write() {
	defer close(l.idle)
	for {
		select {
		case <-l.wake:
		case <-l.down:
			return
		}
		frames, last := l.dequeue()
		if l.fill != nil {
			frames = append(l.fill(), frames...)
		}
		if !l.writeAll(frames) {
			l.cut()
			return
		}
		if last {
			if half, ok := l.conn.(halfCloser); ok { // the other side reads all of it, and then the end
				_ = half.CloseWrite()
			} else {
				l.cut()
			}
			return
		}
	}
}

// writeAll writes frames, small ones joined, and reports whether it succeeded.
func (l *link) writeAll(frames [][]byte) bool {
	for len(frames) > 0 {
		next := frames[0]
		frames = frames[1:]
		if len(next) < joinedBytes {
			l.joined = append(l.joined[:0], next...)
			for len(frames) > 0 && len(l.joined)+len(frames[0]) <= joinedBytes {
				l.joined = append(l.joined, frames[0]...)
				frames = frames[1:]
			}
			next = l.joined
		}
		if _, err := l.conn.Write(next); err != nil {
			return false
		}
	}
	return true
}

// dequeue empties the queue, and reports whether nothing will follow.
func (l *link) dequeue() (frames [][]byte, last bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	frames, last = l.frames, l.ending
	l.frames, l.queued = nil, 0
	if l.taken != nil {
		close(l.taken)
		l.taken = nil
	}
	return frames, last
}

// closeWrite lets the writer write what is queued, and then closes this direction, so
// that the other side reads the end of the stream. What cannot be written
// within d is lost.
func (l *link) closeWrite(d time.Duration) {
	l.mu.Lock()
	l.ending = true
	l.mu.Unlock()
	_ = l.conn.SetWriteDeadline(time.Now().Add(d))
	l.poke()
}

// cut closes the connection at once. It may be called from any goroutine, any number of
// times.
func (l *link) cut() {
	l.mu.Lock()
	first := !l.dead
	l.dead = true
	l.mu.Unlock()
	if first {
		close(l.down)
		_ = l.conn.Close()
	}
}
