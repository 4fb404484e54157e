package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/runneltest"
	"github.com/runnel-go/runnel/topic"
)

// job is a record and what its handlers do.
type job struct {
	key       string // empty: none
	partition int32
	delay     time.Duration // of each attempt
	failures  int           // attempts that fail first; with as many as there are attempts, it becomes a dead letter
	panics    bool          // failing attempts panic
}

const attempts = 3

// plan is one random run.
type plan struct {
	partitions  int
	jobs        []job
	concurrency int
	inFlight    int
	ahead       int
	maxRecords  int
	members     int
	changes     []change // of the members
	crashes     []time.Duration
}

// change is that one member leaves, after a while, and another one comes.
type change struct {
	after  time.Duration
	closes bool // by Close, not by the end of its context
}

func planOf(t *rapid.T) plan {
	p := plan{
		partitions:  rapid.IntRange(1, 3).Draw(t, "partitions"),
		concurrency: rapid.IntRange(1, 8).Draw(t, "concurrency"),
		inFlight:    rapid.IntRange(1, 40).Draw(t, "in flight"),
		ahead:       rapid.IntRange(1, 60).Draw(t, "ahead"),
		maxRecords:  rapid.IntRange(1, 20).Draw(t, "max records"),
		members:     rapid.IntRange(1, 3).Draw(t, "members"),
	}
	p.jobs = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) job {
		return job{
			key:       rapid.SampledFrom([]string{"", "a", "b", "c", "d", "e"}).Draw(t, "key"),
			partition: int32(rapid.IntRange(0, p.partitions-1).Draw(t, "partition")),
			delay:     time.Duration(rapid.IntRange(0, 50).Draw(t, "ms")) * time.Millisecond,
			failures:  max(0, rapid.IntRange(-6, attempts).Draw(t, "failures")),
			panics:    rapid.IntRange(0, 3).Draw(t, "panics") == 0,
		}
	}), 1, 80).Draw(t, "jobs")
	return p
}

// register watches over a run: what is handled, in which order, and what is committed.
// It is the consumers' backend, too.
type register struct {
	consumer.Backend
	jobs map[record.TopicPartition][]*progressOf // by offset
	all  chan struct{}                           // closed when every record has succeeded

	mu   sync.Mutex
	left int
	errs []error
}

// progressOf is a record, and what became of it.
type progressOf struct {
	job
	failed    int // attempts since it last succeeded
	running   bool
	succeeded int // or dead-lettered
}

func (r *register) complain(format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf(format, args...))
}

// handle is the handler of all members.
func (r *register) handle(ctx context.Context, rec record.Record) error {
	r.mu.Lock()
	all := r.jobs[record.TopicPartition{Topic: rec.Topic, Partition: rec.Partition}]
	p := all[rec.Offset]
	if p.key != "" {
		for offset, other := range all {
			switch {
			case other.key != p.key:
			case other.running:
				r.complain("%v is handled while that at %d runs, with the same key", rec.Position(), offset)
			case int64(offset) < rec.Offset && other.succeeded == 0:
				r.complain("%v is handled before that at %d, with the same key", rec.Position(), offset)
			}
		}
	}
	p.running = true
	r.mu.Unlock()
	timer := time.NewTimer(p.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p.running = false
	if p.failed < p.failures {
		p.failed++
		if p.panics {
			panic("on purpose")
		}
		return errors.New("on purpose")
	}
	r.succeeded(p)
	return nil
}

func (r *register) succeeded(p *progressOf) {
	p.failed = 0
	if p.succeeded++; p.succeeded == 1 {
		if r.left--; r.left == 0 {
			close(r.all)
		}
	}
}

// Send implements consumer.Sender.
func (r *register) Send(_ context.Context, letter record.Record) (record.Position, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	from := func(key string) string { v, _ := letter.Header(key); return string(v) }
	for tp, all := range r.jobs {
		for offset, p := range all {
			if from(consumer.HeaderPartition) == fmt.Sprint(tp.Partition) && from(consumer.HeaderOffset) == fmt.Sprint(offset) {
				if p.failed < attempts {
					r.complain("%v@%d is a dead letter after %d attempts", tp, offset, p.failed)
				}
				r.succeeded(p)
			}
		}
	}
	return record.Position{}, nil
}

func (r *register) OpenConsumer(ctx context.Context, cfg consumer.Config) (consumer.Session, error) {
	s, err := r.Backend.OpenConsumer(ctx, cfg)
	return &watched{s, r}, err
}

// watched is a session whose commits are checked.
type watched struct {
	consumer.Session
	register *register
}

func (w *watched) Commit(ctx context.Context, offsets map[record.TopicPartition]consumer.Offset) error {
	r := w.register
	r.mu.Lock()
	for tp, o := range offsets {
		for offset, p := range r.jobs[tp][:o.Offset] {
			if p.succeeded == 0 {
				r.complain("%v is committed up to %d, and the record at %d is not finished", tp, o.Offset, offset)
			}
		}
	}
	r.mu.Unlock()
	return w.Session.Commit(ctx, offsets)
}

// member is a consumer with its Run.
type member struct {
	c     *consumer.Consumer
	stop  context.CancelFunc
	ended chan error
}

func join(t *testing.T, r *register, p plan, opts ...consumer.Option) *member {
	c, err := consumer.New(r, append(opts, consumer.Group("g"), consumer.Topics("jobs"),
		consumer.MaxRecords(p.maxRecords), consumer.CommitEvery(20*time.Millisecond))...)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	m := &member{c: c, stop: stop, ended: make(chan error, 1)}
	go func() {
		m.ended <- consumer.Run(ctx, c, r.handle, consumer.Concurrency(p.concurrency), consumer.Attempts(attempts),
			consumer.Backoff(time.Millisecond, 40*time.Millisecond), consumer.InFlight(p.inFlight, 1<<20), consumer.Ahead(p.ahead),
			consumer.DeadLetters(r, "dead"))
	}()
	return m
}

// leave ends a member and returns an error if it did not end as it should.
func (m *member) leave(closes bool) error {
	if closes {
		err := m.c.Close()
		if ended := <-m.ended; !errors.Is(ended, fault.Closed) {
			err = errors.Join(err, fmt.Errorf("Run of a closed consumer: %w", ended))
		}
		return err
	}
	m.stop()
	return errors.Join(<-m.ended, m.c.Close())
}

// begin creates the topic with its records, and the register.
func begin(t *testing.T, b *runneltest.Broker, p plan) *register {
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "jobs", Partitions: p.partitions}))
	out, err := producer.New(b, producer.Partitioner(topic.ManualPartitioner))
	require.NoError(t, err)
	defer out.Close()
	r := &register{Backend: b, jobs: map[record.TopicPartition][]*progressOf{}, all: make(chan struct{}), left: len(p.jobs)}
	for _, j := range p.jobs {
		rec := record.Record{Topic: "jobs", Partition: j.partition}
		if j.key != "" {
			rec.Key = []byte(j.key)
		}
		at, err := out.Send(t.Context(), rec)
		require.NoError(t, err)
		tp := at.TopicPartition()
		require.EqualValues(t, len(r.jobs[tp]), at.Offset)
		r.jobs[tp] = append(r.jobs[tp], &progressOf{job: j})
	}
	return r
}

