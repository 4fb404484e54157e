package tcp

import (
	"net"
	"sync"
	"time"

	"github.com/runnel-go/runnel/replica"
)

const (
	turnBytes = 1 << 20 // how much of a lane is written at once
	smallest  = 2 << 10 // from this size on, a slice is written from where it is
)

// lane is the frames that wait to be sent to a peer.
type lane struct {
	budget int
	wake   chan struct{} // one token when there is something to send

	mu     sync.Mutex
	opened bool
	queue  []*replica.Frame
	queued int // bytes in the queue and in the turn being written
}

// cost is what a frame counts against a budget.
func cost(f *replica.Frame) int { return f.Size() + frameCost }

// put queues a frame, unless there is no connection or no room.
func (l *lane) put(f *replica.Frame) bool {
	n := cost(f)
	l.mu.Lock()
	if !l.opened || l.queued+n > l.budget {
		l.mu.Unlock()
		return false
	}
	l.queue = append(l.queue, f)
	l.queued += n
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return true
}

func (l *lane) open() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.opened = true
}

// shut refuses frames from now on, and releases those that wait.
func (l *lane) shut() {
	l.mu.Lock()
	queue := l.queue
	l.opened, l.queue, l.queued = false, nil, 0
	l.mu.Unlock()
	for _, f := range queue {
		f.Done()
	}
}

// take moves frames for one turn from the queue to turn.
func (l *lane) take(turn []*replica.Frame) []*replica.Frame {
	l.mu.Lock()
	defer l.mu.Unlock()
	bytes, n := 0, 0
	for n < len(l.queue) && bytes < turnBytes {
		bytes += cost(l.queue[n])
		n++
	}
	turn = append(turn[:0], l.queue[:n]...)
	if n == len(l.queue) {
		clear(l.queue)
		l.queue = l.queue[:0]
	} else {
		clear(l.queue[:n])
		l.queue = l.queue[n:]
	}
	return turn
}

// sent releases the frames of a turn.
func (l *lane) sent(turn []*replica.Frame) {
	bytes := 0
	for i, f := range turn {
		bytes += cost(f)
		f.Done()
		turn[i] = nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queued -= bytes
}

// send writes what is put into the lane, and pings: on a control lane every interval,
// on a bulk lane when it has been idle that long. It returns why it ended, and nil when down is closed.
func (l *lane) send(c *conn, interval time.Duration, control bool, down <-chan struct{}) error {
	ping := head{kind: kindPing}.append(nil)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var w turn
	var frames []*replica.Frame
	for {
		due := false
		select {
		case <-l.wake:
		case <-ticker.C:
			due = true
		case <-down:
			return nil
		}
		for {
			frames = l.take(frames)
			if len(frames) == 0 {
				break
			}
			if control {
				select {
				case <-ticker.C:
					due = true
				default:
				}
			} else {
				due = false
				ticker.Reset(interval)
			}
			w.reset()
			if due {
				w.scratch = append(w.scratch, ping...)
				due = false
			}
			for _, f := range frames {
				w.add(f)
			}
			err := c.write(w.done())
			l.sent(frames)
			if err != nil {
				return err
			}
		}
		if due {
			if err := c.write(net.Buffers{ping}); err != nil {
				return err
			}
		}
	}
}

// turn is what is written at once: small parts are copied together, large slices are
// written from where they are.
type turn struct {
	scratch []byte
	from    int // what of scratch is in bufs
	bufs    net.Buffers
}

func (w *turn) reset() {
	if cap(w.scratch) > turnBytes {
		w.scratch = nil // after a turn of unusually many small slices
	}
	w.scratch, w.from = w.scratch[:0], 0
	clear(w.bufs[:cap(w.bufs)])
	w.bufs = w.bufs[:0]
}

func (w *turn) add(f *replica.Frame) {
	w.scratch = appendFrame(w.scratch, f)
	for _, p := range f.Payload {
		if len(p) < smallest {
			w.scratch = append(w.scratch, p...)
			continue
		}
		w.cut()
		w.bufs = append(w.bufs, p)
	}
}

// cut puts what is in scratch into bufs. It stays valid when scratch grows, since
// its bytes do not change any more.
func (w *turn) cut() {
	if w.from < len(w.scratch) {
		w.bufs = append(w.bufs, w.scratch[w.from:len(w.scratch):len(w.scratch)])
		w.from = len(w.scratch)
	}
}

// done returns what is to be written. Writing it consumes the returned slice and not the turn's.
func (w *turn) done() net.Buffers {
	w.cut()
	return w.bufs
}
