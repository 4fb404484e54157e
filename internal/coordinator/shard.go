package coordinator

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator/group"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/internal/role"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
)

// kind is what differs between kinds of coordinators. C is their state, a fold of
// their partition's records. The shard's writer calls these methods.
type kind[C any] interface {
	// empty returns the fold of no records, and apply adds one of a batch, which may be a
	// marker.
	empty() C
	apply(C, *record.Batch, *record.Record) error

	// prepare updates the state before a round's commands run. loaded means that it has
	// just been read from the log. The units that it returns are written before the
	// commands'.
	prepare(c C, loaded bool) ([]unit, error)

	// finish runs after a round's records are committed, and may write more. If it
	// returns an error, the shard discards the state.
	finish(c C, write func([]unit) error) error

	// notify wakes the sessions that a round concerns. failed means that the shard has
	// discarded the state, with everything that the round changed.
	notify(failed bool)
}

// shard is the coordinator of one partition, with its single writer. A command runs
// on a fold of the partition's records and returns more records. The commands of a
// round append theirs together, in as few batches as have room for them, and return
// once these are committed. If an append fails, the fold is ahead of its log: the
// shard discards it and reads the log again.
//
//	            load                    append fails
//	unread ------------> leading ----------------------> unread
//	   ^                    |  ^
//	   | load fails: the    |  | a round: prepare, commands, append, finish, notify
//	   | commands fail      +--+
//
// It leads while its partition is led here, in one leader epoch: it loads when that
// begins, and appends only in it. In another epoch, another node may have written what
// the fold lacks. When the partition is not led here any more, the shard drops the fold,
// and its commands fail with fault.NotCoordinator.
type shard[C any] struct {
	host   *host.Host
	topic  *host.Topic
	number int32 // of its partition
	kind   kind[C]
	most   int // the largest batch, in bytes: one round's records
	role   role.Role

	mu     sync.Mutex
	queue  []*command[C]
	closed bool

	// The writer's.
	serving []*command[C] // the round
	state   C
	loaded  bool // state is the fold of the partition's records, and of late
	late    []unit
	epoch   int32 // the leader epoch in which it was loaded
	first   bool  // no round has succeeded yet
	reserve *layout.Reserve
}

// command is a command that waits for its turn or its outcome.
type command[C any] struct {
	run   func(C) ([]unit, error)
	err   error
	units int // how many of the round's units precede the end of its own
	done  chan struct{}
}

// unit is records that must be in one batch, so that a crash leaves all of them or
// none. Consecutive units share a batch if there is room, except those of transactions.
type unit struct {
	records []group.Record
	of      *group.Transaction // nil: of none

	late bool // they may be appended with the next that are not late: a crash may lose them
}

// mostLate is how many bytes of late records a shard holds back.
const mostLate = 16 << 10

// inlineCommands is how many rounds a caller serves for others before a goroutine
// takes over.
const inlineCommands = 4

// start makes a shard usable. work counts its goroutines. Only the first round may use
// the reserve: on a full disk, the records of kind.prepare must be written before
// groups can even be listed.
func (s *shard[C]) start(h *host.Host, t *host.Topic, number int32, k kind[C], work *sync.WaitGroup, reserve *layout.Reserve) {
	s.host, s.topic, s.number, s.kind = h, t, number, k
	s.most = t.Config().WithDefaults().MaxMessageBytes
	s.first, s.reserve = true, reserve
	s.role.Init(&s.mu, s.next, s.serve, work)
}

// Partition returns the shard's partition. It may be broken: load checks it.
func (s *shard[C]) Partition() host.Partition {
	p, _ := s.topic.Partition(s.number) // there is a shard for each
	return p
}

// local returns the shard's partition where it is the only copy, and nil otherwise.
func (s *shard[C]) local() *partition.Partition { return localOf(s.host, s.topic, s.number) }

// localOf returns a partition that is open, where it is the only copy, and nil otherwise.
func localOf(h *host.Host, t *host.Topic, number int32) *partition.Partition {
	if all := t.Partitions(); !h.IsReplicated() && number >= 0 && int(number) < len(all) {
		return all[number].Copy()
	}
	return nil
}

