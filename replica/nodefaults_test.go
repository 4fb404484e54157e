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
	"github.com/runnel-go/runnel/replica"
	"github.com/runnel-go/runnel/replica/memory"
)

// A leader that is closed hands over first: the next one needs no election timeout.
func TestCloseHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		first := c.leader()
		require.NoError(t, c.send(first, "a"))
		began := time.Now()
		require.NoError(t, c.nodes[first].Close())
		c.nodes[first] = nil
		second := c.leader()
		require.Less(t, time.Since(began), 150*time.Millisecond)
		require.NoError(t, c.send(second, "b"))
		require.Equal(t, []string{"a", "b"}, values(t, c.replica(second).Copy()))
	})
}

// A transfer fails no append: those that are under way while it lasts are committed, or
// say that their outcome is unknown, and the leader that keeps its place goes on.
func TestTransferToANodeThatIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		first := c.leader()
		require.NoError(t, c.send(first, "a"))
		other := (first + 1) % 3
		c.network.Cut(replica.NodeID(first+1), replica.NodeID(other+1))
		require.NoError(t, c.replica(first).Transfer(replica.NewID(replica.NodeID(other+1), 0)))
		for n := 0; ; n++ {
			require.Less(t, n, 100, "the leader takes appends again once the transfer has failed")
			err := c.send(c.leader(), fmt.Sprint(n))
			if err == nil {
				break
			}
			require.True(t, errors.Is(err, fault.NotLeader) || errors.Is(err, fault.UnknownOutcome), "%v", err)
			time.Sleep(20 * time.Millisecond)
		}
	})
}

// While nodes crash, are cut off and hand over, and the network loses, doubles and
// reorders frames, every acknowledged record stays, once, and all replicas agree.
func TestNodesUnderFaults(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { underFaults(t, seed) })
		})
	}
}

func underFaults(t *testing.T, seed uint64) {
	c := newThreeOn(t, memory.New(memory.Seed(seed), memory.Links(memory.Link{
		Delay: time.Millisecond, Jitter: 20 * time.Millisecond, Loss: 0.02, Duplicate: 0.02, Reorder: 0.02,
	})))
	rng := rand.New(rand.NewPCG(seed, 7))
	w := &writers{c: c, mu: make(chan struct{}, 1), acked: map[string]bool{}, tried: map[string]bool{}, stop: make(chan struct{})}
	var running sync.WaitGroup
	for n := range 4 {
		running.Go(func() { w.write(n) })
	}
	for range 12 {
		time.Sleep(time.Duration(rng.IntN(1500)) * time.Millisecond)
		victim := rng.IntN(3)
		switch rng.IntN(4) {
		case 0:
			w.mu <- struct{}{}
			c.crash(victim)
			<-w.mu
			time.Sleep(time.Duration(rng.IntN(2000)) * time.Millisecond)
			w.mu <- struct{}{}
			c.start(victim)
			<-w.mu
		case 1:
			c.network.Partition([]replica.NodeID{replica.NodeID(victim + 1)}, []replica.NodeID{replica.NodeID((victim+1)%3 + 1), replica.NodeID((victim+2)%3 + 1)})
			time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
			c.network.Heal()
		case 2:
			c.network.Cut(replica.NodeID(victim+1), replica.NodeID((victim+1)%3+1))
			time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
			c.network.Heal()
		case 3:
			_ = c.replica(victim).Transfer(replica.NewID(replica.NodeID((victim+1)%3+1), 0))
		}
	}
	close(w.stop)
	running.Wait()
	c.network.SetLinks(memory.Link{})
	for n := 0; ; n++ { // a transfer may be under way
		last := fmt.Sprint("last-", n)
		w.tried[last] = true
		if c.send(c.leader(), last) == nil {
			w.acked[last] = true
			break
		}
		require.Less(t, n, 100)
	}
	time.Sleep(3 * time.Second)
	synctest.Wait()

	first := values(t, c.replica(0).Copy())
	for i := range c.nodes {
		require.Equal(t, first, values(t, c.replica(i).Copy()), "node %d", i+1)
	}
	seen := map[string]int{}
	for _, v := range first {
		seen[v]++
	}
	require.Greater(t, len(w.acked), 100, "writing went on")
	for v := range w.acked {
		require.Equal(t, 1, seen[v], "acknowledged %s", v)
	}
	for v, n := range seen {
		require.Equal(t, 1, n, v)
		require.True(t, w.tried[v], v)
	}
}

// writers send values that are all different, to whichever node leads.
type writers struct {
	c    *three
	stop chan struct{}

	mu    chan struct{} // holds a token; a mutex would keep virtual time from passing. Also of c's nodes
	acked map[string]bool
	tried map[string]bool
}

func (w *writers) write(number int) {
	for n := 0; ; n++ {
		select {
		case <-w.stop:
			return
		case <-time.After(20 * time.Millisecond):
		}
		value := fmt.Sprint(number, "-", n)
		w.mu <- struct{}{}
		var leader *replica.Replica
		for i, node := range w.c.nodes {
			if node != nil && w.c.replica(i).Copy().Leads() {
				leader = w.c.replica(i)
			}
		}
		w.tried[value] = true
		<-w.mu
		if leader == nil {
			continue
		}
		if err := leader.Copy().AppendAwait(one(w.c.t, value)); err == nil {
			w.mu <- struct{}{}
			w.acked[value] = true
			<-w.mu
		}
	}
}

// A leader may be asked to hand over right behind the message that ends its leadership.
func TestTransferOfALeaderThatLeadsNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		leader := c.leader()
		r, next := c.replica(leader), c.replica((leader+1)%3).ID()
		refused := make(chan error, 1)
		r.Do(func(core *replica.Core) {
			_ = core.Step(replica.Message{Kind: replica.KindHeartbeat, From: next, To: r.ID(), Term: uint64(core.Status().Epoch) + 1})
			refused <- core.Transfer(next)
		})
		require.ErrorIs(t, <-refused, fault.NotLeader)
		time.Sleep(3 * time.Second)
		require.NoError(t, r.Status().Err)
		require.NoError(t, c.send(c.leader(), "a"))
	})
}
