package replicatest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica/memory"
	"github.com/runnel-go/runnel/replica/replicatest"
	"github.com/runnel-go/runnel/share"
	"github.com/runnel-go/runnel/topic"
)

// delivered is a delivery as its worker has seen it.
type delivered struct {
	attempt  int
	from     time.Time // when the coordinator locked it
	until    time.Time // how long the worker may have it for its own
	settling time.Time // when it gave it back, or was done; zero if it did not
}

// queueHistory is all deliveries of all records.
type queueHistory struct {
	t    *testing.T
	lock time.Duration

	mu        sync.Mutex
	delivered map[record.Position][]*delivered
	acked     map[record.Position]bool
	unclear   map[record.Position]bool // acknowledged with an unknown outcome
}

// receive notes a delivery, and holds that a record has one holder at a time, that deliveries
// count up, and that none follows an acknowledgement.
func (h *queueHistory) receive(d *share.Delivery) *delivered {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := d.Record.Position()
	now := &delivered{attempt: d.Attempt, from: d.Until.Add(-h.lock), until: d.Until}
	assert.False(h.t, h.acked[at], "%v was acknowledged, and is delivered by attempt %d", at, d.Attempt)
	for _, before := range h.delivered[at] {
		assert.Less(h.t, before.attempt, d.Attempt, "%v: deliveries count up", at)
		free := before.until
		if !before.settling.IsZero() && before.settling.Before(free) {
			free = before.settling
		}
		assert.False(h.t, now.from.Before(free.Truncate(time.Millisecond)), "%v: attempt %d of %v, and attempt %d has it until %v", at, d.Attempt, now.from, before.attempt, free)
	}
	h.delivered[at] = append(h.delivered[at], now)
	return now
}

// settle settles a delivery one way or the other.
func (h *queueHistory) settle(ctx context.Context, draw int, d *share.Delivery, now *delivered) {
	switch draw {
	case 0:
		return // it forgets the record
	case 1:
		if d.Renew(ctx) == nil {
			h.mu.Lock()
			now.until = d.Until
			h.mu.Unlock()
		}
		time.Sleep(h.lock / 2)
	}
	h.mu.Lock()
	now.settling = time.Now()
	h.mu.Unlock()
	if draw == 2 {
		_ = d.Release(ctx)
		return
	}
	err := d.Ack(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case err == nil:
		h.acked[d.Record.Position()] = true
	case !errors.Is(err, fault.InvalidRecordState): // its node died meanwhile
		h.unclear[d.Record.Position()] = true
	}
}