// do runs a command in its turn and returns when its records are committed. If ctx
// ends first, do returns fault.UnknownOutcome, and the command may run all the same.
func (s *shard[C]) do(ctx context.Context, run func(C) ([]unit, error)) error {
	return s.await(ctx, run, func(err error) error {
		return fault.Newf(fault.UnknownOutcome, "a command of %s", s.topic.Name).Because(err)
	})
}

// view runs a command that only reads, and so fails with ctx's own error.
func (s *shard[C]) view(ctx context.Context, fn func(C) error) error {
	return s.await(ctx, func(c C) ([]unit, error) { return nil, fn(c) }, func(err error) error { return err })
}

// await queues a command and waits for it. late returns the error if ctx ends
// meanwhile. If ctx has ended before, await doesn't queue the command.
func (s *shard[C]) await(ctx context.Context, run func(C) ([]unit, error), late func(error) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := &command[C]{run: run, done: make(chan struct{})}
	waits := s.Partition().AppendWaits()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return fault.Closed
	}
	s.queue = append(s.queue, c)
	lead := false
	if waits {
		s.role.Call() // a goroutine serves: a caller that waits for the disk couldn't return when ctx ends
	} else {
		lead = s.role.Take()
	}
	s.mu.Unlock()
	if lead {
		s.role.Lead(inlineCommands)
	}
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return late(ctx.Err())
	}
}

// next makes the queue the next round. The role calls it with mu held.
func (s *shard[C]) next() role.Next {
	s.serving, s.queue = s.queue, nil
	if len(s.serving) == 0 {
		return role.None
	}
	return role.Any
}

// serve runs a round. A command returns only when the round is committed: even one
// that only reads has seen what the others did, which may yet fail.
func (s *shard[C]) serve() {
	had := s.loaded
	err := s.round(s.serving)
	discarded := err != nil && (had || s.loaded) // or there was nothing: waking sessions for that would have them ask for ever
	if err != nil {
		s.loaded = false
	}
	s.kind.notify(discarded)
	for _, c := range s.serving {
		close(c.done)
	}
}

// round runs the commands in order on one state and appends their records. A command's
// own error is its caller's alone. If an append fails, the commands fail whose records,
// or those that they have seen, are not in the log.
func (s *shard[C]) round(commands []*command[C]) error {
	units, err := s.begin()
	for _, c := range commands {
		if c.err = err; err != nil {
			continue
		}
		var made []unit
		made, c.err = c.run(s.state)
		units = append(units, made...)
		c.units = len(units)
	}
	if err != nil {
		return err
	}
	written := 0
	write := func() error {
		n, err := s.write(units[written:])
		written += n
		return err
	}
	if s.first {
		err = s.reserve.With(write)
	} else {
		err = write()
	}
	if err != nil {
		for _, c := range commands {
			switch {
			case c.units > written: // else all that it made, or saw, is in the log
				c.err = err
			case written == 0 && s.host.IsReplicated():
				c.err = s.notCoordinator().Because(err)
			}
		}
		return err
	}
	if len(units) == 0 {
		if err := s.confirm(); err != nil {
			for _, c := range commands {
				c.err = err
			}
			return err
		}
	}
	s.first = false
	return s.kind.finish(s.state, func(units []unit) error {
		_, err := s.write(units)
		return err
	})
}

// begin reads the log if the state was discarded or never read, and calls the
// kind's prepare.
func (s *shard[C]) begin() ([]unit, error) {
	if epoch, leads := s.Partition().Leadership(); s.loaded && (!leads || epoch != s.epoch) {
		s.loaded = false
	}
	read := !s.loaded
	if read {
		if err := s.load(); err != nil {
			return nil, err
		}
	}
	return s.kind.prepare(s.state, read)
}

// load reads the log into a new state.
func (s *shard[C]) load() error {
	state := s.kind.empty()
	_, err := s.host.Sound(s.topic, s.number)
	epoch, leads := s.Partition().Leadership()
	if err == nil && !leads {
		err = s.notCoordinator()
	}
	if local := s.local(); err == nil && local != nil {
		err = local.FlushAwait() // Scan sees what is visible, and that may not be all that was written
	}
	if err == nil {
		err = s.Partition().Scan(func(b *record.Batch, r *record.Record) error { return s.kind.apply(state, b, r) })
	}
	for _, u := range s.late {
		for _, r := range u.records {
			if err == nil {
				err = s.kind.apply(state, &record.Batch{}, &record.Record{Key: r.Key, Value: r.Value})
			}
		}
	}
	if err == nil {
		s.state, s.loaded, s.epoch = state, true, epoch
	}
	return err
}

