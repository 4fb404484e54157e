package tcp

import (
	"net"
	"time"

	"github.com/runnel-go/runnel/internal/hub"
	"github.com/runnel-go/runnel/replica"
)

const smallest = 2 << 10 // from this size on, a slice is written from where it is

// sender writes what is put into a lane, and pings: on a control lane every interval,
// on a bulk lane when it has been idle that long.
type sender struct {
	lane     *hub.Lane
	conn     *conn
	interval time.Duration
	control  bool
}

// run returns why it ended, and nil when down is closed.
func (s *sender) run(down <-chan struct{}) error {
	ping := head{kind: kindPing}.append(nil)
	ticker := time.NewTicker(s.interval)
	defer ticker.Stop()
	var w turn
	var frames []*replica.Frame
	for {
		due := false
		select {
		case <-s.lane.Wake:
		case <-ticker.C:
			due = true
		case <-down:
			return nil
		}
		for {
			frames = s.lane.Take(frames)
			if len(frames) == 0 {
				break
			}
			if s.control {
				select {
				case <-ticker.C:
					due = true
				default:
				}
			} else {
				due = false
				ticker.Reset(s.interval)
			}
			w.reset()
			if due {
				w.scratch = append(w.scratch, ping...)
				due = false
			}
			for _, f := range frames {
				w.add(f)
			}
			err := s.conn.write(w.done())
			s.lane.Sent(frames...)
			if err != nil {
				return err
			}
		}
		if due {
			if err := s.conn.write(net.Buffers{ping}); err != nil {
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
	if cap(w.scratch) > hub.TurnBytes {
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
