package replica_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica"
)

// severalIn returns one batch of several records.
func severalIn(t *testing.T, values ...string) []byte {
	b := record.NewBuilder(1 << 20)
	for _, v := range values {
		require.True(t, b.Add(time.Now().UnixMilli(), nil, []byte(v), nil))
	}
	batch, err := b.Batch(nil, record.None, 0)
	require.NoError(t, err)
	return batch.Bytes
}

// Records are deleted before the very offset that was asked for, within a batch, too. That
// outlives a crash, and a follower that was away still gets the log, which begins for it
// with the whole batch.
func TestDeleteRecordsWithinABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		first := c.leader()
		away := (first + 1) % 3
		require.NoError(t, c.send(first, "a"))
		c.crash(away)
		for n := range 3 { // offsets 2 to 4, 5 to 7, 8 to 10
			require.NoError(t, c.replica(first).Copy().AppendAwait(severalIn(t, fmt.Sprint(n, "x"), fmt.Sprint(n, "y"), fmt.Sprint(n, "z"))))
		}
		for _, before := range []int64{6, 7, 7} {
			start, err := c.replica(first).DeleteRecords(before)
			require.NoError(t, err)
			require.Equal(t, before, start)
			require.Equal(t, before, c.replica(first).Copy().StartOffset())
		}
		whole := []string{"1x", "1y", "1z", "2x", "2y", "2z"}
		check := func(i int) {
			p := c.replica(i).Copy()
			require.Equal(t, int64(7), p.StartOffset())
			require.Equal(t, whole, values(t, p), "a batch is kept as a whole")
			_, err := p.Read(6, 1<<20, nil)
			require.ErrorIs(t, err, fault.OffsetOutOfRange)
		}
		check(first)

		c.crash(first)
		c.start(first) // now the batches are on its disk, and not in memory
		leader := c.leader()
		check(first)
		if leader != first {
			require.NoError(t, c.replica(leader).Transfer(replica.NewID(replica.NodeID(first+1), 0)))
			time.Sleep(time.Second)
		}
		require.Equal(t, first, c.leader())
		c.start(away)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.Equal(t, whole, values(t, c.replica(away).Copy()))

		require.Equal(t, int64(7), c.replica(away).Copy().StartOffset(), "it follows the leader, within the batch")

		start, err := c.replica(away).DeleteRecords(-1)
		require.NoError(t, err)
		time.Sleep(time.Second)
		for i := range c.nodes {
			require.Equal(t, start, c.replica(i).Copy().StartOffset(), "node %d", i+1)
			require.Equal(t, start, c.replica(i).Copy().HighWatermark(), "also the record that says so")
		}
	})
}

// The log begins later on every node, whichever was asked, and stays there: also for a
// leader that missed the deletion when it was made, and after all have lost their power.
func TestDeletedRecordsStayDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		first := c.leader()
		for _, v := range []string{"a", "b", "c", "d"} {
			require.NoError(t, c.send(first, v))
		}
		time.Sleep(time.Second)
		away := (first + 1) % 3
		c.transports[away].Close() // it hears nothing of it
		start, err := c.replica((first + 2) % 3).DeleteRecords(3)
		require.NoError(t, err)
		require.Equal(t, int64(3), start)
		again, err := c.replica(first).DeleteRecords(2)
		require.NoError(t, err)
		require.Equal(t, int64(3), again, "it never goes back")
		_, err = c.replica((first + 2) % 3).DeleteRecords(100)
		require.ErrorIs(t, err, fault.OffsetOutOfRange)
		require.ErrorContains(t, err, "orders-0")

		for i := range c.nodes {
			c.crash(i)
		}
		c.start(away)
		c.start(first)
		c.leader()
		time.Sleep(time.Second)
		require.NoError(t, c.replica(first).Transfer(replica.NewID(replica.NodeID(away+1), 0)), "node %d leads, which has all of the log", first+1)
		time.Sleep(time.Second)
		require.Equal(t, away, c.leader())
		require.Equal(t, int64(3), c.replica(away).Copy().StartOffset())
		require.Equal(t, []string{"c", "d"}, values(t, c.replica(away).Copy()))
	})
}

// Retention is the leader's. The others follow, and an idle group does not grow by it.
func TestRetentionOfAGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		leader := c.leader()
		for range 3 {
			require.NoError(t, c.send(leader, "old"))
		}
		time.Sleep(time.Hour)
		policy := partition.CleanPolicy{Delete: true, Retention: time.Minute, RetentionBytes: -1}
		follower := c.replica((leader + 1) % 3).Copy()
		_, _, err := follower.Clean(t.Context(), time.Now(), policy)
		require.NoError(t, err)
		time.Sleep(time.Second)
		require.Zero(t, follower.StartOffset(), "a follower does not decide")

		for range 3 { // in an empty log there is nothing to do
			_, _, err = c.replica(leader).Copy().Clean(t.Context(), time.Now(), policy)
			require.NoError(t, err)
			time.Sleep(time.Hour)
		}
		require.Equal(t, leader, c.leader())
		for i := range c.nodes {
			p := c.replica(i).Copy()
			require.Equal(t, int64(5), p.StartOffset(), "the epoch's first record, three of ours, and the one that deletes them")
			require.Equal(t, int64(5), p.HighWatermark())
		}
		require.NoError(t, c.send(leader, "new"))
		require.Equal(t, []string{"new"}, values(t, c.replica(leader).Copy()))
	})
}
