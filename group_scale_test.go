package runnel_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// crowd is a large group of consumers that poll.
type crowd struct {
	t       testing.TB
	b       *runnel.Broker
	topics  []string
	polling sync.WaitGroup

	mu      sync.Mutex
	owned   int // partitions, by all
	moved   int // that were taken from members
	changed chan struct{}
}

// attendee is a member of a crowd. Its counts are guarded by the crowd's mu.
type attendee struct {
	*consumer.Consumer
	owned, revoked int
}

func newCrowd(t testing.TB, topics, partitions, members int) (*crowd, []*attendee) {
	b, err := runnel.OpenMemory()
	require.NoError(t, err)
	c := &crowd{t: t, b: b, changed: make(chan struct{}, 1)}
	var specs []topic.Spec
	for n := range topics {
		c.topics = append(c.topics, fmt.Sprint("t", n))
		specs = append(specs, topic.Spec{Name: c.topics[n], Partitions: partitions})
	}
	require.NoError(t, b.CreateTopics(context.Background(), specs...))
	var all []*attendee
	for range members {
		all = append(all, c.join())
	}
	c.await(func() bool { return c.owned == topics*partitions && c.shared(all, topics*partitions/members) })
	return c, all
}

// shared reports whether all of these members have so many partitions. The caller holds mu.
func (c *crowd) shared(all []*attendee, least int) bool {
	for _, a := range all {
		if a.owned < least {
			return false
		}
	}
	return true
}

// join adds a member.
func (c *crowd) join() *attendee {
	a := &attendee{}
	count := func(by int) func([]record.TopicPartition) {
		return func(tps []record.TopicPartition) {
			c.mu.Lock()
			c.owned += by * len(tps)
			a.owned += by * len(tps)
			if by < 0 {
				c.moved += len(tps)
				a.revoked += len(tps)
			}
			c.mu.Unlock()
			select {
			case c.changed <- struct{}{}:
			default:
			}
		}
	}
	m, err := consumer.New(c.b, consumer.Group("crowd"), consumer.Topics(c.topics...), consumer.ManualCommit(),
		consumer.OnAssigned(count(1)), consumer.OnRevoked(count(-1)), consumer.OnLost(count(-1)))
	require.NoError(c.t, err)
	a.Consumer = m
	c.polling.Go(func() {
		for {
			if _, err := m.Poll(context.Background()); err != nil {
				if !errors.Is(err, fault.Closed) {
					c.t.Error(err)
				}
				return
			}
		}
	})
	return a
}

// await waits until something holds, which it asks for with mu held.
func (c *crowd) await(holds func() bool) {
	late := time.After(time.Minute)
	for {
		c.mu.Lock()
		ok := holds()
		c.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-c.changed:
		case <-late:
			c.t.Fatal("the group does not settle within a minute")
		}
	}
}

// joined adds a member and waits until it has its part, and everything has an owner.
func (c *crowd) joined(partitions, part int) *attendee {
	a := c.join()
	c.await(func() bool { return c.owned == partitions && a.owned >= part })
	return a
}

func (c *crowd) close(all ...*attendee) {
	for _, a := range all {
		require.NoError(c.t, a.Close())
	}
	c.polling.Wait()
	require.NoError(c.t, c.b.Close())
}

// One more consumer joins a large group: the others give up what it gets, one partition each,
// and nothing else stops.
func TestOneMoreConsumerStopsNoOther(t *testing.T) {
	const members, partitions = 100, 1000
	c, all := newCrowd(t, 10, partitions/10, members)
	c.mu.Lock()
	for _, a := range all {
		a.revoked = 0
	}
	c.mu.Unlock()
	last := c.joined(partitions, partitions/(members+1))
	moved := 0
	c.mu.Lock()
	for _, a := range all {
		moved += a.revoked
		require.LessOrEqual(t, a.revoked, 1)
	}
	require.Equal(t, last.owned, moved)
	c.mu.Unlock()
	c.close(append(all, last)...)
}

// BenchmarkJoinACrowd is a consumer that joins 1,000 others with 10,000 partitions, until it
// has its part and everything has an owner, and leaves again, until others have what it had.
// It reports how many partitions were taken from others.
func BenchmarkJoinACrowd(b *testing.B) {
	const members, partitions = 1000, 10_000
	c, all := newCrowd(b, 100, partitions/100, members)
	var joining, leaving time.Duration
	c.moved = 0
	for b.Loop() {
		began := time.Now()
		a := c.joined(partitions, partitions/(members+1))
		joining += time.Since(began)
		c.mu.Lock()
		c.moved -= a.owned // which it gives up itself
		c.mu.Unlock()
		began = time.Now()
		require.NoError(b, a.Close())
		c.await(func() bool { return c.owned == partitions && a.owned == 0 })
		leaving += time.Since(began)
	}
	c.mu.Lock()
	b.ReportMetric(float64(c.moved)/float64(b.N), "revoked/op")
	c.mu.Unlock()
	b.ReportMetric(joining.Seconds()*1000/float64(b.N), "ms/join")
	b.ReportMetric(leaving.Seconds()*1000/float64(b.N), "ms/leave")
	c.close(all...)
}
