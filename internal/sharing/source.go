package sharing

import (
	"context"
	"errors"
	"time"

	"github.com/runnel-go/runnel/fault"
	internal "github.com/runnel-go/runnel/internal/coordinator/share"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/share"
)

// acquire acquires records. If there are none, next is when to ask again if nothing happens
// before; zero for no such time.
//
// In one process it does not end with the program's ctx: what the coordinator grants arrives. A
// coordinator on another node may have granted it all the same. Then the acquisition keeps its
// number, and the next call gets what it got.
func (src *source) acquire(ctx context.Context, most int) (acquired []share.Acquired, next time.Time, err error) {
	s := src.session
	if !s.sessions.host.IsReplicated() {
		ctx = s.ctx
	}
	want := most
	for {
		p, err := s.sessions.host.Sound(src.topic, src.tp.Partition)
		if err != nil {
			return nil, next, src.passing(err)
		}
		got, err := s.sessions.shares.Acquire(ctx, src.key, src.demand(p, most), &src.waiter)
		switch {
		case errors.Is(err, fault.GroupNotFound):
			if err := src.initialize(ctx, p); err != nil {
				return nil, next, err
			}
			continue
		case err != nil:
			return nil, next, err
		}
		number := src.pending
		src.pending = 0
		if got.Search != nil {
			if err := src.search(ctx, p, got.Search); err != nil {
				return nil, next, err
			}
		}
		if len(got.Ranges) > 0 {
			acquired, err := src.deliver(p, number, want, &got)
			if len(acquired) > 0 || err != nil {
				return acquired, next, err
			}
			most = min(2*most, max(most, passOver)) // there was nothing to deliver among them
		}
		if got.Search != nil || len(got.Ranges) > 0 {
			continue
		}
		if got.Full || src.park(p, got.End) {
			return nil, got.Next, nil
		}
	}
}

// passOver is how many offsets a session acquires at once, at most, while none of them has a
// record to deliver.
const passOver = 1024

// passing returns nil for the error of a topic that was deleted: the session hears of that.
func (src *source) passing(err error) error {
	if errors.Is(err, fault.UnknownTopic) {
		return nil
	}
	return err
}

// demand returns what the session asks the coordinator for.
func (src *source) demand(p host.Partition, most int) internal.Demand {
	s := src.session
	if src.pending == 0 {
		s.last++
		src.pending = s.last
	}
	d := internal.Demand{
		Member: s.member, Acquisition: src.pending, Max: most, Lock: s.cfg.LockTime, Attempts: s.cfg.Attempts, DeadLetters: s.cfg.Spent, Window: s.cfg.Locks,
		From: p.StartOffset(), To: p.At(s.isolation()).Visible(), High: -1,
	}
	if !s.sessions.host.IsReplicated() { // else this node may not know of all that is committed
		d.High = p.HighWatermark()
	}
	return d
}

// initialize begins the share-partition where the group begins.
func (src *source) initialize(ctx context.Context, p host.Partition) error {
	s := src.session
	at, err := host.ListOffset(ctx, p, s.cfg.Start, s.isolation())
	if err != nil {
		return err
	}
	return s.sessions.shares.Initialize(ctx, src.key, s.member, at.Offset)
}

// park has the session woken when an offset can be read. It returns false if it can be by
// now.
func (src *source) park(p host.Partition, offset int64) bool {
	s := src.session
	s.mu.Lock()
	waiting := src.waiting
	src.waiting = true
	s.mu.Unlock()
	if waiting || p.At(s.isolation()).Wait(offset, src) {
		return true
	}
	s.mu.Lock()
	src.waiting = false
	s.mu.Unlock()
	return p.Err() != nil // a closed partition wakes no one; topics that change do
}

// deliver reads what was acquired, and settles what is not delivered.
func (src *source) deliver(p host.Partition, number int64, want int, got *internal.Acquired) ([]share.Acquired, error) {
	r := reader{source: src, number: number, want: want, view: p.At(src.session.isolation()), left: src.session.cfg.MaxBytes, now: got.Now}
	var err error
	for _, rng := range got.Ranges {
		if r.spent() {
			r.settle(rng.First, rng.Last, internal.Return)
			continue
		}
		if err = r.read(rng, got.Until); err != nil {
			break
		}
	}
	if err != nil {
		r.back(got)
	}
	if len(r.rest) > 0 {
		if _, failed := src.session.sessions.shares.Settle(src.session.ctx, src.key, src.session.member, r.rest); err == nil {
			err = failed
		}
	}
	if err != nil {
		return nil, src.passing(err)
	}
	return r.acquired, nil
}

