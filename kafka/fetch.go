package kafka

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// Fetch implements consumer.Session.
func (s *consuming) Fetch(ctx context.Context, wait time.Duration, dst []record.Record) (got consumer.Fetched, err error) {
	dst = dst[:0]
	if !s.gate.Enter() {
		return consumer.Fetched{}, s.isOver()
	}
	defer func() {
		if s.gate.Leave() {
			s.finish()
			got, err = consumer.Fetched{}, fault.Closed
		}
	}()
	if err := ctx.Err(); err != nil {
		return consumer.Fetched{}, err
	}
	limit := until(wait)
	for {
		if s.isClosed() {
			return consumer.Fetched{}, fault.Closed
		}
		s.carryOut()
		if err := s.restart(ctx); err != nil {
			return consumer.Fetched{}, err
		}
		if got, ok, err := s.next(dst); ok || err != nil {
			return got, err
		}
		if got, ok := s.skip(ctx, dst); ok {
			return got, nil
		}
		if s.poll(ctx, limit) {
			continue
		}
		if s.isClosed() {
			return consumer.Fetched{}, fault.Closed
		}
		if err := ctx.Err(); err != nil {
			return consumer.Fetched{}, err
		}
		if limit.reached() {
			return consumer.Fetched{Records: dst}, nil
		}
	}
}

// bound is until when one Fetch may wait.
type bound struct {
	wait time.Duration
	end  time.Time // valid unless wait is 0 or less, or consumer.UntilDone
}

func until(wait time.Duration) bound {
	b := bound{wait: wait}
	if wait > 0 && wait < consumer.UntilDone {
		b.end = time.Now().Add(wait)
	}
	return b
}

func (b bound) reached() bool {
	return b.wait <= 0 || !b.end.IsZero() && !time.Now().Before(b.end)
}

func (s *consuming) isClosed() bool { return s.gate.Closed() }

// next takes an error, or the records of the partition whose turn it is.
func (s *consuming) next(dst []record.Record) (consumer.Fetched, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.errs) > 0 {
		err := s.errs[0]
		s.errs = s.errs[1:]
		return consumer.Fetched{}, false, err
	}
	i := slices.IndexFunc(s.order, func(tp record.TopicPartition) bool { return !s.owned[tp].paused })
	if i < 0 {
		return consumer.Fetched{}, false, nil
	}
	tp := s.order[i]
	s.order = slices.Delete(s.order, i, i+1)
	o := s.owned[tp]
	n := 0
	for _, r := range o.records {
		if r.Attrs.IsControl() {
			n++
			continue
		}
		if len(dst) == s.cfg.MaxRecords {
			break
		}
		dst = append(dst, received(r))
		n++
	}
	last := o.records[n-1]
	clear(o.records[:n])
	if o.records = o.records[n:]; len(o.records) > 0 {
		s.order = append(s.order, tp)
	}
	o.position, o.behind = last.Offset+1, time.Time{}
	if len(o.records) == 0 && o.position < o.high {
		o.behind = time.Now() // more records may follow, or there are none
	}
	return consumer.Fetched{
		TopicPartition: tp, Records: dst, Next: o.position,
		LeaderEpoch: last.LeaderEpoch, HighWatermark: max(o.high, o.position),
	}, true, nil
}

// received converts a record to package record's type. The client gave it bytes
// that are not reused.
func received(r *kgo.Record) record.Record {
	own := record.Record{
		Topic: r.Topic, Partition: r.Partition, LeaderEpoch: r.LeaderEpoch, Offset: r.Offset,
		Timestamp: r.Timestamp, Key: r.Key, Value: r.Value,
	}
	if len(r.Headers) > 0 {
		own.Headers = make([]record.Header, len(r.Headers))
		for i, h := range r.Headers {
			own.Headers[i] = record.Header{Key: h.Key, Value: h.Value}
		}
	}
	return own
}

