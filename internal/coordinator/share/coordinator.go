package share

import (
	"math"
	"slices"
	"time"

	"github.com/runnel-go/runnel/fault"
)

// Coordinator holds the share-partitions of one partition of __share_group_state. See the
// package's documentation.
type Coordinator struct {
	parts    map[Key]*part
	logged   int             // bytes of updates since the latest snapshot
	snapshot int             // bytes of the latest snapshot
	searches map[place]int64 // milliseconds: until when a member has to search a stretch. It is not in the log
}

// New returns a Coordinator without share-partitions. The caller applies the log to it.
func New() *Coordinator { return &Coordinator{parts: map[Key]*part{}} }

// Result is what a command did: records that must be appended together, and what may now be
// acquired that could not be before.
type Result struct {
	Records []Record
	Key     Key
	Room    bool // some offsets are finished: others may be acquired in their place
	Freed   bool // some offsets are available, now or at a known time
}

// Apply adds one record of the log.
func (c *Coordinator) Apply(key, b []byte) error {
	k, kind, ok, err := decodeKey(key)
	if err != nil || !ok {
		return err
	}
	if b == nil {
		delete(c.parts, k)
		return nil
	}
	v, err := decodeValue(kind, b)
	if err != nil {
		return err
	}
	c.apply(k, kind, &v)
	c.logged += len(key) + len(b)
	return nil
}

func (c *Coordinator) apply(k Key, kind int16, v *value) {
	if kind == keySnapshot && v.start == nowhere && len(v.batches) == 0 {
		delete(c.parts, k) // Initialize decides, or the next update
		return
	}
	p := c.parts[k]
	if p == nil || kind == keySnapshot {
		p = &part{created: v.created, epoch: v.epoch, snapshot: v.snapshot}
		c.parts[k] = p
	}
	p.clock = max(p.clock, v.clock)
	for i := range v.batches {
		p.put(v.batches[i].run, v.batches[i].state != stateAvailable)
	}
	if v.hasLater {
		p.later = slices.Clip(v.later)
		if len(p.later) == 0 {
			p.later = nil
		}
	}
	if v.start >= 0 {
		p.cut(v.start)
	}
}

// update changes a share-partition by an update.
func (c *Coordinator) update(k Key, batches []batch, now int64) (Result, error) {
	return c.write(k, keyUpdate, &value{snapshot: c.parts[k].snapshot, start: nowhere, clock: now, batches: batches})
}

// write changes a share-partition by a record.
func (c *Coordinator) write(k Key, kind int16, v *value) (Result, error) {
	key, err := k.encode(kind)
	if err != nil {
		return Result{}, err
	}
	c.apply(k, kind, v)
	v.start = c.parts[k].start()
	b, err := v.encode(kind)
	if err != nil {
		return Result{}, err
	}
	c.logged += len(key) + len(b)
	return Result{Records: []Record{{key, b}}, Key: k}, nil
}

// Has reports whether there is a share-partition.
func (c *Coordinator) Has(k Key) bool { return c.parts[k] != nil }

// Initialize creates a share-partition that begins at an offset, unless it exists.
func (c *Coordinator) Initialize(k Key, start int64, now time.Time) (Result, error) {
	if c.parts[k] != nil {
		return Result{}, nil
	}
	ms := now.UnixMilli()
	return c.write(k, keySnapshot, &value{start: start, created: ms, clock: ms})
}

// Demand is what a member asks for.
type Demand struct {
	Member      string
	Acquisition int64         // the member's own number for it: one that is made again gets the same
	Max         int           // the most offsets to acquire
	Lock        time.Duration // how long they are locked
	Attempts    int           // how often an offset is delivered, at most
	DeadLetters bool          // offsets that were delivered so often are acquired once more, as Spent ones, and not finished
	Window      int           // the most offsets that are not finished, for new ones to be acquired

	// What can be read, by this member: from From on, and before To.
	From, To int64

	// High, unless -1, is where the log ends. If the share-partition is ahead of it, the log
	// has lost records, and their offsets will be other records'.
	High int64
}

// Acquired is what a member has got.
type Acquired struct {
	Ranges []Range
	Until  time.Time // when their lock ends

	// When there may be more: at Next, unless it is zero, if nothing else happens; when End
	// can be read, unless Full; after a Result with Freed or, if Full, with Room.
	Next time.Time
	End  int64 // the first offset that was never acquired
	Full bool  // there are as many unfinished offsets as the Window allows

	Now    time.Time // by the coordinator's clock: records with a later time are not due
	Search *Search   // what the member has to do as well; or nil
}

// Range is consecutive offsets that were acquired together.
type Range struct {
	First, Last int64
	Attempt     int  // 1 for the first delivery
	Spent       bool // they were delivered as often as is allowed: they are to be dead letters
}

