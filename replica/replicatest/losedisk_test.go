package replicatest_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica/replicatest"
	"github.com/runnel-go/runnel/topic"
)

// A node comes back with an empty disk while writing goes on. It learns from the others
// under a new identity, in the place of the replicas that it had. Then another node dies,
// for good, and a third one for a while: what was acknowledged is on the new disk.
func TestLoseDisk(t *testing.T) {
	for _, which := range []string{"a follower", "the leader", "a node that was stopped"} {
		t.Run(which, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := replicatest.Cluster(t, 3)
				create(t, c, "orders")
				c.MoveLeader(orders, 1)
				p, err := producer.New(c.Broker(1))
				require.NoError(t, err)
				sent := 0
				write := func(n int) {
					for range n {
						sent++
						_, err := p.Send(t.Context(), record.Record{Topic: "orders", Value: fmt.Append(nil, sent)})
						require.NoError(t, err)
					}
				}
				write(20)
				lost := 3
				switch which {
				case "the leader":
					c.MoveLeader(orders, lost)
				case "a node that was stopped":
					c.Stop(lost)
				}
				c.LoseDisk(lost)
				write(20)
				awaitDescribed(t, c, "its node is out of sync", func(p topic.PartitionDescription) bool { return p.Leader > 0 && len(p.ISR) == 2 })
				c.Restart(lost)
				write(20)
				awaitDescribed(t, c, "all are in sync, with the new disk", func(p topic.PartitionDescription) bool { return len(p.ISR) == 3 })
				write(20)
				require.NoError(t, p.Close())

				c.LoseDisk(2)
				c.AwaitLeader(orders)
				p, err = producer.New(c.Broker(3))
				require.NoError(t, err)
				write(20)
				require.NoError(t, p.Close())
				c.Crash(1)
				c.Restart(1)
				require.Eventually(t, func() bool {
					d, err := c.Broker(1).DescribeTopics(t.Context(), "orders")
					return err == nil && len(d[0].Partitions[0].ISR) == 2
				}, time.Minute, 50*time.Millisecond)
				want := make([]string, sent)
				for i := range want {
					want[i] = fmt.Sprint(i + 1)
				}
				for _, id := range c.Running() {
					require.Equal(t, want, read(t, c.Broker(id), sent), "node %d", id)
				}
			})
		})
	}
}
