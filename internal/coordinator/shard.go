package coordinator

import (
	"context"
	"sync"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator/group"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/internal/role"
	"github.com/runnel-go/runnel/record"
)

// Record is what a coordinator writes to its partition.
type Record = group.Record

// kind is what differs between coordinators whose state is a C, a fold of their
// partition's records. The shard's writer calls it.
type kind[C any] interface {
	// empty returns the fold of no records, and apply adds one.
	empty() C
	apply(C, *record.Record) error

	// prepare brings a fold up to date before commands are run; loaded says that it
	// has just been read. It returns what is to be written with them.
	prepare(c C, loaded bool) ([]unit, error)

	// finish does what follows a round of commands whose records count: it may write
	// more. An error throws the fold away.
	finish(c C, write func([]unit) error) error

	// tell tells who is concerned by what was written; failed says that the fold was
	// thrown away, and what was made since the round began with it.
	tell(failed bool)
}

// Shard is the coordinator of one partition, with its one writer. A command runs on
// a fold of the partition's records and returns more of them; they are appended
// with those of the commands beside it, as one batch or as few as will hold them, and
// acknowledged once they count. A
// fold that ran ahead of its log, because an append failed, is thrown away, and the
// log is read again:
//
//	            load                    append fails
//	unread ------------> leading ----------------------> unread
//	   ^                    |  ^
//	   | load fails: the    |  | a round: prepare, commands, append, finish, tell
//	   | commands fail      +--+
type Shard[C any] struct {
	host   *host.Host
	topic  *host.Topic
	number int32 // of its partition
	kind   kind[C]
	most   int // bytes of one round's records
	role   role.Role

	mu     sync.Mutex
	queue  []*command[C]
	closed bool

	// The writer's.
	serving []*command[C]
	state   C
	loaded  bool // state is the fold of the partition
	first   bool // no round has succeeded yet
	spare   func(func() error) error
}

// command is one that waits for its turn or its outcome.
type command[C any] struct {
	run   func(C) ([]unit, error)
	err   error
	units int // how many of the round's units precede the end of its own
	done  chan struct{}
}

// unit is records that are written in one batch: a crash leaves all of them or none.
// Units that follow each other share batches, as far as there is room.
type unit = []Record

// inlineCommands is how often a caller serves what others have queued before a
// goroutine goes on.
const inlineCommands = 4

// start makes a shard usable. work counts its goroutines. spare calls a function with
// space held in reserve, which the first round has, so that what is there can be
// looked at on a full disk.
func (s *Shard[C]) start(h *host.Host, t *host.Topic, number int32, k kind[C], work *sync.WaitGroup, spare func(func() error) error) {
	s.host, s.topic, s.number, s.kind = h, t, number, k
	s.most = t.Config().WithDefaults().MaxMessageBytes
	s.first, s.spare = true, spare
	s.role.Init(&s.mu, s.next, s.serve, work)
}

// Partition returns the shard's partition, which is broken until load has found it
// sound.
func (s *Shard[C]) Partition() host.Partition {
	p, _ := s.topic.Partition(s.number) // there is a shard for each
	return p
}

// do runs a command once it is its turn, and returns when its records count. ctx
// bounds the waiting; what has begun goes on, and then the error says that the
// outcome is unknown.
func (s *Shard[C]) do(ctx context.Context, run func(C) ([]unit, error)) error {
	return s.await(ctx, run, func(err error) error {
		return fault.Newf(fault.UnknownOutcome, "a command of %s", s.topic.Name).Because(err)
	})
}

// look runs a command that changes nothing, so it fails with ctx's own error.
func (s *Shard[C]) look(ctx context.Context, fn func(C) error) error {
	return s.await(ctx, func(c C) ([]unit, error) { return nil, fn(c) }, func(err error) error { return err })
}

// await queues a command and waits for it. late makes the error for a ctx that ends
// meanwhile; with one that had ended before, nothing begins.
func (s *Shard[C]) await(ctx context.Context, run func(C) ([]unit, error), late func(error) error) error {
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
		s.role.Call() // the caller could not give up when ctx ends
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

// next makes what is queued the round to be served; mu is held.
func (s *Shard[C]) next() role.Next {
	s.serving, s.queue = s.queue, nil
	if len(s.serving) == 0 {
		return role.None
	}
	return role.Any
}

// serve runs the round's commands in order and appends what they made. No command
// returns before that counts.
func (s *Shard[C]) serve() {
	err := s.round(s.serving)
	if err != nil {
		s.loaded = false
	}
	s.kind.tell(err != nil)
	for _, c := range s.serving {
		close(c.done)
	}
}

func (s *Shard[C]) round(commands []*command[C]) error {
	units, err := s.prepare()
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
		err = s.spare(write)
	} else {
		err = write()
	}
	if err != nil {
		for _, c := range commands {
			if c.units > written { // else all that it made, or saw, is in the log
				c.err = err
			}
		}
		return err
	}
	s.first = false
	return s.kind.finish(s.state, func(units []unit) error {
		_, err := s.write(units)
		return err
	})
}

// prepare reads the log if that is to be done.
func (s *Shard[C]) prepare() ([]unit, error) {
	read := !s.loaded
	if read {
		if err := s.load(); err != nil {
			return nil, err
		}
	}
	return s.kind.prepare(s.state, read)
}

// load folds the log into a new state.
func (s *Shard[C]) load() error {
	state := s.kind.empty()
	_, err := s.host.Sound(s.topic, s.number)
	if err == nil {
		err = s.Partition().Scan(func(r *record.Record) error { return s.kind.apply(state, r) })
	}
	if err == nil {
		s.state, s.loaded = state, true
	}
	return err
}

// write appends units, in as few batches as will hold them, and waits until they
// count. It returns how many do.
func (s *Shard[C]) write(units []unit) (written int, err error) {
	now := time.Now().UnixMilli()
	for written < len(units) {
		builder := record.NewBuilder(s.most)
		n, fit := 0, true
		for fit && written+n < len(units) {
			if fit = add(builder, now, units[written+n]); fit {
				n++
			}
		}
		if n == 0 {
			return written, fault.At(fault.RecordListTooLarge, s.topic.Name, s.number, -1).
				Detailf("%d records that belong together take more than %d bytes", len(units[written]), s.most)
		}
		if !fit { // part of the next unit is in it
			builder.Reset()
			for _, u := range units[written : written+n] {
				add(builder, now, u)
			}
		}
		batch, err := builder.Batch(nil, record.None, 0)
		if err != nil {
			return written, err
		}
		if err := s.Partition().AppendAwait(batch.Bytes); err != nil {
			return written, err
		}
		written += n
	}
	return written, nil
}

// add adds a unit to a batch, and reports whether all of it fitted.
func add(builder *record.Builder, now int64, u unit) bool {
	for _, r := range u {
		if !builder.Add(now, r.Key, r.Value, nil) {
			return false
		}
	}
	return true
}

// close refuses further commands.
func (s *Shard[C]) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}
