package producer

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Producer writes records to topics. See the package's documentation.
type Producer struct {
	session      Session
	partitioner  topic.Partitioner
	batchBytes   int
	closeTimeout time.Duration
	closing      atomic.Bool // Close or CloseNow has begun

	transactional bool // it has a transactional ID
	unsettled     atomic.Pointer[unsettled]

	// byKey says that the partitioner is the default one. Its choice for a key
	// then needs no call through a function value.
	byKey bool

	// routes maps the names of used topics to their routes. first is the first
	// one used: most producers need no map. A stored map does not change.
	routes atomic.Pointer[map[string]*route]
	first  atomic.Pointer[route]

	// mu guards the replacement of routes, and the fields below.
	mu     sync.Mutex
	failed error // of the first record without a callback that never reached a session
	unsent error // of the first record in the open transaction that never reached it
}

// route is how records reach one topic.
type route struct {
	topic  string
	writer Writer
	choose func(r record.Record, partitions int32) int32
}

// New returns a producer on a backend. It returns fault.InvalidConfig with
// every invalid option, or the error with which the backend failed to open a
// session, such as fault.Closed. The caller must close the producer.
func New(backend Backend, opts ...Option) (*Producer, error) {
	if backend == nil {
		return nil, fault.Newf(fault.InvalidRequest, "no backend")
	}
	o, err := configure(opts)
	if err != nil {
		return nil, err
	}
	session, err := backend.OpenProducer(context.Background(), o.Config)
	if err != nil {
		return nil, err
	}
	if _, ok := session.(Transactor); o.transactional && !ok {
		return nil, errors.Join(fault.Newf(fault.UnsupportedVersion, "this backend has no transactions"), session.Close())
	}
	p := &Producer{session: session, partitioner: o.partitioner, byKey: o.partitioner == nil, batchBytes: o.BatchBytes, closeTimeout: o.closeTimeout, transactional: o.transactional}
	if p.byKey {
		p.partitioner = topic.DefaultPartitioner
	}
	p.routes.Store(&map[string]*route{})
	return p, nil
}

// Send sends r and waits for its acknowledgement. It returns r's position. With
// AcksNone it does not wait, and the offset is -1.
//
// ctx's own error, and every other error except fault.UnknownOutcome and
// fault.Storage, means that the record was not written.
func (p *Producer) Send(ctx context.Context, r record.Record) (record.Position, error) {
	w, err := p.route(ctx, &r)
	if err != nil {
		p.lacks(err)
		return nowhere(&r), err
	}
	return w.Send(ctx, r)
}

// SendAsync accepts r and returns; it waits, no longer than ctx, only while the
// buffer is full. fn receives the outcome; if r was not accepted, SendAsync
// itself calls fn. With a nil fn, Flush returns failures. See the package's
// documentation for what fn may do.
func (p *Producer) SendAsync(ctx context.Context, r record.Record, fn Callback) {
	w, err := p.route(ctx, &r)
	if err != nil {
		p.refuse(&r, fn, err)
		return
	}
	w.SendAsync(ctx, r, fn)
}

// SendAll sends records and waits for all acknowledgements. Positions are in
// the order of the records. If a record fails, its position has offset -1, the
// others are still sent, and SendAll returns the first error. If ctx ends while
// waiting, there are no positions and the error is fault.UnknownOutcome.
func (p *Producer) SendAll(ctx context.Context, records ...record.Record) ([]record.Position, error) {
	if len(records) == 0 {
		return nil, nil
	}
	var (
		positions = make([]record.Position, len(records))
		errs      = make([]error, len(records))
		left      atomic.Int64
		done      = make(chan struct{})
	)
	left.Store(int64(len(records)))
	for i, r := range records {
		p.SendAsync(ctx, r, func(at record.Position, err error) {
			positions[i], errs[i] = at, err
			if left.Add(-1) == 0 {
				close(done)
			}
		})
	}
	select {
	case <-done:
	case <-ctx.Done():
		return nil, fault.At(fault.UnknownOutcome, records[0].Topic, -1, -1).Because(ctx.Err())
	}
	for i, err := range errs {
		if err != nil {
			return positions, fault.At(fault.CodeOf(err), "", -1, -1).Detailf("record %d of %d", i+1, len(errs)).Because(err)
		}
	}
	return positions, nil
}

// Flush sends what is buffered without waiting for linger, and returns when
// everything sent before the call is acknowledged or has failed, or ctx ends.
// It returns the first failure since the last Flush of a record that was sent
// without a callback.
func (p *Producer) Flush(ctx context.Context) error {
	err := p.session.Flush(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed != nil {
		err, p.failed = p.failed, nil
	}
	return err
}

// Close waits until everything sent is acknowledged or has failed, as Flush
// does, and releases all resources. It waits no longer than CloseTimeout, 30
// seconds by default: unacknowledged records then fail with fault.Closed.
// Records sent after Close was called fail with fault.Closed at once.
//
// An open transaction is aborted.
//
// Close returns the first failure since the last Flush of a record that was
// sent without a callback, and fault.Closed if the time ran out. It is
// idempotent and may be called at any moment except from a callback. It does
// not hang: if a backend does not answer, it gives up shortly after the
// timeout. When it returns, no callback is running or will run.
func (p *Producer) Close() error {
	p.closing.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), p.closeTimeout)
	defer cancel()
	err := p.session.Flush(ctx)
	if t, terr := p.transactor(); terr == nil {
		_ = t.EndTransaction(ctx, false) // if one is open; its timeout does it otherwise
	}
	late := ctx.Err() != nil && errors.Is(err, context.DeadlineExceeded)
	if late || isOver(err) {
		err = nil
	}
	given := p.giveUp()
	if err == nil {
		err = given
	}
	if err == nil && late {
		err = fault.Newf(fault.Closed, "not everything was acknowledged within %v", p.closeTimeout)
	}
	return err
}

