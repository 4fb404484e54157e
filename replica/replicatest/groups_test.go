package replicatest_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica/replicatest"
	"github.com/runnel-go/runnel/share"
	"github.com/runnel-go/runnel/topic"
)

// offsetsPartitions are the partitions of __consumer_offsets, once it is there.
func offsetsPartitions(t *testing.T, c *replicatest.Brokers) (all []record.TopicPartition) {
	t.Helper()
	for _, id := range c.Running() { // one that has just started may not know it yet
		d, err := c.Broker(id).DescribeTopics(t.Context(), topic.ConsumerOffsets)
		if err != nil {
			continue
		}
		for n := range d[0].Partitions {
			all = append(all, record.TopicPartition{Topic: topic.ConsumerOffsets, Partition: int32(n)})
		}
		return all
	}
	t.Fatal("no node knows the topic")
	return nil
}

// coordinate makes a node the coordinator of all groups.
func coordinate(t *testing.T, c *replicatest.Brokers, id int) {
	t.Helper()
	for _, tp := range offsetsPartitions(t, c) {
		c.MoveLeader(tp, id)
	}
}

// owned counts how often a member got and gave up partitions.
type owned struct {
	mu                      sync.Mutex
	assigned, revoked, lost int
}

func (o *owned) options() []consumer.Option {
	count := func(n *int) func([]record.TopicPartition) {
		return func(tps []record.TopicPartition) {
			o.mu.Lock()
			defer o.mu.Unlock()
			*n += len(tps)
		}
	}
	return []consumer.Option{consumer.OnAssigned(count(&o.assigned)), consumer.OnRevoked(count(&o.revoked)), consumer.OnLost(count(&o.lost))}
}

func (o *owned) counts() [3]int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return [3]int{o.assigned, o.revoked, o.lost}
}

func member(t *testing.T, c *replicatest.Brokers, id int, opts ...consumer.Option) *consumer.Consumer {
	t.Helper()
	m, err := consumer.New(c.Broker(id), append([]consumer.Option{consumer.Group("printer"), consumer.Topics("orders"), consumer.ManualCommit()}, opts...)...)
	require.NoError(t, err)
	return m
}

// put sends a record, once, whatever becomes of leaders.
func put(t *testing.T, b *runnel.Broker, value string) {
	t.Helper()
	p, err := producer.New(b)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err = p.Send(ctx, record.Record{Topic: "orders", Value: []byte(value)})
	require.NoError(t, err)
	require.NoError(t, p.Close())
}

func poll(t *testing.T, m *consumer.Consumer, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	batch, err := m.Poll(ctx)
	require.NoError(t, err)
	require.Len(t, batch, 1)
	require.Equal(t, want, string(batch[0].Value))
}

// A member gets records and commits, whichever node coordinates its group, and every node
// knows what it has committed. It keeps what it owns while the coordinator moves.
func TestAGroupOnAnyNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 3)
		create(t, c, "orders")
		var o owned
		m := member(t, c, 2, o.options()...)
		defer m.Close()
		put(t, c.Broker(1), "first")
		poll(t, m, "first")
		require.NoError(t, m.Commit(t.Context()))
		for i, id := range []int{1, 2, 3, 1} {
			coordinate(t, c, id)
			value := fmt.Sprint("by node ", id)
			put(t, c.Broker(3), value)
			poll(t, m, value)
			require.NoError(t, m.Commit(t.Context()))
			committed, err := m.Committed(t.Context())
			require.NoError(t, err)
			for _, at := range c.Running() {
				offsets, err := c.Broker(at).GroupOffsets(t.Context(), "printer")
				require.NoError(t, err)
				require.Equal(t, committed, offsets)
				d, err := c.Broker(at).DescribeGroups(t.Context(), "printer")
				require.NoError(t, err)
				require.Equal(t, consumer.GroupStable, d[0].State)
				require.Len(t, d[0].Members, 1)
				require.EqualValues(t, 1, d[0].Epoch, "no rebalance")
				groups, err := c.Broker(at).Groups(t.Context())
				require.NoError(t, err)
				require.Len(t, groups, 1)
			}
			require.Greater(t, committed[orders].Offset, int64(i+1))
		}
		time.Sleep(4 * time.Minute) // its node speaks for it longer than its session timeout
		require.Equal(t, [3]int{1, 0, 0}, o.counts())
		require.ErrorIs(t, c.Broker(3).DeleteGroups(t.Context(), "printer"), fault.NonEmptyGroup)
		require.NoError(t, m.Close())
		require.NoError(t, c.Broker(3).SetGroupOffsets(t.Context(), "printer", map[record.TopicPartition]consumer.Offset{orders: {Offset: 1}}))
		require.NoError(t, c.Broker(2).DeleteGroups(t.Context(), "printer"))
		_, err := c.Broker(1).GroupOffsets(t.Context(), "printer")
		require.ErrorIs(t, err, fault.GroupNotFound)
	})
}

