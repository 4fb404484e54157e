package attach

import (
	"bufio"
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/quota"
)

// What the clients of a server may make it keep. Each connection costs a buffer
// and a frame that comes; the bytes of calls that are being handled, and of records
// until their outcome is known, come out of one budget for all, in the order of
// asking. Large frames have a budget of their own, so that nobody waits behind
// them, and come one at a time: what half came of many would never be complete.
const (
	maxVisits = 512 // connections

	smallBody  = 256 << 10
	maxArrival = 128<<20 + 1<<20 // the largest body

	budgetBytes = 128 << 20  // for small bodies
	largeBytes  = maxArrival // for large ones

	// stall is how long a large frame may not go on while others wait for it.
	stall = 2 * time.Second
)

// budget is what all connections of a server share.
type budget struct {
	small, large quota.Quota
	turn         chan struct{} // holds a token while a large frame comes
	waiting      atomic.Int32  // for the token, or for the large room
}

// hold is a part of a budget that is taken, until release.
type hold struct {
	room  *quota.Quota
	bytes int
}

func (h *hold) release() {
	if h.room != nil {
		h.room.Give(h.bytes)
		h.room = nil
	}
}

// receive reads the next frame, once there is room for it.
func (v *visit) receive(r *bufio.Reader) (f frame, h hold, err error) {
	f, n, err := readHead(r, maxArrival)
	if err != nil {
		return f, h, err
	}
	if n > smallBody {
		return v.receiveLarge(r, f, n)
	}
	if f.body, err = readBody(r, n); err == nil && n > 0 {
		h, err = v.hold(&v.server.budget.small, n)
	}
	return f, h, err
}

// hold takes bytes of a room.
func (v *visit) hold(of *quota.Quota, bytes int) (hold, error) {
	if err := of.Take(v.ctx, nil, bytes, v.server.push); err != nil {
		return hold{}, fault.Closed
	}
	return hold{of, bytes}, nil
}

// receiveLarge reads a large body, when it is its turn.
func (v *visit) receiveLarge(r *bufio.Reader, f frame, n int) (_ frame, h hold, err error) {
	b := &v.server.budget
	b.waiting.Add(1)
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
		h, err = v.hold(&b.large, n)
	case <-v.ctx.Done():
		err = fault.Closed
	}
	if b.waiting.Add(-1); err != nil {
		return f, h, err
	}
	f.body, err = readBody(&steady{v, r}, n)
	if _ = v.conn.SetReadDeadline(time.Time{}); err != nil {
		h.release()
	}
	return f, h, err
}

// steady reads what must go on coming while others wait for their turn.
type steady struct {
	visit *visit
	r     io.Reader
}

// Read implements io.Reader.
func (s *steady) Read(b []byte) (int, error) {
	for {
		_ = s.visit.conn.SetReadDeadline(time.Now().Add(stall))
		n, err := s.r.Read(b)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		if s.visit.server.budget.waiting.Load() > 0 {
			return 0, fault.Newf(fault.InvalidRequest, "a frame that did not go on for %v, and others wait for their turn", stall)
		}
	}
}

// push has all sessions send what lingers, because somebody waits for room.
func (s *Server) push() {
	s.mu.Lock()
	visits := make([]*visit, 0, len(s.visits))
	for v := range s.visits {
		visits = append(visits, v)
	}
	s.mu.Unlock()
	for _, v := range visits {
		v.intake.push()
	}
}

// push has the session send what lingers.
func (in *intake) push() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.session == nil || in.closed || in.pushing {
		return // and close waits for nobody who comes now
	}
	in.pushing = true
	in.visit.handlers.Go(func() {
		_ = in.session.Flush(in.visit.ctx)
		in.mu.Lock()
		defer in.mu.Unlock()
		in.pushing = false
	})
}
