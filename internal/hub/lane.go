package hub

import (
	"sync"

	"github.com/runnel-go/runnel/replica"
)

// TurnBytes is how much of a lane is taken at once.
const TurnBytes = 1 << 20

// Lane is the frames that wait to be sent to a peer.
type Lane struct {
	Wake chan struct{} // one token when there is something to send

	budget int

	mu     sync.Mutex
	opened bool
	queue  []*replica.Frame
	queued int // bytes in the queue and in what was taken and not sent yet
}

// Cost is what a frame counts against a budget.
func Cost(f *replica.Frame) int { return f.Size() + FrameCost }

// put queues a frame, unless there is no connection or no room.
func (l *Lane) put(f *replica.Frame) bool {
	n := Cost(f)
	l.mu.Lock()
	if !l.opened || l.queued+n > l.budget {
		l.mu.Unlock()
		return false
	}
	l.queue = append(l.queue, f)
	l.queued += n
	l.mu.Unlock()
	select {
	case l.Wake <- struct{}{}:
	default:
	}
	return true
}

func (l *Lane) open() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.opened = true
}

// shut refuses frames from now on, and releases those that wait.
func (l *Lane) shut() {
	l.mu.Lock()
	queue := l.queue
	l.opened, l.queue, l.queued = false, nil, 0
	l.mu.Unlock()
	for _, f := range queue {
		f.Done()
	}
}

// Take moves frames for one turn from the queue to turn, which it returns. What was taken is given to Sent.
func (l *Lane) Take(turn []*replica.Frame) []*replica.Frame {
	l.mu.Lock()
	defer l.mu.Unlock()
	bytes, n := 0, 0
	for n < len(l.queue) && bytes < TurnBytes {
		bytes += Cost(l.queue[n])
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

// Sent releases frames that were taken, and clears the slice.
func (l *Lane) Sent(frames ...*replica.Frame) {
	bytes := 0
	for i, f := range frames {
		bytes += Cost(f)
		f.Done()
		frames[i] = nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queued -= bytes
}
