package replica_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica"
)

// keyed returns a batch of one record with a key.
func keyed(t *testing.T, key, value string) []byte {
	b := record.NewBuilder(1 << 20)
	require.True(t, b.Add(time.Now().UnixMilli(), []byte(key), []byte(value), nil))
	batch, err := b.Batch(nil, record.None, 0)
	require.NoError(t, err)
	return batch.Bytes
}

// Each copy is compacted by itself. A batch that goes leaves an empty one, so a follower
// that needs what a leader has compacted gets as many batches as there were, and one
// that has not compacted yet is no other truth to raft.
func TestCompactionOfReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		first := c.leader()
		away, other := (first+1)%3, (first+2)%3
		c.crash(away)
		for n := range 20 {
			require.NoError(t, c.replica(first).Copy().AppendAwait(keyed(t, fmt.Sprint("key ", n%2), fmt.Sprint(n))))
		}
		policy := partition.CleanPolicy{Compact: true, DeleteRetention: -1, Retention: -1, RetentionBytes: -1}
		time.Sleep(time.Minute)
		did, _, err := c.replica(first).Copy().Clean(t.Context(), time.Now(), policy)
		require.NoError(t, err)
		require.Equal(t, int64(18), did.Records)
		last := c.replica(first).Status().LastIndex

		c.crash(first) // afterwards its log is read from the disk
		c.start(first)
		time.Sleep(2 * time.Second)
		if leader := c.leader(); leader != first {
			require.NoError(t, c.replica(leader).Transfer(replica.NewID(replica.NodeID(first+1), 0)))
			time.Sleep(time.Second)
		}
		require.Equal(t, first, c.leader())
		c.start(away)
		time.Sleep(2 * time.Second)
		require.NoError(t, c.replica(away).AppendAwait(keyed(t, "key 2", "20")))
		time.Sleep(2 * time.Second)
		require.Greater(t, c.replica(first).Status().LastIndex, last)
		for _, i := range []int{first, away} {
			require.Equal(t, []string{"18", "19", "20"}, values(t, c.replica(i).Copy()), "node %d", i+1)
		}
		require.Len(t, values(t, c.replica(other).Copy()), 21, "it compacts in its own time")

		// The copies agree on where each batch is, so each of them can lead the others.
		for _, to := range []int{away, other, first} {
			require.NoError(t, c.replica(c.leader()).Transfer(replica.NewID(replica.NodeID(to+1), 0)))
			time.Sleep(time.Second)
			require.Equal(t, to, c.leader())
			require.NoError(t, c.replica(to).Copy().AppendAwait(keyed(t, "key 2", fmt.Sprint("of ", to))))
		}
		time.Sleep(time.Second)
		for i := range c.nodes {
			require.Equal(t, c.replica(first).Status().LastIndex, c.replica(i).Status().LastIndex)
			require.NoError(t, c.replica(i).Status().Err)
		}
	})
}
