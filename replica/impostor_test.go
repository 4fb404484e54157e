package replica_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/replica"
)

// A node that is sent another one's message takes no notice of it: a leader is not deposed
// by a stranger who knows a later term.
func TestANodeSpeaksForItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		leader := c.leader()
		epoch := c.replica(leader).Status().Epoch
		other := replica.NodeID((leader+1)%3 + 1)
		m := replica.Message{Kind: replica.KindAppend, From: replica.NewID(other, 0), To: replica.NewID(replica.NodeID(leader+1), 0), Term: uint64(epoch) + 5}
		header := append([]byte{1, 0, 1}, orders.Topic[:]...)
		body := m.AppendHeader(nil)
		header = append(header, 0, 0, 0, 0, byte(len(body)>>8), byte(len(body)), 0, 0, 0, 0)
		send := func(from replica.NodeID) {
			c.nodes[leader].HandleFrame(from, replica.LaneBulk, &replica.Frame{Header: append(header[:len(header):len(header)], body...)})
			synctest.Wait()
		}
		send(7)
		require.True(t, c.replica(leader).Copy().Leads())
		send(other)
		require.False(t, c.replica(leader).Copy().Leads(), "it was a message that counts")
	})
}
