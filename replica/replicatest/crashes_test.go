package replicatest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica/memory"
	"github.com/runnel-go/runnel/replica/replicatest"
	"github.com/runnel-go/runnel/topic"
)

// Idempotent sends, several in flight, end with their records stored while leaders crash,
// start again and crash again at once: on a node that follows, over a slow network that loses
// frames, and on a node without a copy.
func TestSendsEndWhileLeadersCrashAgainAndAgain(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { sendThroughCrashes(t, seed) })
		})
	}
}

func sendThroughCrashes(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 3))
	c := replicatest.Cluster(t, []int{3, 3, 5}[seed])
	if seed > 0 {
		c.Network().SetLinks(memory.Link{Delay: time.Millisecond, Jitter: 5 * time.Millisecond, Loss: 0.01})
	}
	orders := record.TopicPartition{Topic: "orders"}
	b := c.Broker(2)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: orders.Topic}))
	p, err := producer.New(b)
	require.NoError(t, err)
	defer p.Close()
	ctx, over := context.WithCancel(t.Context())
	var sending sync.WaitGroup
	for i := range 8 {
		sending.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				began := time.Now()
				if _, err := p.Send(t.Context(), record.Record{Topic: orders.Topic, Value: []byte(fmt.Sprint(i, "-", n))}); err != nil {
					t.Errorf("after %v: %v", time.Since(began), err)
				}
				time.Sleep(time.Duration(5+i) * time.Millisecond)
			}
		})
	}
	for range 8 {
		id := c.AwaitLeader(orders)
		if id == 2 { // where the program runs
			d, err := b.DescribeTopics(t.Context(), orders.Topic)
			require.NoError(t, err)
			for _, r := range d[0].Partitions[0].Replicas {
				if r != 2 {
					id = int(r)
				}
			}
			c.MoveLeader(orders, id)
		}
		time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
		c.Crash(id)
		time.Sleep(time.Duration(rng.IntN(2)*rng.IntN(400)) * time.Millisecond)
		c.Restart(id)
		time.Sleep(time.Duration(rng.IntN(2)*rng.IntN(400)) * time.Millisecond)
		c.Crash(id)
		time.Sleep(time.Duration(rng.IntN(2)*rng.IntN(3000)) * time.Millisecond)
		c.Restart(id)
	}
	over()
	sending.Wait()
}
