package runnel

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// moment is a disk as a power loss leaves it in the middle of something, with
// what had been acknowledged before.
type moment struct {
	name  string
	disk  *vfs.Crashable
	acked promises

	closing bool // the broker was being closed, and may have been

	inspected bool // it is inspected, too
}

// promises are what a broker has acknowledged.
type promises struct {
	topics  map[string]bool // true: created; false: deleted. One that is missing may be either
	records map[string]int  // how many records, by topic: "0", "1", … in partition 0
	commit  int64           // the offset that group g has committed in topic 0
}

// powerLoss runs a scenario on a disk of which every change is followed by a
// look at what a power loss there would leave.
type powerLoss struct {
	t       *testing.T
	broker  *Broker
	mu      sync.Mutex
	acked   promises
	moments []moment
	closing bool
}

// losses is how many ways of losing power are tried at every change, beside
// losing all and losing nothing.
const losses = 6

func withPowerLoss(t *testing.T, prepare, scenario func(p *powerLoss)) {
	p := losePower(t, func(fsys vfs.FS) vfs.FS { return fsys }, prepare, scenario)
	for _, m := range p.moments {
		m.check(t)
	}
}

// losePower runs the scenario, on a disk that lies as lie does, and returns what
// there is to be checked.
func losePower(t *testing.T, lie func(vfs.FS) vfs.FS, prepare, scenario func(p *powerLoss)) *powerLoss {
	disk := vfs.NewCrashable()
	fsys := vfs.NewFaulty(disk)
	p := &powerLoss{t: t, acked: promises{topics: map[string]bool{}, records: map[string]int{}}}
	b, err := openFixture(lie(fsys))
	require.NoError(t, err)
	p.broker = b
	prepare(p)
	n := 0
	remove := fsys.Add(vfs.Rule{On: vfs.OpChange, Do: func() {
		acked := p.promised() // first: what is acknowledged meanwhile may be lost here
		p.mu.Lock()
		defer p.mu.Unlock()
		n++
		for i := range losses + 2 {
			loss := vfs.Loss{Kept: vfs.KeepNone}
			switch {
			case i == 1:
				loss.Kept = vfs.KeepAll
			case i > 1:
				loss = vfs.RandomLoss(uint64(n*losses + i))
			}
			p.moments = append(p.moments, moment{name: fmt.Sprintf("change %d, %+v", n, loss), disk: disk.After(loss), acked: acked, inspected: (n+i)%4 == 0})
		}
	}})
	scenario(p)
	remove()
	require.NoError(t, b.Close())
	require.NotEmpty(t, p.moments)
	for i := range p.moments {
		p.moments[i].closing = p.closing
	}
	t.Logf("%d changes, %d power losses", n, len(p.moments))
	return p
}

// failer is what a check needs of a test.
type failer interface {
	require.TestingT
	Context() context.Context
}

// openFixture opens a broker that writes a snapshot of its catalogue every few
// records.
func openFixture(fsys vfs.FS) (*Broker, error) { return openFixtureAt(fsys, topic.Fsync) }

func openFixtureAt(fsys vfs.FS, d topic.Durability) (*Broker, error) {
	cfg := defaults(d)
	cfg.snapshotEvery = 5
	c, err := configure(cfg, nil)
	if err != nil {
		return nil, err
	}
	return open(c, home{fsys: fsys, dir: "/srv/data", disk: true})
}

// promised returns a copy of what is acknowledged.
func (p *powerLoss) promised() promises {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := promises{topics: map[string]bool{}, records: map[string]int{}, commit: p.acked.commit}
	for name, created := range p.acked.topics {
		all.topics[name] = created
	}
	for name, n := range p.acked.records {
		all.records[name] = n
	}
	return all
}

func (p *powerLoss) promise(change func(acked *promises)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.acked)
}

func (p *powerLoss) create(spec topic.Spec) {
	require.NoError(p.t, p.broker.CreateTopics(p.t.Context(), spec))
	p.promise(func(acked *promises) { acked.topics[spec.Name] = true })
}

func (p *powerLoss) delete(name string) {
	p.promise(func(acked *promises) {
		delete(acked.topics, name)
		delete(acked.records, name)
	})
	require.NoError(p.t, p.broker.DeleteTopics(p.t.Context(), name))
	p.promise(func(acked *promises) { acked.topics[name] = false })
}

// send sends records, each of which must be acknowledged.
func (p *powerLoss) send(name string, count, size int) {
	s, err := producer.New(p.broker)
	require.NoError(p.t, err)
	defer s.Close()
	for range count {
		n := p.promised().records[name]
		_, err := s.Send(p.t.Context(), record.Record{Topic: name, Key: []byte(fmt.Sprint(n)), Value: make([]byte, size)})
		require.NoError(p.t, err)
		p.promise(func(acked *promises) { acked.records[name] = n + 1 })
	}
}

