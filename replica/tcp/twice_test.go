package tcp_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/replica"
	"github.com/runnel-go/runnel/replica/tcp"
)

// Of two processes with one number, the one that is connected stays, and both sides say that
// there is another one. When it ends, the other one takes its place.
func TestTwoProcessesThatAreOneNode(t *testing.T) {
	atA := make(lines, 1000)
	a, _ := start(t, "orders", 1, tcp.Plaintext(), tcp.Logger(atA))
	first, atFirst := start(t, "orders", 2, tcp.Plaintext())
	first.SetPeers(map[replica.NodeID]string{1: a.Addr()})
	<-atFirst.up

	atSecond := make(lines, 1000)
	second, earOfSecond := start(t, "orders", 2, tcp.Plaintext(), tcp.Logger(atSecond))
	second.SetPeers(map[replica.NodeID]string{1: a.Addr()})
	for _, log := range []lines{atA, atSecond} {
		require.Contains(t, <-log, "two processes say that they are node 2")
	}
	_, err := second.Open(soon(t), 1, 1)
	require.ErrorIs(t, err, fault.DuplicateBroker)
	require.True(t, first.Send(1, replica.LaneControl, &replica.Frame{}), "the first one is not disturbed")
	require.Empty(t, atFirst.down)

	require.NoError(t, first.Close())
	require.Equal(t, replica.NodeID(1), <-earOfSecond.up)
}

// A process whose machine is gone, which no one was told of, keeps its successor out for a few timeouts, and not longer.
func TestASilentProcessIsReplaced(t *testing.T) {
	wires := newWires()
	t.Cleanup(wires.end)
	hasty := tcp.KeepAlive(50*time.Millisecond, 200*time.Millisecond)
	a, _ := start(t, "orders", 1, hasty, tcp.Plaintext())
	first, atFirst := start(t, "orders", 2, hasty, tcp.Plaintext())
	first.SetPeers(map[replica.NodeID]string{1: wires.proxy(t, a.Addr()).Addr().String()})
	<-atFirst.up
	wires.Cut()

	second, atSecond := start(t, "orders", 2, hasty, tcp.Plaintext())
	second.SetPeers(map[replica.NodeID]string{1: a.Addr()})
	require.Equal(t, replica.NodeID(1), <-atSecond.up)
}
