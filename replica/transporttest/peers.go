package transporttest

import (
	"io"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/replica"
)

func peersComeAndGo(f *fixture) {
	a, b := f.pair()
	c := f.unstarted(3)
	a.SetPeers(map[replica.NodeID]string{1: a.address, 2: b.address, 3: c.address})
	require.NoError(f, c.Start(3, c.handler))
	f.until(a, "node 3 is up", func() bool { return a.up[3] })
	a.mu.Lock()
	require.Empty(f, a.downs[2], "the other peer's connection stays")
	require.NotContains(f, a.up, replica.NodeID(1), "a node is no peer of itself")
	a.mu.Unlock()

	require.NoError(f, b.Close())
	f.until(a, "node 2 is down", func() bool { return !a.up[2] })
	require.False(f, a.Send(2, replica.LaneControl, &pack(1).Frame))
	require.True(f, a.Send(3, replica.LaneControl, &pack(1).Frame))
	a.mu.Lock()
	defer a.mu.Unlock()
	require.ErrorIs(f, a.downs[2][0], fault.NetworkException)
	require.True(f, a.up[3])
}

// A node crashes and comes back elsewhere, as the same node.
func peersChangeTheirAddress(f *fixture) {
	a, b := f.pair()
	again := f.start(2)
	a.SetPeers(map[replica.NodeID]string{2: again.address})
	f.until(a, "node 2 went down and is up again", func() bool { return len(a.downs[2]) == 1 && a.up[2] })
	require.NoError(f, b.Close())
	again.SetPeers(map[replica.NodeID]string{1: a.address})
	require.True(f, a.Send(2, replica.LaneBulk, &pack(21).Frame))
	f.until(again, "the frame arrives there", func() bool { return len(again.arrived) == 1 })
	f.until(again, "node 1 is up there", func() bool { return again.up[1] })
	require.True(f, again.Send(1, replica.LaneBulk, &pack(22).Frame))
	f.until(a, "the answer arrives", func() bool { return len(a.arrived) == 1 })
	a.mu.Lock()
	defer a.mu.Unlock()
	require.Len(f, a.downs[2], 1, "closing the old one does not disturb the new one")
}

func peersAreRemoved(f *fixture) {
	a, b := f.pair()
	a.SetPeers(nil)
	f.until(a, "node 2 is down", func() bool { return !a.up[2] })
	a.mu.Lock()
	require.ErrorIs(f, a.downs[2][0], fault.Closed)
	a.mu.Unlock()
	require.False(f, a.Send(2, replica.LaneControl, &pack(1).Frame))

	peers := map[replica.NodeID]string{2: b.address}
	a.SetPeers(peers)
	delete(peers, 2) // the transport keeps no reference to the map
	f.until(a, "node 2 is up again", func() bool { return a.up[2] })
	a.SetPeers(map[replica.NodeID]string{2: b.address, 7: b.address})
	require.True(f, a.Send(2, replica.LaneControl, &pack(1).Frame), "an address that did not change keeps its connection")
	f.until(b, "the frame arrives", func() bool { return len(b.arrived) == 1 })
	a.mu.Lock()
	defer a.mu.Unlock()
	require.Len(f, a.downs[2], 1)
}

func anotherNodeAtTheAddress(f *fixture) {
	a, b := f.start(1), f.start(2)
	a.SetPeers(map[replica.NodeID]string{3: b.address})
	_, err := a.Open(f.ctx, 3, 0)
	require.ErrorIs(f, err, fault.InvalidVoterKey)
	require.ErrorContains(f, err, "node 2")
	require.ErrorContains(f, err, "node 3")
	require.False(f, a.Send(3, replica.LaneControl, &pack(1).Frame))

	a.SetPeers(map[replica.NodeID]string{2: b.address})
	f.until(a, "node 2 is up", func() bool { return a.up[2] })
	a.mu.Lock()
	defer a.mu.Unlock()
	require.NotContains(f, a.up, replica.NodeID(3))
}

