package replica_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
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

		start, err := c.replica(first).DeleteRecords(-1)
		require.NoError(t, err)
		require.Equal(t, c.replica(first).Copy().HighWatermark(), start)
	})
}
