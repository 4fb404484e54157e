package produce

import (
	"context"
	"errors"
	"sync"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
)

// A trial sends the records with conditions of one partition. It has lanes of its own, each
// with one record at a time: a refusal is nothing out of the ordinary, and must fail no
// record that was sent behind it. Each lane has a producer ID of its own, so that several
// appends are on their way at once, share an fsync, and can still be sent again to another
// leader.
//
// In a transaction there is one producer ID, and so there is no trial: the record takes the
// transaction's lane, and a refusal makes it one that can only be aborted.
type trial struct {
	writer    *writer
	number    int32
	partition host.Partition
	room      chan struct{} // holds a token for each record on its way

	mu   sync.Mutex
	free []*lane
}

// trialsAtOnce is how many records with conditions of one session are on their way to a
// partition at once. The partition remembers as many producers.
const trialsAtOnce = 64

// SendIf implements producer.Writer.
func (w *writer) SendIf(ctx context.Context, r record.Record, condition record.Condition) (record.Position, error) {
	nowhere := record.Position{Topic: w.topic.Name, Partition: r.Partition, Offset: -1}
	if err := ctx.Err(); err != nil {
		return nowhere, err
	}
	if w.session.cfg.Acks == producer.AcksNone {
		return nowhere, fault.At(fault.InvalidRequest, w.topic.Name, r.Partition, -1).Detailf("with AcksNone a refusal would not be heard of")
	}
	l, leave, err := w.enterIf(ctx, r.Partition)
	if err != nil {
		return nowhere, err
	}
	type outcome struct {
		at  record.Position
		err error
	}
	told := make(chan outcome, 1)
	err = l.sendIf(ctx, &r, condition, func(at record.Position, err error) {
		leave()
		told <- outcome{at, err}
	})
	if err != nil {
		leave()
		return nowhere, w.failed(err)
	}
	select {
	case o := <-told:
		if c, ok := errors.AsType[*fault.Conflict](o.err); ok && c.Topic == "" { // of another node
			named := *c
			named.Topic, named.Partition = l.topic, l.number
			o.err = &named
		}
		return o.at, o.err
	case <-ctx.Done():
		return nowhere, fault.At(fault.UnknownOutcome, l.topic, l.number, -1).Because(ctx.Err())
	}
}

// enterIf returns a lane for a record with a condition. leave must be called once its
// outcome is known. What the session has sent to the partition before has its outcome.
func (w *writer) enterIf(ctx context.Context, number int32) (l *lane, leave func(), err error) {
	if w.session.transaction != nil {
		return w.enter(ctx, number, true)
	}
	if lanes := w.lanes.Load(); lanes != nil && uint32(number) < uint32(len(*lanes)) && (*lanes)[number] != nil {
		if err := (*lanes)[number].settle(ctx); err != nil {
			return nil, nil, err
		}
	}
	t, err := w.trial(number)
	if err != nil {
		return nil, nil, err
	}
	return t.enter(ctx)
}

// settle waits until everything that was sent has its outcome.
func (l *lane) settle(ctx context.Context) error {
	f := &flush{over: make(chan struct{})}
	f.left.Store(1)
	l.flush(f)
	f.done()
	select {
	case <-f.over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sendIf sends a record with a condition.
func (l *lane) sendIf(ctx context.Context, r *record.Record, condition record.Condition, fn producer.Callback) error {
	ms, err := l.check(r)
	if err != nil {
		return err
	}
	return l.sendAlone(ctx, r, ms, condition, fn, true)
}

// trial returns the trial of a partition.
func (w *writer) trial(number int32) (*trial, error) {
	w.mu.Lock()
	t := w.trials[number]
	w.mu.Unlock()
	if t != nil {
		return t, nil
	}
	p, err := w.partition(number)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if t = w.trials[number]; t == nil {
		if w.trials == nil {
			w.trials = map[int32]*trial{}
		}
		t = &trial{writer: w, number: number, partition: p, room: make(chan struct{}, trialsAtOnce)}
		w.trials[number] = t
	}
	return t, nil
}

// enter returns a lane that no one else uses until leave is called.
func (t *trial) enter(ctx context.Context) (l *lane, leave func(), err error) {
	s := t.writer.session
	select {
	case t.room <- struct{}{}:
	default:
		select {
		case t.room <- struct{}{}:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-s.closing:
			return nil, nil, fault.At(fault.Closed, t.writer.topic.Name, t.number, -1)
		}
	}
	t.mu.Lock()
	if n := len(t.free); n > 0 {
		l, t.free = t.free[n-1], t.free[:n-1]
	}
	t.mu.Unlock()
	if l == nil {
		if l, err = t.newLane(ctx); err != nil {
			<-t.room
			return nil, nil, err
		}
	}
	return l, func() {
		t.mu.Lock()
		t.free = append(t.free, l)
		t.mu.Unlock()
		<-t.room
	}, nil
}

// newLane returns a lane with a producer ID of its own, if the session is idempotent.
func (t *trial) newLane(ctx context.Context) (*lane, error) {
	s, id := t.writer.session, int64(record.NoProducerID)
	if s.cfg.Idempotent {
		var err error
		if id, err = s.newID(ctx); err != nil {
			return nil, err
		}
	}
	return s.addLane(t.writer, t.number, t.partition, id)
}