// Acquire acquires offsets for a member: those that are available before those that were
// never acquired, and lower ones first.
func (c *Coordinator) Acquire(k Key, d Demand, now time.Time) (Acquired, Result, error) {
	p := c.parts[k]
	if p == nil {
		return Acquired{}, Result{}, unknown(k)
	}
	ms := max(now.UnixMilli(), p.clock)
	if again := p.acquired(&d, ms); len(again.Ranges) > 0 {
		return again, Result{}, nil
	}
	batches := p.outside(&d)
	until := ms + max(d.Lock.Milliseconds(), 1)
	got := Acquired{Until: time.UnixMilli(until), End: p.end, Now: time.UnixMilli(ms)}
	if d.High >= 0 && d.High < p.end { // outside has finished those behind it; they begin anew
		return c.truncate(k, d.High, got, ms)
	}
	stretches, changed := p.trimmed(d.From, math.MaxInt64)
	if out, spilt, ok := p.spill(ms, int64(d.Window)/2); ok && !changed {
		batches, stretches, changed = append(batches, out...), spilt, true
	}
	left := int64(d.Max)
	take := func(r run, spent bool) {
		if !spent && r.count < math.MaxInt16 {
			r.count++
		}
		r.member, r.acquisition, r.spent, r.until = d.Member, d.Acquisition, spent, until
		left -= r.len()
		batches = append(batches, batch{run: r})
		got.Ranges = append(got.Ranges, Range{r.first, r.last, int(r.count), spent})
	}
	finished, next := len(batches) > 0, int64(math.MaxInt64)
	for _, r := range p.runs {
		r.first = max(r.first, d.From)
		switch {
		case r.first > r.last || left == 0 && r.until <= ms:
			continue
		case r.until > ms:
			next = min(next, r.until)
			continue
		}
		spent := int(r.count) >= d.Attempts
		if spent && !d.DeadLetters {
			batches, finished = append(batches, batch{run{first: r.first, last: r.last, count: r.count}, stateArchived}), true
			continue
		}
		r.last = min(r.last, r.first+left-1)
		take(r, spent)
	}
	room := int64(d.Window) - p.unfinished()
	for i := range batches {
		if batches[i].state != stateAvailable && batches[i].first < p.end {
			room += batches[i].len()
		}
	}
	fresh := max(p.end, d.From)
	got.Full = room <= 0
	if got.Search = c.search(k, p, max(room/2, min(room, 1)), ms); got.Search != nil {
		room -= int64(got.Search.Most)
	}
	if n := min(left, room, d.To-fresh); n > 0 {
		take(run{first: fresh, last: fresh + n - 1}, false)
	}
	for _, l := range stretches {
		if l.next > ms || room > 0 { // else what is due needs room first
			next = min(next, max(l.next, c.searches[place{k, l.first}]))
		}
	}
	if next < math.MaxInt64 {
		got.Next = time.UnixMilli(next)
	}
	if len(batches) == 0 && !changed {
		return got, Result{}, nil
	}
	v := &value{snapshot: p.snapshot, start: -1, clock: ms, batches: batches, later: stretches, hasLater: changed}
	result, err := c.write(k, keyUpdate, v)
	result.Room = finished
	got.End = c.parts[k].end
	return got, result, err
}

// acquired returns what a member has by an acquisition already, whose answer was lost.
func (p *part) acquired(d *Demand, ms int64) Acquired {
	got := Acquired{End: p.end, Now: time.UnixMilli(ms)}
	for _, r := range p.runs {
		if r.member == d.Member && r.acquisition == d.Acquisition && r.until > ms {
			got.Ranges = append(got.Ranges, Range{r.first, r.last, int(r.count), r.spent})
			got.Until = time.UnixMilli(r.until)
		}
	}
	return got
}

// outside returns what finishes offsets that are no longer in the log.
func (p *part) outside(d *Demand) (batches []batch) {
	for _, r := range p.runs {
		if r.first >= d.From {
			break
		}
		r.last = min(r.last, d.From-1)
		batches = append(batches, batch{run{first: r.first, last: r.last, count: r.count}, stateArchived})
	}
	if p.end < d.From {
		batches = append(batches, batch{run{first: p.end, last: d.From - 1}, stateArchived})
	}
	return batches
}

// truncate makes a share-partition end where the log does.
func (c *Coordinator) truncate(k Key, high int64, got Acquired, ms int64) (Acquired, Result, error) {
	old := c.parts[k]
	p := &part{created: old.created, epoch: old.epoch + 1, snapshot: old.snapshot + 1, clock: ms, end: high}
	for _, r := range old.runs {
		if r.last = min(r.last, high-1); r.first <= r.last {
			p.put(r, false)
		}
	}
	p.end = high
	p.later, _ = old.trimmed(0, high)
	result, err := c.write(k, keySnapshot, p.value())
	got.End, got.Next = high, time.UnixMilli(ms)
	result.Freed = true
	return got, result, err
}

