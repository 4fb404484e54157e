package attach

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/runnel-go/runnel/fault"
)

const (
	// patience is how long a client waits for the server to end a call that the
	// client has canceled, or a connection that it has closed.
	patience = 30 * time.Second

	// maxCalls is how many calls of one connection may be in progress.
	maxCalls = 256
)

// conn is the client's side of a connection. Calls may run concurrently.
type conn struct {
	link
	server hello
	room   chan struct{} // holds a token for each call in progress
	over   chan struct{} // closed when reading has ended

	// The reading goroutine calls outcomes with the body of each frame of
	// outcomes, and lost when reading has ended. Either may be nil.
	outcomes func(body []byte) error
	lost     func(said bool, err error)

	mu    sync.Mutex
	calls map[uint32]*call
	last  uint32
	err   error // why the connection has ended, once it has
	bye   error // the reason that the server gave in its bye
	shut  bool  // this side ended the connection
}

// call is one call in progress.
type call struct {
	answer chan []byte
	events chan []byte
	part   func(body []byte) error // receives a part of the answer, on the reading goroutine
	parts  chan []byte             // parts for the caller; nil if part receives them
	gone   chan struct{}           // closed when the caller no longer waits
}

// open connects to the socket in a directory and exchanges hellos. start starts
// the connection's goroutines.
func open(ctx context.Context, dir string) (*conn, *bufio.Reader, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	raw, err := dial(ctx, dir)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	c, r, err := meet(raw)
	if !stop() {
		err = ctx.Err()
	}
	if err != nil {
		_ = raw.Close()
	}
	return c, r, err
}

// meet exchanges hellos on a new connection. A server that accepts no more
// connections has already sent its hello and a bye, and may have closed the
// connection before it got the client's hello.
func meet(raw stream) (*conn, *bufio.Reader, error) {
	c := &conn{
		room: make(chan struct{}, maxCalls), over: make(chan struct{}),
		calls: map[uint32]*call{},
	}
	c.init(raw)
	_ = raw.SetDeadline(time.Now().Add(helloPatience))
	own := self(0)
	deaf := writeHello(raw, own)
	r := bufio.NewReaderSize(raw, 64<<10)
	var err error
	if c.server, err = readHello(r); err != nil {
		return nil, nil, cmp.Or(deaf, err)
	}
	if err := own.checkVersion(c.server); err != nil {
		return nil, nil, err
	}
	if deaf != nil || r.Buffered() > 0 {
		return nil, nil, cmp.Or(readBye(r), deaf)
	}
	_ = raw.SetDeadline(time.Time{})
	return c, r, nil
}

// readBye reads the server's reason for ending a connection that has just
// begun.
func readBye(r io.Reader) (why error) {
	f, err := readFrame(io.LimitReader(r, 4<<10))
	switch {
	case err != nil:
		return err
	case f.kind != kindBye:
		return fault.Newf(fault.InvalidRequest, "an unexpected frame of kind %d", f.kind)
	}
	if err := decode(f.body, func(c *coder) { c.problem(&why) }); err != nil {
		return err
	}
	return why
}

// start starts the goroutines that read and write. lost follows when reading has ended,
// and over is closed after that.
func (c *conn) start(r io.Reader) {
	go c.write()
	go c.read(r)
}

// read is the reading goroutine. It never calls the program and never waits for it, except
// for room in the channel of parts: otherwise one slow callback would stop every call of
// the connection. At the end it waits for the writing goroutine before it calls lost, so
// that no parcel is taken to be written afterwards.
func (c *conn) read(r io.Reader) {
	defer close(c.over)
	var err error
	for err == nil {
		var f frame
		if f, err = readFrame(r); err == nil {
			err = c.dispatch(f)
		}
	}
	c.cut()
	<-c.idle
	c.mu.Lock()
	switch {
	case c.shut:
		c.err = fault.Closed
	case c.bye != nil:
		c.err = c.bye
	default:
		c.err = fault.Newf(fault.Closed, "the connection to %s broke", c.server).Because(err)
	}
	said := c.bye != nil || c.shut
	err = c.err
	c.mu.Unlock()
	if c.lost != nil {
		c.lost(said, err)
	}
}

// dispatch handles a frame.
func (c *conn) dispatch(f frame) error {
	c.mu.Lock()
	at := c.calls[f.id]
	c.mu.Unlock()
	switch f.kind {
	case kindAnswer:
		if at != nil { // else its caller no longer waits
			c.removeCall(f.id)
			at.answer <- f.body
		}
		return nil
	case kindPart:
		if at != nil && at.part != nil {
			return at.part(f.body)
		}
		if at != nil && at.parts != nil {
			select {
			case at.parts <- f.body:
			case <-at.gone:
			case <-c.down:
			}
			return nil
		}
	case kindEvent:
		if at != nil {
			select {
			case at.events <- f.body:
				return nil
			default:
			}
		}
	case kindOutcomes:
		if c.outcomes != nil {
			return c.outcomes(f.body)
		}
	case kindBye:
		var bye error
		if err := decode(f.body, func(c *coder) { c.problem(&bye) }); err != nil {
			return err
		}
		c.mu.Lock()
		c.bye = bye
		c.mu.Unlock()
		return nil
	}
	return fault.Newf(fault.InvalidRequest, "an unexpected frame of kind %d", f.kind)
}