// notCoordinator is the error of a command whose partition is not led here.
func (s *shard[C]) notCoordinator() *fault.Error {
	return fault.At(fault.NotCoordinator, s.topic.Name, s.number, -1)
}

// confirm returns an error unless the shard still leads. A round that has written something
// in its epoch did; one that only read may be of a deposed leader that has not heard of it,
// and lack what others have written since.
func (s *shard[C]) confirm() error {
	err := s.Partition().Confirm(s.epoch)
	if errors.Is(err, fault.NotLeader) || errors.Is(err, fault.FencedLeaderEpoch) {
		err = s.notCoordinator().Because(err)
	}
	return err
}

// poke has the shard run a round without commands, in which it loads or drops its state.
func (s *shard[C]) poke() { s.post(func(C) ([]unit, error) { return nil, nil }) }

// post queues a command and does not wait for it.
func (s *shard[C]) post(run func(C) ([]unit, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.queue = append(s.queue, &command[C]{run: run, done: make(chan struct{})})
		s.role.Call()
	}
}

// write appends units, in as few batches as have room for them, and waits until they
// are committed. It returns how many are. Where the partition is the only copy, late units
// wait for others, and are written with them.
func (s *shard[C]) write(units []unit) (written int, err error) {
	waiting := len(s.late)
	all := append(s.late, units...)
	if s.local() != nil && mayWait(all) {
		s.late = all
		return len(units), nil
	}
	for err == nil && written < len(all) {
		var batch []byte
		var n int
		if batch, n, err = s.batch(all[written:]); err != nil {
			break
		}
		if err = s.Partition().AppendIn(s.epoch, batch); err == nil {
			written += n
		}
	}
	if errors.Is(err, fault.NotLeader) || errors.Is(err, fault.FencedLeaderEpoch) {
		err = s.notCoordinator().Because(err)
	}
	s.late = nil
	if written < waiting {
		s.late = slices.Clone(all[written:waiting])
	}
	return max(0, written-waiting), err
}

// mayWait reports whether all units are late, and not too many.
func mayWait(units []unit) bool {
	bytes := 0
	for _, u := range units {
		for _, r := range u.records {
			bytes += len(r.Key) + len(r.Value)
		}
		if !u.late {
			return false
		}
	}
	return bytes <= mostLate
}

// writeLate writes the late units. It belongs to the writer.
func (s *shard[C]) writeLate() error {
	for i := range s.late {
		s.late[i].late = false
	}
	_, err := s.write(nil)
	return err
}

// batch returns a batch of the first of these units, and how many there are in it.
func (s *shard[C]) batch(units []unit) (batch []byte, n int, err error) {
	now := time.Now().UnixMilli()
	if of := units[0].of; of != nil && of.Marker != nil {
		m := log.Marker{Commit: of.Marker.Commit, CoordinatorEpoch: of.Marker.CoordinatorEpoch}
		return m.Batch(of.ProducerID, of.Epoch, of.Marker.Time), 1, nil
	}
	builder := record.NewBuilder(s.most)
	fit := true
	for fit && n < len(units) && (n == 0 || units[0].of == nil && units[n].of == nil) {
		if fit = add(builder, now, units[n]); fit {
			n++
		}
	}
	if n == 0 {
		return nil, 0, fault.At(fault.RecordListTooLarge, s.topic.Name, s.number, -1).
			Detailf("%d records that belong together take more than %d bytes", len(units[0].records), s.most)
	}
	if !fit { // the batch has a part of the next unit: build it again without
		builder.Reset()
		for _, u := range units[:n] {
			add(builder, now, u)
		}
	}
	b, err := builder.Batch(nil, record.None, 0)
	if err != nil {
		return nil, 0, err
	}
	if of := units[0].of; of != nil {
		record.StampTransaction(b.Bytes, of.ProducerID, of.Epoch, of.Sequence)
	}
	return b.Bytes, n, nil
}

// add adds a unit to a batch, and reports whether all of it fitted.
func add(builder *record.Builder, now int64, u unit) bool {
	for _, r := range u.records {
		if !builder.Add(now, r.Key, r.Value, nil) {
			return false
		}
	}
	return true
}

// shut refuses further commands.
func (s *shard[C]) shut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}
