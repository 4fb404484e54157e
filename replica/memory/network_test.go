package memory_test

import (
	"encoding/binary"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/replica"
	"github.com/runnel-go/runnel/replica/memory"
)

// ear is a handler that notes the numbers of the frames that arrive, and when.
type ear struct {
	mu sync.Mutex
	story
	start time.Time
}

// story is what happened so far.
type story struct {
	heard  []uint64
	after  []time.Duration
	downs  []time.Duration
	ups    int
	causes []error
}

// so is the story so far.
func (e *ear) so() story {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.story
}

func (e *ear) HandleFrame(_ replica.NodeID, _ replica.Lane, f *replica.Frame) {
	defer f.Done()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.heard = append(e.heard, binary.BigEndian.Uint64(f.Header))
	e.after = append(e.after, time.Since(e.start))
}

func (e *ear) HandleStream(replica.NodeID, replica.StreamKind, replica.Stream) {}

func (e *ear) PeerUp(replica.NodeID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ups++
}

func (e *ear) PeerDown(_ replica.NodeID, cause error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.downs = append(e.downs, time.Since(e.start))
	e.causes = append(e.causes, cause)
}

// meet starts nodes 1 to n, connected, within a bubble.
func meet(t *testing.T, network *memory.Network, n int) (nodes []*memory.Node, ears []*ear) {
	peers := map[replica.NodeID]string{}
	for i := range n {
		node := network.Node(string(rune('a' + i)))
		nodes, ears = append(nodes, node), append(ears, &ear{start: time.Now()})
		peers[replica.NodeID(i+1)] = node.Address()
		require.NoError(t, node.Start(replica.NodeID(i+1), ears[i]))
		t.Cleanup(func() { _ = node.Close() })
	}
	for _, node := range nodes {
		node.SetPeers(peers)
	}
	synctest.Wait()
	return nodes, ears
}

func send(from *memory.Node, to replica.NodeID, number uint64) bool {
	return from.Send(to, replica.LaneBulk, &replica.Frame{Header: binary.BigEndian.AppendUint64(nil, number)})
}

// pass lets time pass within a bubble, and then everything that is due happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// numbers returns 0 to n-1.
func numbers(n uint64) (all []uint64) {
	for i := range n {
		all = append(all, i)
	}
	return all
}

// hear sends 1,000 frames over a link, and returns what arrives, and when.
func hear(t *testing.T, l memory.Link, options ...memory.Option) (heard []uint64, after []time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		nodes, ears := meet(t, memory.New(append(options, memory.Links(l))...), 2)
		for i := range uint64(1000) {
			require.True(t, send(nodes[0], 2, i))
		}
		pass(time.Minute)
		heard, after = ears[1].so().heard, ears[1].so().after
	})
	return heard, after
}

func TestDelayAndJitterKeepTheOrder(t *testing.T) {
	heard, after := hear(t, memory.Link{Delay: 5 * time.Millisecond, Jitter: 10 * time.Millisecond})
	require.Equal(t, numbers(1000), heard)
	require.GreaterOrEqual(t, after[0], 5*time.Millisecond)
	require.Less(t, after[999], 15*time.Millisecond)
	require.Greater(t, after[999], 14*time.Millisecond)
}

func TestLossTakesItsShare(t *testing.T) {
	heard, _ := hear(t, memory.Link{Loss: 0.3})
	require.InDelta(t, 700, len(heard), 50)
	require.True(t, slices.IsSorted(heard))
}

func TestDuplicatesArriveTwice(t *testing.T) {
	heard, _ := hear(t, memory.Link{Duplicate: 0.2})
	require.InDelta(t, 1200, len(heard), 50)
	slices.Sort(heard)
	require.Equal(t, numbers(1000), slices.Compact(heard))
}

func TestReorderingLosesNothing(t *testing.T) {
	heard, _ := hear(t, memory.Link{Reorder: 0.2, Delay: time.Millisecond})
	require.False(t, slices.IsSorted(heard))
	slices.Sort(heard)
	require.Equal(t, numbers(1000), heard)
}

func TestTheSeedDecides(t *testing.T) {
	bad := memory.Link{Delay: time.Millisecond, Jitter: time.Millisecond, Loss: 0.1, Duplicate: 0.1, Reorder: 0.1}
	heard, after := hear(t, bad, memory.Seed(7))
	again, afterwards := hear(t, bad, memory.Seed(7))
	require.Equal(t, heard, again)
	require.Equal(t, after, afterwards)
	other, _ := hear(t, bad, memory.Seed(8))
	require.NotEqual(t, heard, other)
}