// inspect reads the disk through, which must be no worse than that.
func (m moment) inspect(t failer, most log.Grade) {
	found, err := inspect(t.Context(), m.disk, "/srv/data", false, nil)
	require.NoError(t, err, m.name)
	require.LessOrEqual(t, found.Worst(), most, "%s: %v", m.name, found)
}

// check opens what a power loss left and holds it against what was promised.
func (m moment) check(t failer) {
	if m.inspected {
		m.inspect(t, log.Recoverable)
	}
	b, err := openFixture(m.disk)
	require.NoError(t, err, m.name)
	defer func() {
		require.NoError(t, b.Close(), m.name)
		if m.inspected {
			m.inspect(t, log.Note)
		}
	}()
	r := b.Recovery()
	require.False(t, r.Clean && !m.closing, m.name)
	require.NotEmpty(t, r.Partitions, "%s: it says what it found", m.name)
	for _, p := range r.Partitions {
		require.NoError(t, p.Err, m.name)
		require.Empty(t, p.Damage, m.name)
		require.Equal(t, p.Cut > 0, p.Reason != "", m.name)
	}
	names, err := b.Topics(t.Context())
	require.NoError(t, err, m.name)
	for name, created := range m.acked.topics {
		if created {
			require.Contains(t, names, name, m.name)
		} else {
			require.NotContains(t, names, name, m.name)
		}
	}
	for name, n := range m.acked.records {
		require.NoError(t, m.readThrough(t, b, name, n), m.name)
	}
	require.NoError(t, b.Verify(t.Context()), m.name)
	if m.acked.commit > 0 {
		m.checkCommit(t, b)
	}
	for _, name := range names { // and it goes on
		s, err := producer.New(b)
		require.NoError(t, err, m.name)
		_, err = s.Send(t.Context(), record.Record{Topic: name, Value: []byte("after")})
		require.NoError(t, err, m.name)
		require.NoError(t, s.Close(), m.name)
	}
}

// readThrough reads the topic's partition 0, which must hold the acknowledged
// records, and at most one that was on its way.
func (m moment) readThrough(t failer, b *Broker, name string, acked int) error {
	part, err := b.host.Partition(record.TopicPartition{Topic: name})
	if err != nil {
		return err
	}
	if high := part.HighWatermark(); high < int64(acked) || high > int64(acked)+1 {
		return fmt.Errorf("%s has %d records, %d were acknowledged", name, high, acked)
	}
	if part.HighWatermark() == part.StartOffset() {
		return nil
	}
	c, err := consumer.New(b, consumer.Assign(record.TopicPartition{Topic: name}))
	if err != nil {
		return err
	}
	defer c.Close()
	for next := part.StartOffset(); next < part.HighWatermark(); {
		batch, err := c.Poll(t.Context())
		if err != nil {
			return err
		}
		for _, r := range batch {
			if r.Offset != next || string(r.Key) != fmt.Sprint(next) {
				return fmt.Errorf("%s: record %q at offset %d instead of %d", name, r.Key, r.Offset, next)
			}
			next++
		}
	}
	return nil
}

func (m moment) checkCommit(t failer, b *Broker) {
	committed, err := b.GroupOffsets(t.Context(), "g")
	require.NoError(t, err, m.name)
	require.GreaterOrEqual(t, committed[record.TopicPartition{Topic: "orders"}].Offset, m.acked.commit, m.name)
}

func TestPowerLossWhileOpening(t *testing.T) {
	disk := vfs.NewCrashable()
	fsys := vfs.NewFaulty(disk)
	var after []*vfs.Crashable
	fsys.Add(vfs.Rule{On: vfs.OpChange, Do: func() {
		for i := range uint64(losses) {
			after = append(after, disk.After(vfs.RandomLoss(uint64(len(after))*losses+i)))
		}
	}})
	b, err := openFixture(fsys)
	require.NoError(t, err)
	require.NoError(t, b.Close())
	for _, left := range after {
		b, err := openFixture(left)
		require.NoError(t, err)
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
		require.NoError(t, b.Close())
	}
}

func TestPowerLossWhileCreatingTopics(t *testing.T) {
	withPowerLoss(t, func(*powerLoss) {}, func(p *powerLoss) {
		p.create(topic.Spec{Name: "orders"})
		p.send("orders", 2, 10)
		p.create(topic.Spec{Name: "visits", Partitions: 3})
		require.NoError(p.t, p.broker.AddPartitions(p.t.Context(), "visits", 4))
		p.send("orders", 1, 10)
	})
}

// TestPowerLossAtSnapshots writes a snapshot of the catalogue every few commands.
func TestPowerLossAtSnapshots(t *testing.T) {
	withPowerLoss(t, func(p *powerLoss) { p.create(topic.Spec{Name: "orders"}) }, func(p *powerLoss) {
		for n := range 3 {
			p.create(topic.Spec{Name: fmt.Sprint("short-lived-", n)})
			p.create(topic.Spec{Name: fmt.Sprint("topic-", n)})
			p.delete(fmt.Sprint("short-lived-", n))
			settleSnapshot(p.broker)
		}
		require.Positive(p.t, p.broker.metadata.Partition().StartOffset(), "the log begins at a snapshot")
	})
}

