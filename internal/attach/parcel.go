package attach

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/callback"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
)

// parcel is sent as one frame to one partition: records, or a whole batch.
type parcel struct {
	id        uint32
	writer    *writer
	lane      *lane
	partition int32
	heard     uint32 // see arrival
	kind      kind
	builder   *record.Builder // of records
	batch     []byte          // a whole batch
	fns       []producer.Callback
	program   bool  // some of fns are the program's
	sizes     []int // how much of the buffer each record takes; 0 once its outcome is known
	left      int   // how many outcomes are not known
	taken     bool  // the writing goroutine has taken it
}

// lane is a writer's state for one partition, guarded by session.mu.
//
// After a record could not be written, the server refuses everything sent after
// it, until it gets a parcel whose sender knew of the failure. The sender knows
// once all callbacks of that failure have run. Until then enter accepts
// nothing: a record sent between the callbacks of two failed records could
// otherwise be written between two holes.
type lane struct {
	open    *parcel       // the parcel that takes further records, or nil
	parcels int           // parcels with callbacks still to run
	heard   uint32        // the number of the last failure whose callbacks have all run
	failure uint32        // the number of the newest failure
	healed  chan struct{} // closed when heard equals failure again; nil while they are equal
}

// enter returns the state of a partition, once records are accepted there. The
// caller holds s.mu, which enter unlocks while it waits.
func (w *writer) enter(ctx context.Context, partition int32) (*lane, error) {
	s := w.session
	for {
		if s.over != nil {
			return nil, s.over
		}
		to := w.lanes[partition]
		if to == nil {
			to = &lane{}
			w.lanes[partition] = to
		}
		if to.healed == nil {
			return to, nil
		}
		healed := to.healed
		s.mu.Unlock()
		var err error
		select {
		case <-healed:
		case <-ctx.Done():
			err = ctx.Err()
		}
		if s.mu.Lock(); err != nil {
			return nil, err
		}
	}
}

// newParcel returns a new parcel after all others. The caller holds mu.
func (s *sending) newParcel(w *writer, to *lane, partition int32, k kind) *parcel {
	s.last++
	p := &parcel{id: s.last, writer: w, lane: to, partition: partition, heard: to.heard, kind: k}
	to.parcels++
	s.parcels[p.id] = p
	s.pending = append(s.pending, p)
	return p
}

func (p *parcel) add(fn producer.Callback, size int, program bool) {
	p.fns, p.sizes = append(p.fns, fn), append(p.sizes, size)
	p.program = p.program || program
	p.left++
}

// located returns an error of the parcel's records that names their partition. The
// server's reason for ending a connection names none, and without one producer.Close
// takes a record that failed for a session that had nothing to lose.
func (p *parcel) located(err error) error {
	f, ok := errors.AsType[*fault.Error](err)
	switch {
	case err == nil || ok && f.Topic != "":
		return err
	case err == error(fault.Closed):
		return fault.At(fault.Closed, p.writer.topic, p.partition, -1)
	}
	return fault.At(fault.CodeOf(err), p.writer.topic, p.partition, -1).Because(err)
}

func (s *sending) newBuilder() *record.Builder {
	if n := len(s.free); n > 0 {
		b := s.free[n-1]
		s.free = s.free[:n-1]
		return b
	}
	return record.NewBuilder(parcelBytes)
}

// outcomes handles a frame of outcomes, on the connection's reading goroutine. Numbers of
// partitions come first: a callback may send to a partition that is new.
func (s *sending) outcomes(body []byte) error {
	var frame outcomes
	if err := decode(body, frame.fields); err != nil {
		return err
	}
	s.mu.Lock()
	for _, t := range frame.topics {
		if w := s.writers[t.writer]; w != nil {
			w.setPartitions(t.partitions)
		}
	}
	s.mu.Unlock()
	for _, r := range frame.runs {
		n, err := s.learn(r)
		if err != nil {
			return err
		}
		s.deliver(n)
	}
	return nil
}

