package replicatest_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica/memory"
	"github.com/runnel-go/runnel/replica/replicatest"
	"github.com/runnel-go/runnel/topic"
)

// The catalogue's leader hands over again and again, also with a command in its log that
// nobody else has: each command of any node takes effect once.
func TestCommandsWhileTheControllerMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 3)
		c.Network().SetLinks(memory.Link{Delay: time.Millisecond, Jitter: 5 * time.Millisecond})
		stop := c.MoveLeaders(15*time.Millisecond, func(tp record.TopicPartition) bool { return tp.Topic == topic.ClusterMetadata })
		var asking sync.WaitGroup
		for _, id := range c.Running() {
			asking.Go(func() {
				b := c.Broker(id)
				for i := range 6 {
					name := fmt.Sprint("t", id, "-", i)
					if err := b.CreateTopics(t.Context(), topic.Spec{Name: name}); err != nil {
						t.Errorf("creating %s: %v", name, err)
						return
					}
					if err := b.AddPartitions(t.Context(), name, 2); err != nil {
						t.Errorf("adding to %s: %v", name, err)
					}
					cfg := topic.Config{Retention: time.Duration(i+1) * time.Hour}
					if err := b.ConfigureTopic(t.Context(), name, cfg); err != nil {
						t.Errorf("configuring %s: %v", name, err)
					}
					d, err := b.DescribeTopics(t.Context(), name)
					if err != nil || len(d[0].Partitions) != 2 || d[0].Config != cfg {
						t.Errorf("%s is %+v: %v", name, d, err)
					}
					if i%2 == 0 {
						if err := b.DeleteTopics(t.Context(), name); err != nil {
							t.Errorf("deleting %s: %v", name, err)
						}
					}
				}
			})
		}
		asking.Wait()
		require.Greater(t, stop(), 20)
		names, err := c.Broker(1).Topics(t.Context())
		require.NoError(t, err)
		require.Len(t, names, 3*3)
	})
}
