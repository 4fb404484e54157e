package replicatest_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica/memory"
	"github.com/runnel-go/runnel/replica/replicatest"
	"github.com/runnel-go/runnel/topic"
)

// Coordinators of groups move again and again, also with a commit in their log that nobody
// else has: what administrators and members ask for takes effect, the commit of a consumer
// that closes, too.
func TestGroupsWhileTheirCoordinatorsMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 3)
		orders := record.TopicPartition{Topic: "orders"}
		require.NoError(t, c.Broker(1).CreateTopics(t.Context(), topic.Spec{Name: orders.Topic}))
		p, err := producer.New(c.Broker(1))
		require.NoError(t, err)
		for range 3 {
			_, err := p.Send(t.Context(), record.Record{Topic: orders.Topic})
			require.NoError(t, err)
		}
		require.NoError(t, p.Close())
		c.Network().SetLinks(memory.Link{Delay: time.Millisecond, Jitter: 5 * time.Millisecond})
		stop := c.MoveLeaders(100*time.Millisecond, func(tp record.TopicPartition) bool { return tp.Topic == topic.ConsumerOffsets })
		var asking sync.WaitGroup
		for _, id := range c.Running() {
			asking.Go(func() {
				b := c.Broker(id)
				for i := range 6 {
					group := fmt.Sprint("g", id, "-", i)
					for _, offset := range []int64{5, 1} {
						if err := b.SetGroupOffsets(t.Context(), group, map[record.TopicPartition]consumer.Offset{orders: {Offset: offset, LeaderEpoch: -1}}); err != nil {
							t.Errorf("setting offsets of %s: %v", group, err)
						}
					}
					var m *consumer.Consumer
					var err error
					at := func(offset int64) map[record.TopicPartition]consumer.Offset {
						return map[record.TopicPartition]consumer.Offset{orders: {Offset: offset, LeaderEpoch: -1}}
					}
					m, err = consumer.New(b, consumer.Group(group), consumer.Topics(orders.Topic), consumer.ManualCommit(), consumer.OnRevoked(func([]record.TopicPartition) {
						if err := m.CommitOffsets(t.Context(), at(3)); err != nil {
							t.Errorf("committing at the end of a member of %s: %v", group, err)
						}
					}))
					if err != nil {
						t.Errorf("joining %s: %v", group, err)
						return
					}
					if _, err := m.Poll(t.Context()); err != nil {
						t.Errorf("a member of %s: %v", group, err)
					}
					if err := m.Close(); err != nil {
						t.Errorf("closing a member of %s: %v", group, err)
					}
					if committed, err := b.GroupOffsets(t.Context(), group); err != nil || committed[orders].Offset != 3 {
						t.Errorf("%s: %v, %v", group, committed, err)
					}
					if err := b.DeleteGroupOffsets(t.Context(), group, orders); err != nil {
						t.Errorf("deleting offsets of %s: %v", group, err)
					}
					if err := b.SetGroupOffsets(t.Context(), group, at(1)); err != nil {
						t.Errorf("setting offsets of %s again: %v", group, err)
					}
					if err := b.DeleteGroups(t.Context(), group); err != nil {
						t.Errorf("deleting %s: %v", group, err)
					}
				}
			})
		}
		asking.Wait()
		require.Greater(t, stop(), 20)
	})
}