// Members on all nodes share partitions, and learn of each other as fast as messages go, not
// at the next heartbeat of their nodes.
func TestMembersOnDifferentNodesShareAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 3)
		require.NoError(t, c.Broker(1).CreateTopics(t.Context(), topic.Spec{Name: "orders", Partitions: 12}))
		first := member(t, c, 2)
		members := []*consumer.Consumer{first}
		var polls sync.WaitGroup
		poll := func(m *consumer.Consumer) {
			polls.Go(func() {
				for {
					if _, err := m.Poll(t.Context()); err != nil {
						return
					}
				}
			})
		}
		shared := func() bool {
			for _, m := range members {
				if len(m.Assignment()) != 12/len(members) {
					return false
				}
			}
			return true
		}
		poll(first)
		require.Eventually(t, shared, time.Minute, 10*time.Millisecond)
		coordinate(t, c, 1)
		time.Sleep(10 * time.Second)
		for _, id := range []int{2, 3, 1} {
			began := time.Now()
			members = append(members, member(t, c, id))
			poll(members[len(members)-1])
			require.Eventually(t, shared, time.Minute, time.Millisecond)
			require.Less(t, time.Since(began), 300*time.Millisecond, "node %d", id)
		}
		began := time.Now()
		require.NoError(t, members[3].Close())
		members = members[:3]
		require.Eventually(t, shared, time.Minute, time.Millisecond)
		require.Less(t, time.Since(began), 300*time.Millisecond)

		c.Crash(3) // with a member
		members = members[:2]
		began = time.Now()
		require.Eventually(t, shared, 2*time.Minute, 10*time.Millisecond)
		require.InDelta(t, 45, time.Since(began).Seconds(), 5, "the session timeout")
		require.NoError(t, first.Close())
		require.NoError(t, members[1].Close())
		polls.Wait()
	})
}

// The coordinator's node dies: members on other nodes keep what they own, and what was
// committed is there.
func TestTheCoordinatorsNodeDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 3)
		create(t, c, "orders")
		var o owned
		m := member(t, c, 2, o.options()...)
		defer m.Close()
		put(t, c.Broker(1), "first")
		poll(t, m, "first")
		require.NoError(t, m.Commit(t.Context()))
		before, err := m.Committed(t.Context())
		require.NoError(t, err)
		coordinate(t, c, 1)
		c.Crash(1)
		began := time.Now()
		after, err := m.Committed(t.Context())
		require.NoError(t, err)
		require.Equal(t, before, after)
		put(t, c.Broker(2), "second")
		poll(t, m, "second")
		require.NoError(t, m.Commit(t.Context()))
		require.Less(t, time.Since(began), 10*time.Second)
		c.Restart(1)
		time.Sleep(2 * time.Minute)
		put(t, c.Broker(1), "third")
		poll(t, m, "third")
		require.Equal(t, [3]int{1, 0, 0}, o.counts())
	})
}