// learn processes the outcome of some records of a parcel. It checks the server's numbers,
// because a record must not get two outcomes. A failure closes the lane until its
// callbacks have run.
func (s *sending) learn(r run) (*news, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.parcels[r.parcel]
	ok := p != nil && p.taken && r.first >= 0 && r.count > 0 && int(r.count) <= len(p.sizes) && int(r.first) <= len(p.sizes)-int(r.count) &&
		!slices.Contains(p.sizes[r.first:r.first+r.count], 0)
	if !ok {
		return nil, fault.Newf(fault.InvalidRequest, "an outcome of records that were not sent")
	}
	if to := p.lane; r.failure > max(to.heard, to.failure) {
		to.failure = r.failure
		to.open = nil // its records were sent before the failure was known
		if to.healed == nil {
			to.healed = make(chan struct{})
		}
	}
	return s.newsOf(p, int(r.first), int(r.count), r.base, p.located(r.err)), nil
}

// newsOf returns the news of some records of a parcel. The caller holds mu.
func (s *sending) newsOf(p *parcel, first, count int, base int64, err error) *news {
	if err != nil {
		s.spoil(err)
	}
	n := &news{session: s, parcel: p, next: first, end: first + count, first: first, base: base, err: err}
	for i := first; i < first+count; i++ {
		n.bytes += p.sizes[i]
		p.sizes[i] = 0
	}
	if p.left -= count; p.left == 0 {
		delete(s.parcels, p.id)
		n.last = true
	}
	return n
}

// deliver queues the callbacks of news. Those of the program run on a goroutine
// of their own: they may end it, and reading must continue all the same.
func (s *sending) deliver(n *news) {
	if n.parcel.program || !s.told.Idle() {
		s.told.Add(n)
		return
	}
	for n.Step() {
	}
}

// news is the outcome of some records of one parcel. It implements
// callback.Item.
type news struct {
	session   *sending
	parcel    *parcel
	next, end int // records whose callbacks have not run
	first     int
	base      int64
	err       error
	bytes     int  // how much of the buffer the records take
	last      bool // the callbacks of all other records of the parcel have been queued before
}

// Step runs one record's callback. After the last one it releases the records'
// share of the buffer.
func (n *news) Step() (more bool) {
	p := n.parcel
	if n.next == n.end {
		n.session.settled(n)
		return false
	}
	i := n.next
	n.next++
	at := record.Position{Topic: p.writer.topic, Partition: p.partition, Offset: -1}
	if n.err == nil && n.base >= 0 {
		at.Offset = n.base + int64(i-n.first)
	}
	fn := p.fns[i]
	p.fns[i] = nil
	defer func() {
		if v := recover(); v != nil {
			n.session.keepFailure(fault.At(fault.Unknown, at.Topic, at.Partition, at.Offset).Detailf("a callback panicked").Because(callback.Panicked(v)))
			more = true
		}
	}()
	n.session.settle(fn, at, n.err)
	return true
}

// settled completes news whose callbacks have run. After the last callback of the last
// parcel in the lane, the program knows of all failures: the lane opens again, and later
// parcels carry the number of the newest failure.
func (s *sending) settled(n *news) {
	s.room.Give(n.bytes)
	if !n.last {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	to := n.parcel.lane
	if to.parcels--; to.parcels == 0 && to.healed != nil {
		to.heard = to.failure
		close(to.healed)
		to.healed = nil
	}
}

// settle calls fn. Without one, it keeps a failure for Flush.
func (s *sending) settle(fn producer.Callback, at record.Position, err error) {
	if fn != nil {
		fn(at, err)
		return
	}
	if err != nil {
		s.keepFailure(err)
	}
}

// keepFailure keeps a failure for Flush.
func (s *sending) keepFailure(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = err
	}
}

// lost fails all unacknowledged records, in order. said means that the end was announced,
// by the server's bye or by this side: then the server has reported what it has written.
// Otherwise records that were sent may have been written, and their outcome is unknown.
func (s *sending) lost(said bool, err error) {
	s.mu.Lock()
	if s.over == nil {
		s.over = err
	}
	err = s.over
	s.pending = nil
	var all []*news
	for _, id := range slices.Sorted(maps.Keys(s.parcels)) {
		p := s.parcels[id]
		why := p.located(err)
		if p.taken && !said {
			why = fault.At(fault.UnknownOutcome, p.writer.topic, p.partition, -1).Because(err)
		}
		for i, size := range p.sizes {
			if size != 0 {
				all = append(all, s.newsOf(p, i, 1, -1, why))
			}
		}
	}
	s.mu.Unlock()
	for _, n := range all {
		s.deliver(n)
	}
}