// The network breaks again and again, for a moment, while frames are on their way. Some
// are lost; none arrives twice, or after a later one.
func flappingNetwork(f *fixture) {
	a, b := f.pair()
	number := uint64(0)
	send := func(frames int) {
		for range frames {
			number++
			a.Send(2, replica.LaneControl, &pack(number).Frame)
			a.Send(2, replica.LaneBulk, &pack(number, make([]byte, 3000)).Frame)
		}
	}
	for range 15 {
		send(40)
		f.cluster.Cut()
		send(5)
		f.cluster.Heal()
		f.until(a, "node 2 is up", func() bool { return a.up[2] })
	}
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	reached := func() bool {
		lanes := map[replica.Lane]bool{}
		for _, arrived := range b.arrived {
			if arrived.number() > 15*45 {
				lanes[arrived.lane] = true
			}
		}
		return len(lanes) == replica.Lanes
	}
	for deadline := time.Now().Add(patience); ; <-again.C {
		send(1)
		b.mu.Lock()
		done := reached()
		b.mu.Unlock()
		if done {
			break
		}
		require.True(f, time.Now().Before(deadline), "frames arrive again")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	last := map[replica.Lane]uint64{}
	for _, arrived := range b.arrived {
		require.Greater(f, arrived.number(), last[arrived.lane], "%v", arrived.lane)
		last[arrived.lane] = arrived.number()
	}
}

// The network loses everything for a while.
func cutNetwork(f *fixture) {
	a, b := f.start(1), f.unstarted(2)
	broken := make(chan error, 1000)
	b.onStream = func(_ replica.NodeID, _ replica.StreamKind, s replica.Stream) {
		_, err := io.ReadAll(s)
		broken <- err
	}
	require.NoError(f, b.Start(2, b.handler))
	f.meet(a, b)
	s := f.onItsWay(a)

	f.cluster.Cut()
	f.until(a, "node 1 notices", func() bool { return !a.up[2] })
	f.until(b, "node 2 notices", func() bool { return !b.up[1] })
	require.False(f, a.Send(2, replica.LaneControl, &pack(1).Frame))
	_, err := s.Read(make([]byte, 1))
	require.ErrorIs(f, err, fault.NetworkException, "a stream breaks with its peer's connection")
	require.ErrorIs(f, <-broken, fault.NetworkException, "a broken stream does not look like one that ended")
	require.NoError(f, s.Close())

	f.cluster.Heal()
	f.until(a, "node 2 is up again", func() bool { return a.up[2] })
	f.until(b, "node 1 is up again", func() bool { return b.up[1] })
	f.reaches(a, b, 31)
	a.mu.Lock()
	defer a.mu.Unlock()
	require.ErrorIs(f, a.downs[2][0], fault.NetworkException)
}

// onItsWay opens a stream to node 2 and writes to it. Nodes that are to notice soon that
// the network is cut may take a slow machine for that, and then connect again.
func (f *fixture) onItsWay(a *node) replica.Stream {
	f.Helper()
	for {
		f.until(a, "node 2 is up", func() bool { return a.up[2] })
		s, err := a.Open(f.ctx, 2, 1)
		if err == nil {
			if _, err = s.Write([]byte("on its way")); err == nil {
				return s
			}
			require.NoError(f, s.Close())
		}
		require.ErrorIs(f, err, fault.NetworkException)
	}
}

// reaches sends a frame until one arrives: with such nodes, some may be lost.
func (f *fixture) reaches(a, b *node, number uint64) {
	f.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for late := time.Now().Add(patience); ; <-again.C {
		a.Send(2, replica.LaneControl, &pack(number).Frame)
		b.mu.Lock()
		arrived := slices.ContainsFunc(b.arrived, func(a arrival) bool { return a.number() == number })
		b.mu.Unlock()
		if arrived {
			return
		}
		require.True(f, time.Now().Before(late), "frames arrive again")
	}
}
