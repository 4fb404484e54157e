package replicatest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica/replicatest"
	"github.com/runnel-go/runnel/topic"
)

// With min.insync.replicas above a majority, nothing is acknowledged that fewer have, on
// whichever node it is sent. While too few are in sync, nothing is written.
func TestMinReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 4)
		require.NoError(t, c.Broker(1).CreateTopics(t.Context(), topic.Spec{
			Name: "orders", Partitions: 1, Replicas: 3, Config: topic.Config{MinReplicas: 3},
		}))
		d, err := c.Broker(1).DescribeTopics(t.Context(), "orders")
		require.NoError(t, err)
		at := d[0].Partitions[0].Replicas
		without := 10 - int(at[0]+at[1]+at[2])
		require.Eventually(t, func() bool {
			_, err := c.Broker(without).DescribeTopics(t.Context(), "orders")
			return err == nil
		}, time.Minute, 10*time.Millisecond)
		send := func(b *runnel.Broker) func(value string) chan error {
			p, err := producer.New(b)
			require.NoError(t, err)
			return func(value string) chan error {
				done := make(chan error, 1)
				go func() {
					_, err := p.Send(t.Context(), record.Record{Topic: "orders", Value: []byte(value)})
					_ = p.Close()
					done <- err
				}()
				return done
			}
		}
		outcome := func(b *runnel.Broker, value string) chan error { return send(b)(value) }
		leader := c.AwaitLeader(orders)
		require.NoError(t, <-outcome(c.Broker(leader), "a"))
		require.NoError(t, <-outcome(c.Broker(without), "b"))

		follower := int(at[0])
		if follower == leader {
			follower = int(at[1])
		}
		sendC := send(c.Broker(without))
		resume := c.Pause(follower) // which no one notices at once, so that it still counts as in sync
		waits := sendC("c")
		time.Sleep(5 * time.Second)
		require.Empty(t, waits, "a majority has it, and three are demanded")
		d, err = c.Broker(leader).DescribeTopics(t.Context(), "orders")
		require.NoError(t, err)
		require.Equal(t, int64(4), d[0].Partitions[0].HighWatermark, "it is committed all the same")
		resume()
		require.NoError(t, <-waits)

		c.Crash(follower)
		time.Sleep(30 * time.Second)
		began := time.Now()
		err = <-outcome(c.Broker(leader), "refused")
		require.ErrorIs(t, err, fault.NotEnoughReplicas)
		require.ErrorContains(t, err, "2 replicas are in sync, and min.insync.replicas is 3")
		require.Less(t, time.Since(began), 3*time.Minute)
		c.Restart(follower)
		require.NoError(t, <-outcome(c.Broker(without), "d"))
		require.Equal(t, []string{"a", "b", "c", "d"}, read(t, c.Broker(without), 4))
	})
}