// What happens to the frames of a link does not depend on other links.
func TestLinksDoNotDisturbEachOther(t *testing.T) {
	run := func(noise bool) (heard []uint64) {
		synctest.Test(t, func(t *testing.T) {
			nodes, ears := meet(t, memory.New(memory.Links(memory.Link{Loss: 0.5})), 3)
			for i := range uint64(200) {
				send(nodes[0], 2, i)
				if noise {
					send(nodes[0], 3, i)
					send(nodes[1], 1, i)
				}
			}
			synctest.Wait()
			heard = ears[1].so().heard
		})
		return heard
	}
	require.Equal(t, run(false), run(true))
}

func TestSetLinkIsOneDirection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memory.New()
		nodes, ears := meet(t, network, 2)
		network.SetLink(1, 2, memory.Link{Loss: 1})
		require.True(t, send(nodes[0], 2, 1))
		require.True(t, send(nodes[1], 1, 2))
		synctest.Wait()
		require.Empty(t, ears[1].so().heard)
		require.Equal(t, []uint64{2}, ears[0].so().heard)
		network.SetLinks(memory.Link{})
		require.True(t, send(nodes[0], 2, 3))
		synctest.Wait()
		require.Equal(t, []uint64{3}, ears[1].so().heard)
	})
}

// Node 1 cannot reach node 2, which reaches node 1.
func TestCutIsOneDirection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memory.New(memory.NoticeAfter(time.Second), memory.Links(memory.Link{Delay: time.Millisecond}))
		nodes, ears := meet(t, network, 2)
		require.True(t, send(nodes[0], 2, 1), "lost on its way")
		network.Cut(1, 2)
		require.True(t, send(nodes[0], 2, 2), "not yet noticed")
		require.True(t, send(nodes[1], 1, 3))
		pass(999 * time.Millisecond)
		require.Empty(t, ears[0].so().downs)
		pass(time.Second)
		require.Equal(t, []time.Duration{time.Second}, ears[0].so().downs)
		require.ErrorIs(t, ears[0].so().causes[0], fault.NetworkException)
		require.False(t, send(nodes[0], 2, 4))
		require.Empty(t, ears[1].so().downs)
		require.Empty(t, ears[1].so().heard)
		require.Equal(t, []uint64{3}, ears[0].so().heard)

		network.Heal()
		synctest.Wait()
		require.Equal(t, 2, ears[0].so().ups)
		require.True(t, send(nodes[0], 2, 5))
		pass(time.Second)
		require.Equal(t, []uint64{5}, ears[1].so().heard)
	})
}

// A cut that is healed before it is noticed loses frames and nothing else.
func TestCutThatIsNotNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memory.New(memory.NoticeAfter(time.Second))
		nodes, ears := meet(t, network, 2)
		network.Cut(1, 2)
		require.True(t, send(nodes[0], 2, 1))
		pass(time.Second / 2)
		network.Heal()
		require.True(t, send(nodes[0], 2, 2))
		pass(time.Minute)
		require.Empty(t, ears[0].so().downs)
		require.Equal(t, 1, ears[0].so().ups)
		require.Equal(t, []uint64{2}, ears[1].so().heard)
	})
}

func TestPartitionKeepsGroupsTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memory.New()
		nodes, _ := meet(t, network, 5)
		reach := func(from int, to replica.NodeID) bool {
			synctest.Wait()
			return send(nodes[from-1], to, 1)
		}
		network.Partition([]replica.NodeID{1, 2}, []replica.NodeID{3, 4})
		require.True(t, reach(1, 2))
		require.True(t, reach(4, 3))
		require.False(t, reach(2, 3))
		require.False(t, reach(3, 1))
		require.False(t, reach(5, 1), "a node in no group stands alone")
		network.Partition([]replica.NodeID{1, 5}, []replica.NodeID{2, 3, 4})
		require.True(t, reach(1, 5))
		require.False(t, reach(1, 2))
		require.True(t, reach(2, 3))
	})
}

// A node that crashes and comes back at its address is another connection: what a
// peer had sent to the old one is counted no more.
func TestRestartAtTheSameAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memory.New()
		nodes, ears := meet(t, network, 2)
		second := network.Node(nodes[1].Address())
		require.ErrorIs(t, second.Start(3, &ear{}), fault.InvalidConfig, "the address is taken")
		require.NoError(t, nodes[1].Close())
		back := &ear{}
		require.NoError(t, second.Start(2, back))
		defer second.Close()
		synctest.Wait()
		require.Len(t, ears[0].so().downs, 1)
		require.Equal(t, 2, ears[0].so().ups)
		require.True(t, send(nodes[0], 2, 9))
		synctest.Wait()
		require.Equal(t, []uint64{9}, back.so().heard)
	})
}