// readBytes is how much is read of a partition at once, or one batch.
const readBytes = 64 << 10

// reader reads the records of one acquisition.
type reader struct {
	source   *source
	view     partition.View
	number   int64     // of the acquisition
	now      time.Time // records with a later time are not due
	left     int       // bytes
	want     int       // records, at most: more offsets were acquired where none of the first had one
	acquired []share.Acquired
	rest     []internal.Settlement // of what is not delivered
}

// spent reports whether no more records are to be read.
func (r *reader) spent() bool {
	return len(r.acquired) == r.want || r.left <= 0 && len(r.acquired) > 0
}

func (r *reader) settle(first, last int64, kind internal.Kind) {
	if first <= last {
		r.rest = append(r.rest, internal.Settlement{First: first, Last: last, Acquisition: r.number, Kind: kind})
	}
}

// back gives all of an acquisition back, after an error.
func (r *reader) back(got *internal.Acquired) {
	r.acquired, r.rest = nil, nil
	for _, rng := range got.Ranges {
		r.settle(rng.First, rng.Last, internal.Return)
	}
}

// read reads the records of a range. Offsets that have none are gaps.
func (r *reader) read(rng internal.Range, until time.Time) error {
	next := rng.First // the first offset that is not decided
	for next <= rng.Last {
		slice, err := r.view.Read(next, min(r.left, readBytes), nil)
		if errors.Is(err, fault.OffsetOutOfRange) && next < slice.StartOffset { // deleted meanwhile
			end := min(slice.StartOffset-1, rng.Last)
			r.settle(next, end, internal.Gap)
			next = end + 1
			continue
		}
		if err != nil {
			return err
		}
		if len(slice.Bytes) == 0 { // a replica that lags; or nothing is visible any more
			r.settle(next, rng.Last, internal.Return)
			return nil
		}
		next, err = r.decode(&slice, next, rng, until)
		slice.Release()
		if err != nil {
			return err
		}
		if r.spent() {
			r.settle(next, rng.Last, internal.Return)
			return nil
		}
	}
	return nil
}

// decode takes the records of a range out of batches, from offset next on, and returns the
// first offset that is not decided.
func (r *reader) decode(slice *partition.Slice, next int64, rng internal.Range, until time.Time) (int64, error) {
	for rest := slice.Bytes; len(rest) > 0 && next <= rng.Last && !r.spent(); {
		h, err := record.ParseHeader(rest)
		if err != nil {
			return next, err
		}
		b := record.Batch{BatchHeader: h, Bytes: rest[:h.Size()]}
		rest = rest[h.Size():]
		if h.NextOffset() <= next {
			continue
		}
		if !h.Control() && h.Count > 0 && !slice.Hides(&h) {
			if next, err = r.records(b, next, rng, until); err != nil {
				return next, err
			}
			if r.spent() {
				return next, nil
			}
		}
		end := min(h.NextOffset()-1, rng.Last)
		r.settle(next, end, internal.Gap)
		next = max(next, end+1)
	}
	return next, nil
}

// records takes the records of a range out of a batch.
func (r *reader) records(b record.Batch, next int64, rng internal.Range, until time.Time) (int64, error) {
	src := r.source
	it, err := b.Records(src.session.sessions.host.Codec())
	if err != nil {
		return next, record.Undecodable(err, src.tp.Topic, src.tp.Partition, next)
	}
	for rec := (record.Record{}); !r.spent() && next <= rng.Last && it.Next(&rec); {
		if rec.Offset < next {
			continue
		}
		if rec.Offset > rng.Last {
			break
		}
		r.settle(next, rec.Offset-1, internal.Gap)
		next = rec.Offset + 1
		if at, ok := producer.DeliverAt(rec); ok && at.After(r.now) {
			r.rest = append(r.rest, internal.Settlement{First: rec.Offset, Last: rec.Offset, Acquisition: r.number, Kind: internal.Return, At: at})
			continue
		}
		rec := rec.Clone()
		rec.Topic, rec.Partition = src.tp.Topic, src.tp.Partition
		r.left -= len(rec.Key) + len(rec.Value)
		r.acquired = append(r.acquired, share.Acquired{Record: rec, Acquisition: r.number, Attempt: rng.Attempt, Spent: rng.Spent, Until: until})
	}
	if err := it.Err(); err != nil {
		return next, record.Undecodable(err, src.tp.Topic, src.tp.Partition, next)
	}
	return next, nil
}
