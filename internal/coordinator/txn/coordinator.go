package txn

import (
	"cmp"
	"iter"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// Identity is a producer of transactions. A producer with the same ID and a lower epoch is
// fenced.
type Identity struct {
	ProducerID int64
	Epoch      int16
}

// Coordinator holds the transactional IDs of one partition of __transaction_state. See the
// package's documentation.
type Coordinator struct {
	ids map[string]*value
}

// New returns a Coordinator without transactional IDs. The caller applies the log to it.
func New() *Coordinator { return &Coordinator{ids: map[string]*value{}} }

// Result is what a command did: records that must be appended together, and a transaction
// that was decided by them, or nil.
type Result struct {
	Records []Record
	Ended   *Ending

	// Late says that the Records need not be written before what follows them, only before
	// the next ones that are not Late: a crash that loses them loses nothing that Recover
	// doesn't find in the partitions.
	Late bool
}

// Ending is a transaction that is decided. A marker with the identity goes into each
// partition, and then Complete ends it.
type Ending struct {
	TransactionalID string
	Identity        // the epoch is later than that of the transaction's batches
	Commit          bool
	Partitions      []record.TopicPartition

	// Unset are the partitions of the transaction before, whose markers must be durable
	// before this one is complete.
	Unset []record.TopicPartition
}

// All returns the partitions of the transaction, and those of the one before in Unset.
func (e *Ending) All() iter.Seq[record.TopicPartition] {
	return func(yield func(record.TopicPartition) bool) {
		for _, partitions := range [...][]record.TopicPartition{e.Partitions, e.Unset} {
			for _, tp := range partitions {
				if !yield(tp) {
					return
				}
			}
		}
	}
}

// Apply adds one record of the log.
func (c *Coordinator) Apply(key, b []byte) error {
	id, ok, err := decodeKey(key)
	if err != nil || !ok {
		return err
	}
	if b == nil {
		delete(c.ids, id)
		return nil
	}
	v, err := decodeValue(b)
	if err != nil {
		return err
	}
	c.ids[id] = &v
	return nil
}

// set makes v the state of a transactional ID, by a record.
func (c *Coordinator) set(id string, v value, now time.Time) (Result, error) {
	v.updated = now.UnixMilli()
	key, err := encodeKey(id)
	if err != nil {
		return Result{}, err
	}
	b, err := v.encode()
	if err != nil {
		return Result{}, err
	}
	if err := c.Apply(key, b); err != nil {
		return Result{}, err
	}
	return Result{Records: []Record{{key, b}}, Ended: c.ending(id)}, nil
}

// ending returns the transaction of an ID that is decided and not complete, or nil.
func (c *Coordinator) ending(id string) *Ending {
	v := c.ids[id]
	if !v.state.isDecided() {
		return nil
	}
	e := &Ending{TransactionalID: id, Identity: v.Identity, Commit: v.state.commits(), Partitions: v.partitions}
	if v.unset != nil {
		e.Unset = v.unset.Partitions
	}
	return e
}

// Init gives a producer its identity. It fences every earlier producer of the same
// transactional ID. An open transaction of one is aborted: then Init returns
// fault.ConcurrentTransactions with the Result, and the caller calls it again when that is
// complete. fresh is a producer ID that was never used, for an ID that needs one.
func (c *Coordinator) Init(id string, timeout time.Duration, fresh int64, now time.Time) (Identity, Result, error) {
	v := c.ids[id]
	if v == nil {
		next := value{Identity: Identity{fresh, 0}, previousID: -1, nextID: -1, timeout: timeout, started: -1}
		result, err := c.set(id, next, now)
		return next.Identity, result, err
	}
	switch {
	case v.state == Ongoing:
		// One epoch more than usual, or the earlier producer could take the abort for its own.
		result, err := c.decide(id, false, 2, fresh, nil, now)
		if err == nil {
			err = c.busy(id)
		}
		return Identity{}, result, err
	case v.state.isDecided():
		return Identity{}, Result{Ended: c.ending(id)}, c.busy(id)
	}
	next := *v
	next.state, next.timeout, next.started, next.previousID, next.partitions, next.version = Empty, timeout, -1, -1, nil, 0
	if next.Epoch++; v.Epoch >= lastEpoch {
		next.Identity = Identity{fresh, 0}
	}
	result, err := c.set(id, next, now)
	return next.Identity, result, err
}

// lastEpoch is the last epoch that a producer writes with. The one behind it serves to end
// its transaction.
const lastEpoch = math.MaxInt16 - 1

// NeedsID reports whether Init, End or Expire may use a fresh producer ID.
func (c *Coordinator) NeedsID(id string) bool {
	v := c.ids[id]
	return v == nil || v.Epoch >= lastEpoch-1
}

// Add adds partitions to the producer's transaction, and begins one if there is none. The
// records must be written before the transaction's first batch in these partitions.
func (c *Coordinator) Add(id string, who Identity, partitions []record.TopicPartition, now time.Time) (Result, error) {
	v, err := c.find(id, who)
	if err != nil {
		return Result{}, err
	}
	if v.state.isDecided() {
		return Result{Ended: c.ending(id)}, c.busy(id)
	}
	next := *v
	if v.state != Ongoing {
		next.state, next.started, next.partitions, next.previousID, next.version = Ongoing, now.UnixMilli(), nil, -1, risingEpochs
	}
	next.partitions = sorted(append(slices.Clone(next.partitions), partitions...))
	if v.state == Ongoing && len(next.partitions) == len(v.partitions) {
		return Result{}, nil
	}
	result, err := c.set(id, next, now)
	result.Late = true
	return result, err
}

// End decides the producer's transaction, and returns the identity for the next one. endOf,
// unless nil, returns where a partition ends that is not durable yet, but will be before any
// marker is written. A call that comes again, with the identity that the transaction had, has the same outcome
// and no records; its Ending is there as long as the transaction is not complete. An abort
// does nothing where no transaction was begun. fresh is as for Init.
func (c *Coordinator) End(id string, who Identity, commit bool, fresh int64, endOf func(record.TopicPartition) End, now time.Time) (Identity, Result, error) {
	v := c.ids[id]
	if v != nil && v.endedFor(who) {
		if v.state.commits() != commit {
			return Identity{}, Result{}, fault.Newf(fault.InvalidTxnState, "the transaction of %q is in state %s", id, v.state).
				Try("it may have taken longer than its timeout; abort it, and begin another one")
		}
		return v.next(), Result{Ended: c.ending(id)}, nil
	}
	v, err := c.find(id, who)
	if err != nil {
		return Identity{}, Result{}, err
	}
	if v.state != Ongoing && !commit {
		return who, Result{}, nil // it was to be begun, and was not
	}
	if v.state != Ongoing {
		return Identity{}, Result{}, fault.Newf(fault.InvalidTxnState, "%q has no transaction, it is in state %s", id, v.state)
	}
	result, err := c.decide(id, commit, 1, fresh, endOf, now)
	if err != nil {
		return Identity{}, Result{}, err
	}
	return c.ids[id].next(), result, nil
}

// endedFor reports whether the last transaction is decided and was this producer's.
func (v *value) endedFor(who Identity) bool {
	switch {
	case v.state.isDecided():
	case v.state != CompleteCommit && v.state != CompleteAbort:
		return false
	case v.previousID >= 0 && v.previousID != v.ProducerID: // complete, and the producer has another ID by now
		return who == Identity{v.previousID, lastEpoch}
	}
	return who == Identity{v.ProducerID, v.Epoch - 1}
}

// next returns the identity for the next transaction.
func (v *value) next() Identity {
	if v.state.isDecided() && v.nextID >= 0 {
		return Identity{v.nextID, 0}
	}
	return v.Identity
}

// decide ends an ongoing transaction, under a later epoch.
func (c *Coordinator) decide(id string, commit bool, raise int, fresh int64, endOf func(record.TopicPartition) End, now time.Time) (Result, error) {
	next := *c.ids[id]
	next.state = PrepareAbort
	if commit {
		next.state = PrepareCommit
	}
	if commit && endOf != nil {
		next.ends = make([]End, len(next.partitions))
		for i, tp := range next.partitions {
			next.ends[i] = endOf(tp)
		}
	}
	next.Epoch = int16(min(int(next.Epoch)+raise, math.MaxInt16))
	next.nextID = -1
	if next.Epoch > lastEpoch {
		next.nextID = fresh
	}
	return c.set(id, next, now)
}

// Complete ends a transaction all of whose markers are written, and those of the one before
// durable. durable says that its own are, too. It does nothing where that was done before.
func (c *Coordinator) Complete(e *Ending, durable bool, now time.Time) (Result, error) {
	v := c.ids[e.TransactionalID]
	if v == nil || v.Identity != e.Identity || !v.state.isDecided() {
		return Result{}, nil
	}
	next := *v
	next.ends, next.unset = nil, nil
	if !durable {
		next.unset = &Ending{Identity: v.Identity, Commit: v.state.commits(), Partitions: v.partitions}
	}
	next.state, next.partitions, next.started, next.previousID, next.nextID = CompleteAbort, nil, -1, -1, -1
	if v.state == PrepareCommit {
		next.state = CompleteCommit
	}
	if v.nextID >= 0 {
		next.previousID, next.Identity = v.ProducerID, Identity{v.nextID, 0}
	}
	result, err := c.set(e.TransactionalID, next, now)
	result.Late = true
	return result, err
}

// find returns the state of an ID, if who is its producer.
func (c *Coordinator) find(id string, who Identity) (*value, error) {
	v := c.ids[id]
	switch {
	case v == nil:
		return nil, fault.Newf(fault.InvalidProducerID, "there is no producer with the transactional ID %q", id)
	case v.Identity == who:
		return v, nil
	case v.endedFor(who):
		return nil, fault.Newf(fault.InvalidTxnState, "the transaction of %q has ended, and is in state %s", id, v.state).
			Try("it may have taken longer than its timeout; abort it, and begin another one")
	}
	return nil, fault.Newf(fault.ProducerFenced, "producer %d of epoch %d has the transactional ID %q no more; %d of epoch %d has it",
		who.ProducerID, who.Epoch, id, v.ProducerID, v.Epoch).
		Try("close this producer; if both are to run, give each a transactional ID of its own")
}

// busy is the error while the last transaction of an ID is being ended.
func (c *Coordinator) busy(id string) error {
	return fault.Newf(fault.ConcurrentTransactions, "the transaction of %q is in state %s", id, c.ids[id].state)
}

// Undone returns all transactions that are decided and not complete, by ID.
func (c *Coordinator) Undone() (all []*Ending) {
	for _, id := range slices.Sorted(maps.Keys(c.ids)) {
		if e := c.ending(id); e != nil {
			all = append(all, e)
		}
	}
	return all
}

// Expiry returns when an ID's transaction reaches its timeout; ok is false if there is none.
func (c *Coordinator) Expiry(id string) (at time.Time, ok bool) {
	v := c.ids[id]
	if v == nil || v.state != Ongoing {
		return time.Time{}, false
	}
	return time.UnixMilli(v.started).Add(v.timeout), true
}

// NextExpiry returns the transactional ID whose transaction reaches its timeout first, and
// when; ok is false if there is no transaction.
func (c *Coordinator) NextExpiry() (id string, at time.Time, ok bool) {
	for other := range c.ids {
		late, open := c.Expiry(other)
		if !open {
			continue
		}
		if !ok || late.Before(at) || late.Equal(at) && other < id {
			id, at, ok = other, late, true
		}
	}
	return id, at, ok
}

// Abort ends an ID's open transaction, whichever producer has it: because its time is over, or because
// an administrator says so. It does nothing where there is none. fresh is as for Init.
func (c *Coordinator) Abort(id string, fresh int64, now time.Time) (Result, error) {
	if v := c.ids[id]; v == nil || v.state != Ongoing {
		return Result{}, nil
	}
	return c.decide(id, false, 1, fresh, nil, now)
}

// Forget removes the IDs without a transaction whose last change is older than the
// retention: Kafka's transactional.id.expiration.ms. isDurable reports whether the markers of
// a transaction are; without that an ID stays.
func (c *Coordinator) Forget(retention time.Duration, isDurable func(*Ending) bool, now time.Time) (result Result, err error) {
	for _, id := range slices.Sorted(maps.Keys(c.ids)) {
		v := c.ids[id]
		if v.state == Ongoing || v.state.isDecided() || now.Sub(time.UnixMilli(v.updated)) < retention || v.unset != nil && !isDurable(v.unset) {
			continue
		}
		key, err := encodeKey(id)
		if err != nil {
			return Result{}, err
		}
		delete(c.ids, id)
		result.Records = append(result.Records, Record{Key: key})
	}
	return result, nil
}

// Description is what there is to know of a transactional ID.
type Description struct {
	TransactionalID string
	Identity
	State      State
	Timeout    time.Duration
	Started    time.Time // zero without a transaction
	Partitions []record.TopicPartition
}

// Has reports whether a transactional ID is known.
func (c *Coordinator) Has(id string) bool { return c.ids[id] != nil }

// State returns the state of a transactional ID, if it is known.
func (c *Coordinator) State(id string) (state State, known bool) {
	if v := c.ids[id]; v != nil {
		return v.state, true
	}
	return Dead, false
}

// List describes a transactional ID, if it is known; all of them if only is empty, by ID.
func (c *Coordinator) List(only string) (all []Description) {
	ids := []string{only}
	if only == "" {
		ids = slices.Sorted(maps.Keys(c.ids))
	}
	for _, id := range ids {
		v := c.ids[id]
		if v == nil {
			continue
		}
		d := Description{id, v.Identity, v.state, v.timeout, time.Time{}, slices.Clone(v.partitions)}
		if v.started >= 0 {
			d.Started = time.UnixMilli(v.started)
		}
		all = append(all, d)
	}
	return all
}

// sorted sorts partitions, each once.
func sorted(all []record.TopicPartition) []record.TopicPartition {
	slices.SortFunc(all, func(a, b record.TopicPartition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return slices.Compact(all)
}