// addCall registers a call.
func (c *conn) addCall(at *call) (id uint32, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	c.last++
	c.calls[c.last] = at
	return c.last, nil
}

func (c *conn) removeCall(id uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.calls, id)
}

// failure returns why the connection has ended, or nil.
func (c *conn) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// call calls a method and waits for its answer, no longer than ctx.
func (c *conn) call(ctx context.Context, m method, args, results fields) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return c.talk(ctx, m, args, results, &dialogue{})
}

// changeGroup calls a method that changes a group. If ctx ends while the call is made, the
// change may have happened all the same: fault.UnknownOutcome, which wraps ctx's error.
func (c *conn) changeGroup(ctx context.Context, m method, args fields) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := c.talk(ctx, m, args, none, &dialogue{})
	if why := ctx.Err(); why != nil && errors.Is(err, why) {
		return fault.Newf(fault.UnknownOutcome, "a change of a group").Because(err)
	}
	return err
}

// dialogue holds what a call needs besides its answer.
type dialogue struct {
	part  func(body []byte) error // receives parts of the answer, on the reading goroutine
	take  func(body []byte) error // the same, on the caller's goroutine, so it may call the program
	event func(body []byte)       // called before the answer, on the caller's goroutine; may call the program
	stay  bool                    // when ctx ends, wait for the server's answer to that
	stop  <-chan struct{}         // when it closes, the call ends as if ctx had ended; nil: never
	limit time.Duration           // how long the server may be silent; 0: without limit
	whole bool                    // an answered error is returned as it is, also after ctx has ended

	answered bool // a result: the server has answered
}

// talk calls a method: it takes one of the connection's places for calls, registers the
// call, sends it, and waits for the answer. Closing at.gone at the end lets the reading
// goroutine drop parts that arrive later.
func (c *conn) talk(ctx context.Context, m method, args, results fields, d *dialogue) error {
	select {
	case c.room <- struct{}{}:
	default:
		select {
		case c.room <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		case <-c.over:
			return c.failure()
		}
	}
	defer func() { <-c.room }()
	at := &call{answer: make(chan []byte, 1), events: make(chan []byte, 1), part: d.part, gone: make(chan struct{})}
	if d.take != nil {
		at.parts = make(chan []byte)
	}
	defer close(at.gone)
	id, err := c.addCall(at)
	if err != nil {
		return err
	}
	defer c.removeCall(id)
	err = c.sendFields(kindCall, id, func(c *coder) {
		c.method(&m)
		args(c)
	})
	if err != nil {
		return err
	}
	body, err := c.await(ctx, id, at, d)
	if err != nil {
		return err
	}
	d.answered = true
	var failed error
	err = decode(body, func(c *coder) {
		if c.problem(&failed); failed == nil {
			results(c)
		}
	})
	switch {
	case err != nil:
		return err
	case failed != nil && !d.whole && ctx.Err() != nil && (errors.Is(failed, context.Canceled) || errors.Is(failed, context.DeadlineExceeded)):
		return ctx.Err()
	}
	return failed
}

// await waits for a call's answer. Meanwhile it runs the callbacks of events, and receives
// parts, on the caller's goroutine.
//
// If ctx ends, or stop closes, it sends a cancel. With d.stay it then waits for the
// answer, because the server may have acted: a Fetch may have moved the position, and its
// records would be lost. A server that doesn't answer within patience loses the
// connection.
func (c *conn) await(ctx context.Context, id uint32, at *call, d *dialogue) ([]byte, error) {
	ended, stop := ctx.Done(), d.stop
	var over <-chan time.Time // fires if the server is silent for too long
	if d.limit > 0 {
		over = time.After(d.limit)
	}
	for {
		select {
		case body := <-at.answer:
			return body, nil
		case body := <-at.events:
			if d.event == nil {
				c.cut()
				continue
			}
			c.runCallback(id, func() { d.event(body) })
			if over != nil {
				over = time.After(patience)
			}
		case body := <-at.parts:
			if err := d.take(body); err != nil {
				return nil, err
			}
		case <-ended:
			c.send(appendHead(nil, kindCancel, id, 0))
			if !d.stay {
				return nil, ctx.Err()
			}
			ended, stop = nil, nil
			over = time.After(patience)
		case <-stop:
			c.send(appendHead(nil, kindCancel, id, 0))
			ended, stop = nil, nil
			over = time.After(patience)
		case <-over:
			c.cut() // so that records of an answer in flight are delivered again
			over = nil
		case <-c.over:
			select {
			case body := <-at.answer:
				return body, nil
			default: // the answer had not arrived before the connection ended
				return nil, c.failure()
			}
		}
	}
}

// runCallback runs a function of the program for an event, and then reports that to
// the server, which waits for it. If the function ends the goroutine, no caller
// is left to take the answer. runCallback then ends the connection, so that the
// records in the answer are delivered again. They would be lost if the session
// lived on.
func (c *conn) runCallback(id uint32, fn func()) {
	returned := false
	defer func() {
		if !returned {
			c.cut()
		}
	}()
	fn()
	returned = true
	c.send(appendHead(nil, kindTold, id, 0))
}

// close ends the connection. It writes what is queued and waits for the server
// to close its side, for a limited time.
func (c *conn) close() {
	c.mu.Lock()
	c.shut = true
	c.mu.Unlock()
	c.closeWrite(patience)
	timer := time.AfterFunc(patience, c.cut)
	defer timer.Stop()
	<-c.over
}
