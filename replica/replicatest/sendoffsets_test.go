package replicatest_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica/memory"
	"github.com/runnel-go/runnel/replica/replicatest"
)

// The coordinators of a group and of transactions die, at random moments, while offsets are sent, committed
// and aborted from another node. Each of these calls succeeds, since the next coordinators go on, and every node
// says what was committed, and nothing of what was aborted.
func TestSendOffsetsWhileCoordinatorsDie(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { sendOffsetsWhileTheyDie(t, rand.New(rand.NewPCG(seed, 7))) })
		})
	}
}

func sendOffsetsWhileTheyDie(t *testing.T, draw *rand.Rand) {
	const home, rounds = 3, 12
	c := replicatest.Cluster(t, []int{3, 5}[draw.IntN(2)])
	tp := transfers(t, c, 1, 3)[0]
	require.NoError(t, c.Broker(home).SetGroupOffsets(t.Context(), "readers", map[record.TopicPartition]consumer.Offset{tp: {}}))
	p := ofTransactions(t, c.Broker(home))
	c.Network().SetLinks(memory.Link{Delay: time.Millisecond, Jitter: 2 * time.Millisecond})
	coordinating := append(offsetsPartitions(t, c), stateOf(t, c)...)
	group := consumer.GroupMetadata{Group: "readers", MemberEpoch: -1}
	committed := int64(0)
	for round := range int64(rounds) {
		victim := c.AwaitLeader(coordinating[draw.IntN(len(coordinating))])
		if victim == home { // where the program is
			victim = home%len(c.Running()) + 1
		}
		commit := draw.IntN(3) > 0
		done := make(chan error, 1)
		go func() {
			done <- func() error {
				if err := p.Begin(t.Context()); err != nil {
					return fmt.Errorf("begin: %w", err)
				}
				if _, err := p.Send(t.Context(), record.Record{Topic: tp.Topic, Value: []byte("of a transaction")}); err != nil {
					return fmt.Errorf("send: %w", err)
				}
				offsets := map[record.TopicPartition]consumer.Offset{tp: {Offset: round + 1, LeaderEpoch: -1}}
				if err := p.SendOffsets(t.Context(), group, offsets); err != nil {
					return fmt.Errorf("send offsets: %w", err)
				}
				if commit {
					return p.Commit(t.Context())
				}
				return p.Abort(t.Context())
			}()
		}()
		time.Sleep(time.Duration(draw.IntN(25_000)) * time.Microsecond)
		c.Crash(victim)
		require.NoError(t, <-done, "round %d", round)
		if commit {
			committed = round + 1
		}
		c.Restart(victim)
		for _, id := range c.Running() {
			offsets, err := c.Broker(id).GroupOffsets(t.Context(), group.Group)
			require.NoError(t, err)
			require.Equal(t, committed, offsets[tp].Offset, "node %d, round %d", id, round)
		}
	}
	require.NoError(t, p.Close())
}
