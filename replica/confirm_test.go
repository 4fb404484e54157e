package replica_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/replica"
)

// A leader that is cut off, and has not heard of it, confirms nothing: a majority has to
// say so.
func TestALeaderThatIsCutOffConfirmsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		first := c.leader()
		require.NoError(t, c.send(first, "a"))
		r := c.replica(first)
		epoch, leads := r.Leadership()
		require.True(t, leads)
		require.NoError(t, r.Confirm(epoch))
		require.ErrorIs(t, r.Confirm(epoch-1), fault.FencedLeaderEpoch)
		require.ErrorIs(t, c.replica((first+1)%3).Confirm(epoch), fault.NotLeader)
		c.network.Partition([]replica.NodeID{replica.NodeID(first + 1)})
		began := time.Now()
		require.ErrorIs(t, r.Confirm(epoch), fault.NotLeader)
		require.Less(t, time.Since(began), 5*time.Second)
		c.network.Heal()
		require.NoError(t, c.send(c.leader(), "b"))
		require.NoError(t, r.Close())
		require.ErrorIs(t, r.Confirm(epoch), fault.Closed)
	})
}