// play runs a plan in a bubble, and returns what was wrong.
func play(t *testing.T, p plan) (wrong error) {
	synctest.Test(t, func(t *testing.T) {
		b := runneltest.New(t)
		r := begin(t, b, p)
		var members []*member
		for range p.members {
			members = append(members, join(t, r, p))
		}
		var errs []error
		for _, c := range p.changes {
			time.Sleep(c.after)
			errs = append(errs, members[0].leave(c.closes))
			members = append(members[1:], join(t, r, p))
		}
		for _, after := range p.crashes {
			time.Sleep(after)
			b = b.Crash()
			for _, m := range members {
				if err := <-m.ended; err == nil {
					errs = append(errs, errors.New("Run does not know that its broker has crashed"))
				}
				_ = m.c.Close()
			}
			r.Backend = b
			for i := range members {
				members[i] = join(t, r, p)
			}
		}
		<-r.all
		time.Sleep(time.Hour) // what is handled again ends, too
		for _, m := range members {
			errs = append(errs, m.leave(false))
		}
		offsets, err := b.GroupOffsets(t.Context(), "g")
		errs = append(errs, err, r.check(p, offsets))
		wrong = errors.Join(errs...)
	})
	return wrong
}

// check returns what was wrong in a run that is over.
func (r *register) check(p plan, committed map[record.TopicPartition]consumer.Offset) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	calm := p.members == 1 && len(p.changes)+len(p.crashes) == 0
	for tp, all := range r.jobs {
		if committed[tp].Offset != int64(len(all)) {
			r.complain("%v is committed up to %d of %d", tp, committed[tp].Offset, len(all))
		}
		for offset, done := range all {
			if calm && done.succeeded != 1 {
				r.complain("%v@%d succeeded %d times", tp, offset, done.succeeded)
			}
		}
	}
	return errors.Join(r.errs...)
}

func TestRunAgainstAModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := planOf(rt)
		p.members = 1
		if err := play(t, p); err != nil {
			rt.Fatal(err)
		}
	})
}

func TestRunWhileMembersComeAndGo(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := planOf(rt)
		p.changes = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) change {
			return change{
				after:  time.Duration(rapid.IntRange(0, 200).Draw(t, "ms")) * time.Millisecond,
				closes: rapid.Bool().Draw(t, "closes"),
			}
		}), 1, 5).Draw(rt, "changes")
		if err := play(t, p); err != nil {
			rt.Fatal(err)
		}
	})
}

func TestRunSurvivesCrashesOfItsBroker(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := planOf(rt)
		for _, ms := range rapid.SliceOfN(rapid.IntRange(0, 200), 1, 3).Draw(rt, "crashes") {
			p.crashes = append(p.crashes, time.Duration(ms)*time.Millisecond)
		}
		if err := play(t, p); err != nil {
			rt.Fatal(err)
		}
	})
}

// A handler may take longer than the group's timeouts, while other records are handled
// and another member comes.
func TestRunKeepsItsPlaceWhileHandlersAreSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := runneltest.New(t)
		p := plan{partitions: 2, members: 1, concurrency: 2, inFlight: 4, ahead: 100, maxRecords: 2, jobs: []job{
			{key: "a", delay: time.Hour}, {key: "b"}, {key: "b", partition: 1, delay: time.Hour}, {key: "c"}, {key: "a"},
		}}
		r := begin(t, b, p)
		lost := 0
		m := join(t, r, p, consumer.OnLost(func([]record.TopicPartition) { lost++ }))
		<-r.all
		require.NoError(t, m.leave(false))
		require.Zero(t, lost)
		offsets, err := b.GroupOffsets(t.Context(), "g")
		require.NoError(t, err)
		require.NoError(t, r.check(p, offsets))
	})
}