func TestPowerLossWhileDeletingTopics(t *testing.T) {
	withPowerLoss(t, func(p *powerLoss) {
		p.create(topic.Spec{Name: "orders"})
		p.create(topic.Spec{Name: "visits"})
		p.send("orders", 3, 10)
		p.send("visits", 3, 10)
	}, func(p *powerLoss) {
		p.delete("orders")
		p.send("visits", 1, 10)
		p.promise(func(acked *promises) { delete(acked.topics, "orders") })
		p.create(topic.Spec{Name: "orders"})
		p.send("orders", 1, 10)
	})
}

// TestPowerLossWhileRolling begins a new segment every few records.
func TestPowerLossWhileRolling(t *testing.T) {
	withPowerLoss(t, func(p *powerLoss) {
		p.create(topic.Spec{Name: "orders", Config: topic.Config{SegmentBytes: 1 << 10}})
		p.send("orders", 1, 10)
	}, func(p *powerLoss) { p.send("orders", 10, 300) })
}

// TestPowerLossAtCheckpoints syncs so much that checkpoints are written.
func TestPowerLossAtCheckpoints(t *testing.T) {
	withPowerLoss(t, func(p *powerLoss) {
		p.create(topic.Spec{Name: "orders"})
		p.send("orders", 1, 10)
	}, func(p *powerLoss) { p.send("orders", 6, 40<<10) })
}

func TestPowerLossWhileClosing(t *testing.T) {
	withPowerLoss(t, func(p *powerLoss) {
		p.create(topic.Spec{Name: "orders"})
		p.send("orders", 5, 100)
	}, func(p *powerLoss) {
		p.closing = true
		require.NoError(t, p.broker.Close())
	})
}

func TestPowerLossWhileDeletingRecords(t *testing.T) {
	withPowerLoss(t, func(p *powerLoss) {
		p.create(topic.Spec{Name: "orders", Config: topic.Config{SegmentBytes: 1 << 10}})
		p.send("orders", 10, 300)
	}, func(p *powerLoss) {
		for _, before := range []int64{2, 7, 10} {
			_, err := p.broker.DeleteRecords(p.t.Context(), map[record.TopicPartition]int64{{Topic: "orders"}: before})
			require.NoError(p.t, err)
		}
		p.send("orders", 1, 10)
	})
}

func TestPowerLossWhileCommitting(t *testing.T) {
	withPowerLoss(t, func(p *powerLoss) {
		p.create(topic.Spec{Name: "orders"})
		p.send("orders", 6, 10)
	}, func(p *powerLoss) {
		ctx, cancel := context.WithCancel(p.t.Context())
		defer cancel()
		c, err := consumer.New(p.broker, consumer.Group("g"), consumer.Topics("orders"))
		require.NoError(p.t, err)
		defer c.Close()
		for r, err := range c.Records(ctx) {
			if errors.Is(err, context.Canceled) {
				break
			}
			require.NoError(p.t, err)
			require.NoError(p.t, c.Commit(ctx))
			p.promise(func(acked *promises) { acked.commit = r.Offset + 1 })
			if r.Offset == 5 {
				break
			}
		}
	})
}

// TestPowerLossWhileOpeningAgain loses power, and again at every change of the disk
// by which opening repairs what the first time has left. Nothing that was
// acknowledged is lost by that.
func TestPowerLossWhileOpeningAgain(t *testing.T) {
	p := losePower(t, func(fsys vfs.FS) vfs.FS { return fsys }, func(p *powerLoss) {
		p.create(topic.Spec{Name: "orders", Config: topic.Config{SegmentBytes: 500}})
		p.send("orders", 5, 100)
	}, func(p *powerLoss) {
		p.send("orders", 5, 100)
		p.create(topic.Spec{Name: "gone"})
		p.delete("gone")
		p.create(topic.Spec{Name: "late", Partitions: 2})
		p.send("late", 1, 100)
	})
	opened := 0
	for n := 0; n < len(p.moments); n += 1 + rand.IntN(len(p.moments)/12) {
		first := p.moments[n]
		first.inspected = false
		var mu sync.Mutex // partitions are opened side by side
		var again []moment
		fsys := vfs.NewFaulty(first.disk)
		remove := fsys.Add(vfs.Rule{On: vfs.OpChange, Do: func() {
			mu.Lock()
			defer mu.Unlock()
			m := first
			m.name += fmt.Sprintf("; then at change %d of opening", len(again))
			m.disk = first.disk.After([]vfs.Loss{{Kept: vfs.KeepNone}, {Kept: vfs.KeepAll}, vfs.RandomLoss(rand.Uint64())}[len(again)%3])
			again = append(again, m)
		}})
		b, err := openFixture(fsys)
		require.NoError(t, err, first.name)
		remove()
		require.NoError(t, b.Close(), first.name)
		for i := rand.IntN(3); i < len(again); i += 3 {
			again[i].check(t)
			opened++
		}
	}
	require.Greater(t, opened, 20)
}