func unknown(k Key) error {
	return fault.Newf(fault.GroupNotFound, "share group %q has no state of partition %d of this topic", k.Group, k.Partition)
}

// Kind is what becomes of acquired offsets: KIP-932's type of acknowledgement, under Kafka's
// numbers, and Return, which Kafka does not need.
type Kind int8

// The kinds.
const (
	Gap     Kind = 0 // there is no record: finished
	Accept  Kind = 1 // finished
	Release Kind = 2 // available from At on
	Reject  Kind = 3 // finished
	Renew   Kind = 4 // still acquired, with a lock until At
	Return  Kind = 5 // available from At on, and the delivery does not count: it was not made
)

// Settlement says what becomes of some offsets.
type Settlement struct {
	First, Last int64
	Acquisition int64 // by which the member has them
	Kind        Kind
	At          time.Time // the zero time is now
}

// Settle settles offsets that a member has acquired, each settlement by itself: an error of
// fault.InvalidRecordState means that the member has not, or no longer, acquired all of its
// offsets, and that nothing has become of them. With again, the call may have been made before:
// what is already as it asks is no error.
func (c *Coordinator) Settle(k Key, member string, all []Settlement, again bool, now time.Time) (errs []error, result Result, err error) {
	p := c.parts[k]
	if p == nil {
		return nil, Result{}, unknown(k)
	}
	ms := max(now.UnixMilli(), p.clock)
	errs = make([]error, len(all))
	var batches []batch
	var room, freed bool
	for i, s := range all {
		runs, ok := p.held(member, s.Acquisition, s.First, s.Last)
		if !ok && again && p.isSo(s) {
			continue
		}
		if !ok || overlaps(all[:i], errs, s) {
			errs[i] = fault.Newf(fault.InvalidRecordState, "offset %d is not, or no longer, acquired by this member", s.First)
			continue
		}
		for _, r := range runs {
			b := settled(r, s, ms)
			batches = append(batches, b)
			room = room || b.state != stateAvailable
			freed = freed || b.state == stateAvailable && b.member == ""
		}
	}
	if len(batches) == 0 {
		return errs, Result{}, nil
	}
	result, err = c.update(k, batches, ms)
	result.Room, result.Freed = room, freed
	return errs, result, err
}

// isSo reports whether offsets that a member does not have are what it wanted to make of them:
// finished, or another member's to have.
func (p *part) isSo(s Settlement) bool {
	switch s.Kind {
	case Renew:
		return false
	case Release, Return:
		return true
	}
	i := p.find(s.First)
	return i == len(p.runs) || p.runs[i].first > s.Last
}

// overlaps reports whether offsets of s were settled by an earlier one of the same call.
func overlaps(earlier []Settlement, errs []error, s Settlement) bool {
	for i, e := range earlier {
		if errs[i] == nil && e.First <= s.Last && s.First <= e.Last {
			return true
		}
	}
	return false
}

// settled returns what becomes of a run.
func settled(r run, s Settlement, ms int64) batch {
	at := int64(0)
	if t := s.At.UnixMilli(); !s.At.IsZero() && t > ms {
		at = t
	}
	switch s.Kind {
	case Release:
		r.free(at)
	case Return:
		r.free(at)
		r.count = max(r.count-1, 0)
	case Renew:
		r.until = max(at, ms+1)
	case Reject:
		return batch{run{first: r.first, last: r.last, count: r.count}, stateArchived}
	default:
		return batch{run{first: r.first, last: r.last, count: r.count}, stateAcked}
	}
	return batch{run: r}
}

// Unlock ends all locks: of members that ended with the process. Delivery counts stay.
func (c *Coordinator) Unlock(now time.Time) ([]Result, error) {
	var all []Result
	for k := range c.parts {
		r, err := c.unlock(k, func(member string) bool { return member != "" }, now)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// Leave ends the locks of a member that has ended. Delivery counts stay.
func (c *Coordinator) Leave(k Key, member string, now time.Time) (Result, error) {
	if c.parts[k] == nil {
		return Result{}, nil
	}
	return c.unlock(k, func(other string) bool { return other == member }, now)
}

func (c *Coordinator) unlock(k Key, whose func(member string) bool, now time.Time) (Result, error) {
	p := c.parts[k]
	var batches []batch
	for _, r := range p.runs {
		if whose(r.member) {
			r.free(0)
			batches = append(batches, batch{run: r})
		}
	}
	if len(batches) == 0 {
		return Result{}, nil
	}
	result, err := c.update(k, batches, max(now.UnixMilli(), p.clock))
	result.Freed = true
	return result, err
}
