package grpc

import (
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/runnel-go/runnel/replica"
)

// lane is the frames that wait to be sent to a peer.
type lane struct {
	budget int
	wake   chan struct{} // one token when there is something to send

	mu     sync.Mutex
	opened bool
	queue  []*replica.Frame
	queued int // bytes in the queue and in the frame that is being sent
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

// take moves the queue to turn.
func (l *lane) take(turn []*replica.Frame) []*replica.Frame {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(turn)
	turn, l.queue = l.queue, turn[:0]
	return turn
}

// sent releases a frame.
func (l *lane) sent(f *replica.Frame) {
	n := cost(f)
	f.Done()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queued -= n
}

// send sends what is put into the lane, with a ping every interval if there is one. It
// returns why it ended, and nil when down is closed.
func (l *lane) send(call grpc.ClientStream, pings <-chan time.Time, down <-chan struct{}) error {
	var frames []*replica.Frame
	for {
		select {
		case <-l.wake:
		case <-pings:
			if err := call.SendMsg(outgoing{}); err != nil {
				return err
			}
			continue
		case <-down:
			return nil
		}
		frames = l.take(frames)
		for i, f := range frames {
			err := call.SendMsg(encode(f))
			l.sent(f)
			if err == nil {
				err = ping(call, pings)
			}
			if err != nil {
				for _, f := range frames[i+1:] {
					l.sent(f)
				}
				return err
			}
		}
	}
}

// ping sends a ping if one is due.
func ping(call grpc.ClientStream, pings <-chan time.Time) error {
	select {
	case <-pings:
		return call.SendMsg(outgoing{})
	default:
		return nil
	}
}