// poll waits until the client has records or an error, ctx ends, the bound is
// reached or rouse wakes it, and reports whether the client had something. Once
// the bound is reached it does not wait.
func (s *consuming) poll(ctx context.Context, limit bound) bool {
	if limit.reached() {
		var atOnce context.Context // nil tells the client not to wait
		return s.keep(s.client.PollRecords(atOnce, -1))
	}
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	s.mu.Lock()
	if len(s.changes) > 0 || s.isClosed() {
		s.mu.Unlock()
		return true
	}
	end := limit.end
	if _, due := s.look(); !due.IsZero() && (end.IsZero() || due.Before(end)) {
		end = due
	}
	if !end.IsZero() {
		waiting, cancel = context.WithDeadline(waiting, end)
		defer cancel()
	}
	s.wake = cancel
	s.mu.Unlock()
	fetches := s.client.PollRecords(waiting, -1)
	s.mu.Lock()
	s.wake = nil
	s.mu.Unlock()
	return s.keep(fetches)
}

// rouse ends the current poll, so that Fetch checks for changes.
func (s *consuming) rouse() {
	s.mu.Lock()
	if s.wake != nil {
		s.wake()
	}
	s.mu.Unlock()
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// keep stores what the client fetched, and reports whether any of it was of
// partitions that the session owns.
func (s *consuming) keep(fetches kgo.Fetches) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	some := false
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		tp := record.TopicPartition{Topic: p.Topic, Partition: p.Partition}
		switch o := s.owned[tp]; {
		case p.Err == nil:
		case errors.Is(p.Err, kerr.OffsetOutOfRange):
			if o != nil && !o.unplaced && !slices.Contains(s.astray, tp) {
				s.astray = append(s.astray, tp)
				some = true
			}
		case !harmless(p.Err):
			s.errs = append(s.errs, failureOf(p.Err, tp))
			some = true
		}
		o := s.owned[tp]
		if o == nil || o.unplaced || len(p.Records) == 0 {
			return
		}
		if len(o.records) == 0 {
			s.order = append(s.order, tp)
		}
		o.records = append(o.records, p.Records...)
		if o.high, o.behind = p.HighWatermark, (time.Time{}); s.cfg.ReadCommitted {
			o.high = p.LastStableOffset
		}
		some = true
	})
	return some
}

// restart restarts one partition at Config.Start, because the log no longer has
// its offset, or does not have it yet. Fetch returns the error for that once.
func (s *consuming) restart(ctx context.Context) error {
	s.mu.Lock()
	if len(s.astray) == 0 {
		s.mu.Unlock()
		return nil
	}
	tp := s.astray[0]
	s.astray = s.astray[1:]
	was := s.owned[tp]
	s.mu.Unlock()
	if was == nil {
		return nil
	}
	at := was.position
	if s.cfg.Start.IsNone() {
		s.mu.Lock()
		was.unplaced = true
		s.mu.Unlock()
		return fault.At(fault.OffsetOutOfRange, tp.Topic, tp.Partition, at).Try("Seek sets where to continue")
	}
	err := s.Seek(ctx, tp, s.cfg.Start)
	if errors.Is(err, fault.NotAssigned) {
		return nil
	}
	if err != nil {
		s.mu.Lock()
		s.astray = append(s.astray, tp)
		s.mu.Unlock()
		return err
	}
	position, err := s.Position(ctx, tp)
	if err != nil {
		return err
	}
	return fault.At(fault.OffsetOutOfRange, tp.Topic, tp.Partition, at).Detailf("continuing at %d", position)
}

// harmless reports whether an error that came with a fetch can be ignored: the
// end of a poll, errors after which the client retries by itself, and the
// notice that the client joins its group again, which OnLost has already
// reported.
func harmless(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, kgo.ErrClientClosed) {
		return true
	}
	switch code := fault.CodeOf(failure(err)); code {
	case fault.CorruptMessage:
		return false
	case fault.UnknownMember, fault.IllegalGeneration, fault.FencedMemberEpoch:
		return true
	default:
		return code.Retriable()
	}
}