// CloseNow closes without waiting: unacknowledged records fail with
// fault.Closed at once, whether they were written or not. To bound the wait by
// a context, call
//
//	err := p.Flush(ctx)
//	p.CloseNow()
//
// CloseNow may be called while Close waits, and ends that wait. Like Close it
// must not be called from a callback, because it waits for running callbacks.
func (p *Producer) CloseNow() error {
	p.closing.Store(true)
	return p.giveUp()
}

// giveUp closes the session.
func (p *Producer) giveUp() error {
	err := p.session.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed != nil {
		err, p.failed = p.failed, nil
	}
	return err
}

// isOver reports whether a Flush failed only because the session was already
// closed, not because a record failed.
func isOver(err error) bool {
	var f *fault.Error
	return fault.CodeOf(err) == fault.Closed && (!errors.As(err, &f) || f.Topic == "")
}

// route returns the route to r's topic and sets r's partition.
func (p *Producer) route(ctx context.Context, r *record.Record) (Writer, error) {
	if p.closing.Load() {
		return nil, fault.At(fault.Closed, r.Topic, -1, -1)
	}
	to := p.first.Load()
	if to == nil || to.topic != r.Topic {
		to = (*p.routes.Load())[r.Topic]
	}
	var n int32
	if to != nil {
		n = to.writer.Partitions()
	}
	if n == 0 { // the topic is new here, or was deleted and perhaps created again
		var err error
		if to, err = p.open(ctx, r.Topic, to); err != nil {
			return nil, err
		}
		if n = to.writer.Partitions(); n == 0 {
			return nil, fault.At(fault.UnknownTopic, r.Topic, -1, -1)
		}
	}
	if p.byKey && r.Key != nil {
		if r.Partition = 0; n > 1 { // a single partition needs no hash
			r.Partition = topic.PartitionForKey(r.Key, n)
		}
		return to.writer, nil
	}
	number, err := to.partition(r, n)
	if err != nil {
		return nil, err
	}
	if number < 0 || number >= n {
		return nil, noPartition(r.Topic, number, n)
	}
	r.Partition = number
	return to.writer, nil
}

// noPartition is the error for a partition that a topic with n of them lacks.
func noPartition(name string, number, n int32) error {
	err := fault.At(fault.UnknownTopic, name, number, -1).Detailf("the partitioner chose partition %d, and the topic has %d partitions", number, n)
	if number < 0 {
		return err.Try("topic.ManualPartitioner needs a Partition in the record; Typed leaves it at -1, so set it in what Typed.Record returns, and give that to Producer.Send")
	}
	return err
}

// partition chooses r's partition. A panic in the partitioner becomes an error.
func (to *route) partition(r *record.Record, n int32) (number int32, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fault.At(fault.InvalidRecord, r.Topic, -1, -1).Detailf("the partitioner panicked: %v", v)
		}
	}()
	return to.choose(*r, n), nil
}

// open returns a route to a topic that differs from stale, whose topic no
// longer exists.
func (p *Producer) open(ctx context.Context, name string, stale *route) (*route, error) {
	w, err := p.session.Topic(ctx, name)
	if err != nil {
		return nil, named(err, name)
	}
	choose, err := p.chooser(name)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	routes := *p.routes.Load()
	if to := routes[name]; to != nil && to != stale {
		return to, nil
	}
	to := &route{topic: name, writer: w, choose: choose}
	if first := p.first.Load(); first == nil || first == stale {
		p.first.Store(to)
	}
	routes = maps.Clone(routes)
	routes[name] = to
	p.routes.Store(&routes)
	return to, nil
}

// chooser asks the partitioner for the function that chooses a topic's
// partitions. A panic in it becomes an error.
func (p *Producer) chooser(name string) (choose func(r record.Record, partitions int32) int32, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fault.At(fault.InvalidConfig, name, -1, -1).Detailf("the partitioner panicked: %v", v)
		}
	}()
	return p.partitioner(name, p.batchBytes), nil
}

// refuse reports that r was not accepted.
func (p *Producer) refuse(r *record.Record, fn Callback, err error) {
	p.lacks(err)
	if fn != nil {
		fn(nowhere(r), err)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed == nil {
		p.failed = err
	}
}

// nowhere is the position of a record that was not written.
func nowhere(r *record.Record) record.Position {
	return record.Position{Topic: r.Topic, Partition: r.Partition, Offset: -1}
}

// named returns err with the topic's name, unless it has one or is ctx's error.
func named(err error, name string) error {
	var f *fault.Error
	if errors.As(err, &f) && f.Topic != "" || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fault.At(fault.CodeOf(err), name, -1, -1).Because(err)
}
