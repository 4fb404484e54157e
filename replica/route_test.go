package replica_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica"
	"github.com/runnel-go/runnel/replica/memory"
)

// Every node takes appends, whoever leads.
func TestAppendOnAnyNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		for i := range c.nodes { // also before there is a leader
			require.NoError(t, c.replica(i).AppendAwait(one(t, fmt.Sprint(i))))
		}
		leader := c.leader()
		require.Equal(t, []string{"0", "1", "2"}, values(t, c.replica(leader).Copy()))
	})
}

// A batch that the leader refuses is refused on the node that sent it, with the reason.
func TestRefusalOfAnotherNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		follower := (c.leader() + 1) % 3
		require.NoError(t, c.replica(follower).AppendAwait(sequenced(t, "a", 7, 0)))
		err := c.replica(follower).AppendAwait(sequenced(t, "c", 7, 2))
		require.ErrorIs(t, err, fault.OutOfOrderSequence)
		require.ErrorContains(t, err, "sequence")
		require.NoError(t, c.replica(follower).AppendAwait(sequenced(t, "b", 7, 1)))
	})
}

// An append on a node that is cut off ends when the node is closed.
func TestAppendsEndWithTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		alone := (c.leader() + 1) % 3
		c.network.Partition([]replica.NodeID{replica.NodeID(alone + 1)}, []replica.NodeID{replica.NodeID((alone+1)%3 + 1), replica.NodeID((alone+2)%3 + 1)})
		outcome := make(chan error, 1)
		go func() { outcome <- c.replica(alone).AppendAwait(one(t, "a")) }()
		time.Sleep(3 * time.Second)
		select {
		case err := <-outcome:
			require.ErrorIs(t, err, fault.UnknownOutcome)
			return
		default:
		}
		require.NoError(t, c.nodes[alone].Close())
		c.nodes[alone] = nil
		err := <-outcome
		require.True(t, errors.Is(err, fault.Closed) || errors.Is(err, fault.UnknownOutcome), "%v", err)
	})
}

// Idempotent producers on every node lose nothing, double nothing and keep their order
// while leaders crash, are cut off and hand over.
func TestIdempotentProducersUnderFaults(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { producersUnderFaults(t, seed) })
		})
	}
}

func producersUnderFaults(t *testing.T, seed uint64) {
	c := newThreeOn(t, memory.New(memory.Seed(seed), memory.Links(memory.Link{
		Delay: time.Millisecond, Jitter: 10 * time.Millisecond, Loss: 0.02, Duplicate: 0.02, Reorder: 0.02,
	})))
	rng := rand.New(rand.NewPCG(seed, 9))
	stop := make(chan struct{})
	var running sync.WaitGroup
	var sent [3]int
	for i := range c.nodes {
		r := c.replica(i)
		running.Go(func() {
			var flight []chan error
			for {
				select {
				case <-stop:
					for _, o := range flight {
						require.NoError(t, <-o)
					}
					return
				case <-time.After(5 * time.Millisecond):
				}
				o := make(awaited, 1)
				r.Append(sequenced(t, fmt.Sprint(i, "-", sent[i]), int64(100+i), int32(sent[i])), nil, o)
				sent[i]++
				flight = append(flight, o)
			}
		})
	}
	for range 10 {
		time.Sleep(time.Duration(rng.IntN(1500)) * time.Millisecond)
		leader := c.leader()
		switch rng.IntN(3) {
		case 0:
			_ = c.replica(leader).Transfer(replica.NewID(replica.NodeID((leader+1)%3+1), 0))
		case 1:
			c.network.Partition([]replica.NodeID{replica.NodeID(leader + 1)}, []replica.NodeID{replica.NodeID((leader+1)%3 + 1), replica.NodeID((leader+2)%3 + 1)})
			time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
			c.network.Heal()
		case 2:
			c.network.Cut(replica.NodeID(leader+1), replica.NodeID((leader+1)%3+1))
			time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
			c.network.Heal()
		}
	}
	close(stop)
	running.Wait()
	c.network.SetLinks(memory.Link{})
	time.Sleep(3 * time.Second) // a new leader learns what is committed
	next := [3]int{}
	for _, v := range values(t, c.replica(c.leader()).Copy()) {
		var producer, number int
		_, err := fmt.Sscanf(v, "%d-%d", &producer, &number)
		require.NoError(t, err)
		require.Equal(t, next[producer], number, "the next one of producer %d", producer)
		next[producer]++
	}
	require.Equal(t, sent, next)
	require.Greater(t, sent[0], 500)
}

// awaited is a Completion that one goroutine waits for.
type awaited chan error

func (a awaited) Appended(_ int64, err error) { a <- err }

// sequenced returns a batch of one record of an idempotent producer.
func sequenced(t *testing.T, value string, producer int64, sequence int32) []byte {
	b := one(t, value)
	h, err := record.ParseHeader(b)
	require.NoError(t, err)
	h.ProducerID, h.ProducerEpoch, h.BaseSequence = producer, 0, sequence
	return record.Seal(b, h).Bytes
}