// A member that joins while its node's question about others waits for an answer hears of
// its group at once, too.
func TestAMemberThatComesWhileItsNodeWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 3)
		require.NoError(t, c.Broker(1).CreateTopics(t.Context(), topic.Spec{Name: "orders", Partitions: 2}))
		var polls sync.WaitGroup
		join := func(id int, group string) *consumer.Consumer {
			m := member(t, c, id, consumer.Group(group))
			polls.Go(func() {
				for {
					if _, err := m.Poll(t.Context()); err != nil {
						return
					}
				}
			})
			return m
		}
		owns := func(m *consumer.Consumer, n int) {
			t.Helper()
			began := time.Now()
			require.Eventually(t, func() bool { return len(m.Assignment()) == n }, time.Minute, time.Millisecond)
			require.Less(t, time.Since(began), 300*time.Millisecond)
		}
		var all []*consumer.Consumer
		for i := range 16 { // in every partition of __consumer_offsets
			all = append(all, join(2, fmt.Sprint("other-", i)))
		}
		for _, m := range all {
			require.Eventually(t, func() bool { return len(m.Assignment()) == 2 }, time.Minute, time.Millisecond)
		}
		coordinate(t, c, 1)
		time.Sleep(10 * time.Second)
		first := join(2, "printer")
		owns(first, 2)
		second := join(3, "printer")
		owns(second, 1)
		owns(first, 1)
		for _, m := range append(all, first, second) {
			require.NoError(t, m.Close())
		}
		polls.Wait()
	})
}

// A node that has just started knows of no topic until it hears of the controller. What it says of groups and
// transactions is what there is, nevertheless, and not that there is none.
func TestAdministratorsOfANodeThatHasJustStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 3, runnel.ShareGroups())
		tps := transfers(t, c, 1, 3)
		p := ofTransactions(t, c.Broker(1))
		require.NoError(t, transfer(t.Context(), p, "first", tps...))
		offsets := map[record.TopicPartition]consumer.Offset{tps[0]: {Offset: 1, LeaderEpoch: -1}}
		require.NoError(t, c.Broker(1).SetGroupOffsets(t.Context(), "readers", offsets))
		worker, err := share.New(c.Broker(1), share.Group("workers"), share.Topics(transferred))
		require.NoError(t, err)
		_, err = worker.Receive(t.Context())
		require.NoError(t, err)
		require.NoError(t, worker.Close())
		for what, check := range map[string]func(b *runnel.Broker){
			"a group's offsets": func(b *runnel.Broker) {
				found, err := b.GroupOffsets(t.Context(), "readers")
				require.NoError(t, err)
				require.Equal(t, offsets, found)
			},
			"the groups": func(b *runnel.Broker) {
				found, err := b.Groups(t.Context())
				require.NoError(t, err)
				require.Len(t, found, 1)
			},
			"what a consumer's group has committed": func(b *runnel.Broker) {
				reader, err := consumer.New(b, consumer.Group("readers"), consumer.Assign(tps...))
				require.NoError(t, err)
				found, err := reader.Committed(t.Context(), tps...)
				require.NoError(t, err)
				require.Equal(t, offsets, found)
				require.NoError(t, reader.Close())
			},
			"the transactions": func(b *runnel.Broker) {
				found, err := b.ListTransactions(t.Context())
				require.NoError(t, err)
				require.Len(t, found, 1)
			},
			"the share groups": func(b *runnel.Broker) {
				found, err := b.ShareGroups(t.Context())
				require.NoError(t, err)
				require.Len(t, found, 1)
			},
			"a transaction": func(b *runnel.Broker) {
				_, err := b.DescribeTransactions(t.Context(), "shop")
				require.NoError(t, err)
			},
			"a group that is deleted": func(b *runnel.Broker) {
				require.NoError(t, b.DeleteGroups(t.Context(), "readers"))
				require.NoError(t, c.Broker(1).SetGroupOffsets(t.Context(), "readers", offsets))
			},
		} {
			c.Crash(3)
			c.Restart(3)
			t.Log(what)
			check(c.Broker(3))
		}
		require.NoError(t, p.Close())
	})
}
