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

// Limits on the server memory that clients can use. Each connection costs a
// buffer and one incoming frame. The bytes of calls in progress, and of records
// until their outcome is known, come out of one budget that all connections
// share, in the order of asking.
//
// Large frames have a budget of their own, so that nothing else waits behind
// them. They are received one at a time: if many were received at once, each
// could hold memory that another needs to become complete.
const (
	maxVisits = 512 // connections

	smallBody  = 256 << 10
	maxArrival = 128<<20 + 1<<20 // the largest body; one large frame always fits

	budgetBytes = 128 << 20  // for small bodies
	largeBytes  = maxArrival // for large ones

	// stall is how long a large frame may make no progress while others wait
	// for the turn.
	stall = 2 * time.Second
)

// budget is shared by all connections of a server.
type budget struct {
	small, large quota.Quota
	turn         chan struct{} // holds a token while a large frame is being received
	waiting      atomic.Int32  // for the token, or for room in large
}

// hold is a reserved part of a budget, until release.
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

// receive reads the next frame. It takes room for the frame before it returns, so the
// connection isn't read while there is none: the socket fills up, and the client waits.
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

// hold reserves bytes of a quota.
func (v *visit) hold(of *quota.Quota, bytes int) (hold, error) {
	if err := of.Take(v.ctx, nil, bytes, v.server.push); err != nil {
		return hold{}, fault.Closed
	}
	return hold{of, bytes}, nil
}

// receiveLarge reads a large body, once it is its turn.
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

// steady is a reader that must make progress while others wait for their turn.
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
			return 0, fault.Newf(fault.InvalidRequest, "a frame that made no progress for %v while others waited for their turn", stall)
		}
	}
}

// push makes all sessions send their lingering batches, because a connection
// waits for room.
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

// push makes the session send its lingering batches.
func (in *intake) push() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.session == nil || in.closed || in.pushing {
		return // close waits for running pushes, so none may start now
	}
	in.pushing = true
	in.visit.handlers.Go(func() {
		_ = in.session.Flush(in.visit.ctx)
		in.mu.Lock()
		defer in.mu.Unlock()
		in.pushing = false
	})
}