// work is a worker on a node, until the node's end or ctx's.
func (h *queueHistory) work(ctx context.Context, b *runnel.Broker, draw *rand.Rand) {
	c, err := share.New(b, share.Group("workers"), share.Topics("jobs"), share.LockTime(h.lock), share.Attempts(1000))
	if err != nil {
		return
	}
	defer func() { _ = c.Close() }()
	for ctx.Err() == nil {
		d, err := c.Receive(ctx)
		if errors.Is(err, fault.Closed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		now := h.receive(d)
		time.Sleep(time.Duration(draw.IntN(100)) * time.Millisecond)
		h.settle(ctx, draw.IntN(8), d, now)
	}
}

// Nodes lose their power, and leaders move, while workers on all nodes share a queue: each
// record is one worker's at a time, its deliveries count up, none comes after it was
// acknowledged, and in the end all are.
func TestNodesDieWhileAQueueIsShared(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { nodesDieOverAQueue(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func nodesDieOverAQueue(t *testing.T, draw *rand.Rand) {
	const records, rounds = 120, 8
	c := replicatest.Cluster(t, 3, runnel.ShareGroups())
	require.NoError(t, c.Broker(1).CreateTopics(t.Context(), topic.Spec{Name: "jobs", Partitions: 3, Replicas: 3}))
	awaitTopic(t, c, "jobs")
	h := &queueHistory{t: t, lock: 2 * time.Second, delivered: map[record.Position][]*delivered{}, acked: map[record.Position]bool{}, unclear: map[record.Position]bool{}}
	c.Network().SetLinks(memory.Link{Delay: time.Millisecond, Jitter: time.Millisecond})
	ctx, stop := context.WithCancel(t.Context())
	var working sync.WaitGroup
	start := func(node int) {
		b, own := c.Broker(node), rand.New(rand.NewPCG(draw.Uint64(), 0))
		working.Go(func() { h.work(ctx, b, own) })
	}
	for node := 1; node <= 3; node++ {
		start(node)
	}
	sent := 0
	send := func(n int) {
		p, err := producer.New(c.Broker(c.Running()[0]))
		require.NoError(t, err)
		for range n {
			_, err := p.Send(t.Context(), record.Record{Topic: "jobs", Value: fmt.Append(nil, sent)})
			require.NoError(t, err)
			sent++
		}
		require.NoError(t, p.Close())
	}
	for range rounds {
		moved := func() int { return 0 }
		if draw.IntN(2) == 0 {
			moved = c.MoveLeaders(100*time.Millisecond, nil)
		}
		send(records / rounds)
		time.Sleep(time.Duration(draw.IntN(300)) * time.Millisecond)
		moved()
		victim := 1 + draw.IntN(3)
		c.Crash(victim)
		time.Sleep(time.Duration(draw.IntN(3000)) * time.Millisecond)
		c.Restart(victim)
		awaitTopic(t, c, "jobs")
		start(victim)
	}
	c.Network().SetLinks(memory.Link{})
	late := time.Now().Add(10 * time.Minute)
	for done := 0; done < sent && !t.Failed(); {
		require.True(t, time.Now().Before(late), "%d records of %d are acknowledged", done, sent)
		time.Sleep(time.Second)
		h.mu.Lock()
		done = len(h.acked)
		for at := range h.unclear {
			if !h.acked[at] {
				done++
			}
		}
		h.mu.Unlock()
	}
	stop()
	working.Wait()
	more := 0
	require.Less(t, len(h.unclear), records/4)
	for _, all := range h.delivered {
		if len(all) > 1 {
			more++
		}
	}
	require.Positive(t, more, "some were delivered again")
}

// The node that coordinates a queue dies while a worker of another node has a record: the lock
// outlives it, and so does the count.
func TestALockOutlivesItsCoordinator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 3, runnel.ShareGroups())
		require.NoError(t, c.Broker(1).CreateTopics(t.Context(), topic.Spec{Name: "jobs", Partitions: 1, Replicas: 3}))
		awaitTopic(t, c, "jobs")
		p, err := producer.New(c.Broker(1))
		require.NoError(t, err)
		_, err = p.Send(t.Context(), record.Record{Topic: "jobs", Value: []byte("one")})
		require.NoError(t, err)
		require.NoError(t, p.Close())
		open := func(node int) *share.Consumer {
			s, err := share.New(c.Broker(node), share.Group("workers"), share.Topics("jobs"), share.LockTime(time.Minute))
			require.NoError(t, err)
			return s
		}
		ann, bob := open(2), open(3)
		first, err := ann.Receive(t.Context())
		require.NoError(t, err)
		d, err := c.Broker(2).DescribeTopics(t.Context(), topic.ShareGroupState)
		require.NoError(t, err)
		for n := range d[0].Partitions {
			c.MoveLeader(record.TopicPartition{Topic: topic.ShareGroupState, Partition: int32(n)}, 1)
		}
		c.Crash(1)
		began := time.Now()
		second, err := bob.Receive(t.Context()) // waits for the end of the lock
		require.NoError(t, err)
		require.GreaterOrEqual(t, time.Since(began), 50*time.Second)
		require.Equal(t, 2, second.Attempt)
		require.ErrorIs(t, first.Ack(t.Context()), fault.InvalidRecordState)
		require.NoError(t, second.Ack(t.Context()))
		require.NoError(t, ann.Close())
		require.NoError(t, bob.Close())
		c.Restart(1)
	})
}

// What a member on one node releases, one that waits on another node gets at once, wherever the
// coordinator is: nobody asks again and again.
func TestReleasedElsewhereIsHeardOfAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 3, runnel.ShareGroups())
		require.NoError(t, c.Broker(1).CreateTopics(t.Context(), topic.Spec{Name: "jobs", Partitions: 1, Replicas: 3}))
		awaitTopic(t, c, "jobs")
		p, err := producer.New(c.Broker(1))
		require.NoError(t, err)
		_, err = p.Send(t.Context(), record.Record{Topic: "jobs", Value: []byte("one")})
		require.NoError(t, err)
		require.NoError(t, p.Close())
		for coordinator := 1; coordinator <= 3; coordinator++ {
			ann, err := share.New(c.Broker(1), share.Group("workers"), share.Topics("jobs"), share.LockTime(time.Hour), share.Attempts(100))
			require.NoError(t, err)
			bob, err := share.New(c.Broker(2), share.Group("workers"), share.Topics("jobs"), share.LockTime(time.Hour), share.Attempts(100))
			require.NoError(t, err)
			held, err := ann.Receive(t.Context())
			require.NoError(t, err)
			d, err := c.Broker(2).DescribeTopics(t.Context(), topic.ShareGroupState)
			require.NoError(t, err)
			for n := range d[0].Partitions {
				c.MoveLeader(record.TopicPartition{Topic: topic.ShareGroupState, Partition: int32(n)}, coordinator)
			}
			got := make(chan *share.Delivery)
			go func() {
				d, err := bob.Receive(t.Context())
				assert.NoError(t, err)
				got <- d
			}()
			time.Sleep(time.Minute)
			require.NoError(t, held.Release(t.Context()))
			began := time.Now()
			again := <-got
			require.Less(t, time.Since(began), time.Second)
			require.Equal(t, held.Attempt+1, again.Attempt)
			require.NoError(t, ann.Close())
			require.NoError(t, bob.Close()) // which gives it back
		}
	})
}
