package replica_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/replica"
)

// The latest offset is behind what was acknowledged a moment before, on every node: also
// where that is not known yet to be committed. A node that is cut off does not know it.
func TestLatestOnAnyNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		leader := c.leader()
		for n := range 10 {
			require.NoError(t, c.send(leader, "a"))
			for i := range c.nodes {
				latest, err := c.replica((leader + 1 + i) % 3).Latest(t.Context())
				require.NoError(t, err)
				require.Equal(t, int64(n+2), latest)
			}
		}
		alone := replica.NodeID(leader + 1)
		c.network.Partition([]replica.NodeID{alone}, []replica.NodeID{alone%3 + 1, (alone+1)%3 + 1})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := c.replica(leader).Latest(ctx)
		require.ErrorIs(t, err, fault.LeaderNotAvailable)
		require.ErrorIs(t, err, fault.NotLeader)
		require.NoError(t, c.replica(int(alone)%3).AppendAwait(one(t, "b")))

		c.network.Heal()
		latest, err := c.replica(leader).Latest(t.Context())
		require.NoError(t, err)
		require.Equal(t, int64(13), latest, "with the record that begins the next epoch")
	})
}
