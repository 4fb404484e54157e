package attach

import (
	"bufio"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/runnel-go/runnel/fault"
)

// visit is the server's side of a client's connection, with at most one
// session.
type visit struct {
	link
	server *Server
	ctx    context.Context // ends when the connection is no longer usable
	cancel context.CancelCauseFunc
	ended  chan struct{} // closed when run has ended

	handlers sync.WaitGroup
	answers  chan struct{} // holds a token for each call whose answer is not queued yet
	intake   intake
	outlet   outlet
	workshop workshop

	mu     sync.Mutex
	calls  map[uint32]*handling
	opened bool // it has a session, or one is being opened
	met    bool // hellos were exchanged
	bye    bool // finish has begun
}

// handling is a call in progress.
type handling struct {
	cancel context.CancelFunc
	told   chan struct{} // holds a token when the client has finished an event's callback
}

func newVisit(s *Server, conn stream) *visit {
	v := &visit{server: s, ended: make(chan struct{}), answers: make(chan struct{}, 2*maxCalls), calls: map[uint32]*handling{}}
	v.init(conn)
	v.ctx, v.cancel = context.WithCancelCause(context.Background())
	v.intake.visit, v.outlet.visit, v.workshop.visit = v, v, v
	v.fill = v.intake.fill
	return v
}

// run is the reading goroutine of a visit, from the hello to the end.
//
// At the end, in this order: calls in progress are canceled; the session is closed, which
// fails its records and leaves its group; what is queued is written, such as a bye; and
// when the handlers have returned, the connection is closed. The writing goroutine is one
// of the handlers.
func (v *visit) run() {
	defer close(v.ended)
	defer v.cancel(fault.Closed)
	r := bufio.NewReaderSize(v.conn, 64<<10)
	if !v.welcome(r) {
		v.cut()
		return
	}
	v.handlers.Go(v.write)
	for {
		f, h, err := v.receive(r)
		if err == nil {
			err = v.dispatch(f, h)
		}
		if err != nil {
			v.sendBye(err)
			break
		}
	}
	v.cancel(fault.Closed)
	v.closeSession()
	v.closeWrite(grace)
	v.handlers.Wait()
	v.cut()
}

// sendBye sends the client a bye with the reason, if it is still there.
func (v *visit) sendBye(err error) {
	if code := fault.CodeOf(err); code == fault.InvalidRequest || code == fault.CorruptMessage {
		_ = v.sendFields(kindBye, 0, func(c *coder) { c.problem(&err) })
	}
}

// welcome exchanges hellos, and reports whether both sides speak the same
// version.
func (v *visit) welcome(r io.Reader) bool {
	_ = v.conn.SetDeadline(time.Now().Add(helloPatience))
	guest, err := readHello(r)
	if err != nil {
		return false
	}
	own := self(v.server.instance)
	if err := writeHello(v.conn, own); err != nil || guest.checkVersion(own) != nil {
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.bye {
		return false
	}
	v.met = true
	return v.conn.SetDeadline(time.Time{}) == nil
}

// dispatch handles a frame, and makes sure that its hold is released.
func (v *visit) dispatch(f frame, h hold) error {
	switch f.kind {
	case kindCall:
		return v.startCall(f, h)
	case kindParcel:
		return v.intake.parcel(f, h)
	case kindBatch:
		return v.intake.batch(f, h)
	}
	h.release()
	switch f.kind {
	case kindCancel:
		if h := v.handling(f.id); h != nil {
			h.cancel()
		}
		return nil
	case kindTold:
		if h := v.handling(f.id); h != nil {
			select {
			case h.told <- struct{}{}:
			default:
			}
		}
		return nil
	}
	return fault.Newf(fault.InvalidRequest, "a frame of the unknown kind %d", f.kind)
}

func (v *visit) handling(id uint32) *handling {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.calls[id]
}

// startCall starts handling a call, once there is room for its answer. Calls that
// wait for the client to read their answers no longer count as in progress, so
// this limits them separately.
func (v *visit) startCall(f frame, h hold) error {
	select {
	case v.answers <- struct{}{}:
	case <-v.down:
		h.release()
		return fault.Closed
	}
	ctx, cancel := context.WithCancel(v.ctx)
	call := &handling{cancel: cancel, told: make(chan struct{}, 1)}
	v.mu.Lock()
	_, twice := v.calls[f.id]
	n := len(v.calls)
	many := n >= maxCalls
	if !twice && !many {
		v.calls[f.id] = call
	}
	v.mu.Unlock()
	if twice || many {
		cancel()
		<-v.answers
		h.release()
		return fault.Newf(fault.InvalidRequest, "call %d of a connection with %d calls in progress", f.id, n)
	}
	v.handlers.Go(func() {
		defer cancel()
		answer := v.answer(ctx, f)
		h.release()
		v.mu.Lock()
		delete(v.calls, f.id)
		v.mu.Unlock()
		v.send(answer)
		<-v.answers
	})
	return nil
}

// answer handles a call and returns the frame that answers it. If the results don't fit
// into a frame, the answer is that error.
func (v *visit) answer(ctx context.Context, f frame) []byte {
	var m method
	c := reading(f.body)
	c.method(&m)
	results, err := v.handle(ctx, m, f.id, c)
	err = ended(ctx, err)
	answer, bad := encode(kindAnswer, f.id, func(c *coder) {
		if c.problem(&err); err == nil {
			results(c)
		}
	})
	if bad != nil {
		answer, _ = encode(kindAnswer, f.id, func(c *coder) { c.problem(&bad) })
	}
	return answer
}

// ended returns the error for a call or record that failed with err. If the end
// of the visit canceled it, that is the reason, because the caller itself
// canceled nothing.
func ended(ctx context.Context, err error) error {
	why := context.Cause(ctx)
	if why == nil || why == context.Canceled || !errors.Is(err, context.Canceled) {
		return err
	}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		said := *f
		said.Cause = why
		return &said
	}
	return why
}

// dismiss ends a visit from this side: it closes the session and sends the
// client the reason. It takes a moment at most.
func (v *visit) dismiss(why error) {
	v.mu.Lock()
	v.bye = true
	met := v.met
	v.mu.Unlock()
	if !met {
		v.cut()
		return
	}
	late := time.AfterFunc(grace, v.cut)
	defer late.Stop()
	v.closeSession()
	v.cancel(why)
	_ = v.sendFields(kindBye, 0, func(c *coder) { c.problem(&why) })
	v.closeWrite(grace)
	<-v.ended
}

// openSession claims the visit's one session.
func (v *visit) openSession() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.bye {
		return fault.Closed
	}
	if v.opened {
		return fault.Newf(fault.InvalidRequest, "a connection has one session")
	}
	v.opened = true
	return nil
}

// closeSession closes the visit's session.
func (v *visit) closeSession() {
	v.intake.close()
	v.outlet.close()
	_ = v.workshop.close()
}
