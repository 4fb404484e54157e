package partition_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
)

// inTransaction encodes values as one batch of a producer's transaction.
func inTransaction(id int64, epoch int16, sequence int32, values ...string) []byte {
	b := batchOf(values...)
	h, err := record.ParseHeader(b)
	if err != nil {
		panic(err)
	}
	h.Attributes |= record.AttrTransactional
	h.ProducerID, h.ProducerEpoch, h.BaseSequence = id, epoch, sequence
	return record.Seal(b, h).Bytes
}

func appendBatch(p *partition.Partition, b []byte) (int64, error) {
	done := newOutcome()
	p.Append(b, nil, done)
	return done.wait()
}

// endTransaction appends a marker.
func endTransaction(p *partition.Partition, id int64, epoch int16, m log.Marker) (int64, error) {
	return appendBatch(p, m.Batch(id, epoch, 1000))
}

// valuesAt returns the values that a view shows from an offset on.
func valuesAt(t failer, v partition.View, offset int64) (values []string) {
	t.Helper()
	for offset < v.Visible() {
		s, err := v.Read(offset, 1<<20, nil)
		require.NoError(t, err)
		for rest := s.Bytes; len(rest) > 0; {
			b, err := record.Parse(rest)
			require.NoError(t, err)
			rest, offset = rest[b.Size():], b.NextOffset()
			if b.Control() || s.Hides(&b.BatchHeader) {
				continue
			}
			it, err := b.Records(nil)
			require.NoError(t, err)
			for r := (record.Record{}); it.Next(&r); {
				values = append(values, string(r.Value))
			}
		}
	}
	return values
}

func TestCommittedViewEndsAtTheFirstOpenTransaction(t *testing.T) {
	p, _ := open(t, configOn(vfs.NewMemory()))
	defer p.Close()
	all, committed := p.At(partition.ReadUncommitted), p.At(partition.ReadCommitted)
	_, err := appendAll(p, "before")
	require.NoError(t, err)
	_, err = appendBatch(p, inTransaction(1, 0, 0, "a", "b"))
	require.NoError(t, err)
	_, err = appendBatch(p, inTransaction(2, 0, 0, "x"))
	require.NoError(t, err)
	_, err = appendAll(p, "behind")
	require.NoError(t, err)
	require.Equal(t, []string{"before", "a", "b", "x", "behind"}, valuesAt(t, all, 0))
	require.Equal(t, []string{"before"}, valuesAt(t, committed, 0))
	require.EqualValues(t, 1, committed.Visible())

	woken := 0
	require.True(t, committed.Wait(1, &looker{func() { woken++ }}))
	require.False(t, all.Wait(1, &looker{}), "there is something to read for others")
	_, err = endTransaction(p, 2, 1, log.Marker{})
	require.NoError(t, err)
	require.Zero(t, woken, "the first transaction is still open")
	_, err = endTransaction(p, 1, 1, log.Marker{Commit: true})
	require.NoError(t, err)
	require.Equal(t, 1, woken)
	require.Equal(t, []string{"before", "a", "b", "behind"}, valuesAt(t, committed, 0))
	require.Equal(t, []string{"b", "behind"}, valuesAt(t, committed, 2)[1:], "a batch is read as a whole")
}

// TestATransactionCostsWhatTheOneBeforeDid: it does not cost more the more there were, also
// where no one reads committed records only.
func TestATransactionCostsWhatTheOneBeforeDid(t *testing.T) {
	p, _ := open(t, configOn(vfs.NewMemory()))
	defer p.Close()
	epoch := int16(0)
	transact := func() {
		_, err := appendBatch(p, inTransaction(1, epoch, 0, "a"))
		require.NoError(t, err)
		epoch++
		_, err = endTransaction(p, 1, epoch, log.Marker{Commit: true})
		require.NoError(t, err)
	}
	allocated := func() uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 100 {
			transact()
		}
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	first := allocated()
	for range 1000 {
		transact()
	}
	require.Less(t, allocated(), 3*first)
}

func TestMarkersAreJudged(t *testing.T) {
	p, _ := open(t, configOn(vfs.NewMemory()))
	defer p.Close()
	_, err := appendBatch(p, inTransaction(1, 0, 0, "a"))
	require.NoError(t, err)
	b := batchOf("alone")
	record.StampProducer(b, 1, 0, 1)
	_, err = appendBatch(p, b)
	require.ErrorIs(t, err, fault.InvalidTxnState, "a batch outside of the open transaction")
	_, err = appendBatch(p, inTransaction(1, 1, 0, "too early"))
	require.ErrorIs(t, err, fault.InvalidTxnState, "the next transaction before this one's end")
	_, err = endTransaction(p, 1, 0, log.Marker{Commit: true})
	require.ErrorIs(t, err, fault.InvalidProducerEpoch, "a marker has a later epoch than the transaction")

	_, err = endTransaction(p, 1, 1, log.Marker{Commit: true, CoordinatorEpoch: 5})
	require.NoError(t, err)
	end := p.EndOffset()
	at, err := endTransaction(p, 1, 1, log.Marker{Commit: true, CoordinatorEpoch: 5})
	require.NoError(t, err)
	require.EqualValues(t, -1, at, "it is there already")
	require.Equal(t, end, p.EndOffset())
	_, err = endTransaction(p, 1, 2, log.Marker{CoordinatorEpoch: 4})
	require.ErrorIs(t, err, fault.CoordinatorFenced)
	_, err = appendBatch(p, inTransaction(1, 0, 1, "late"))
	require.ErrorIs(t, err, fault.InvalidProducerEpoch, "a late batch of the transaction that has ended")

	// The next transaction has the marker's epoch, and a marker that comes again does not end it.
	_, err = appendBatch(p, inTransaction(1, 1, 0, "next"))
	require.NoError(t, err)
	_, err = endTransaction(p, 1, 1, log.Marker{CoordinatorEpoch: 5})
	require.ErrorIs(t, err, fault.InvalidProducerEpoch)
	require.EqualValues(t, 2, p.At(partition.ReadCommitted).Visible())
}

// TestMarkersInOneRound appends a transaction, its marker and the next one before the
// writer takes any of them.
func TestMarkersInOneRound(t *testing.T) {
	cfg := configOn(vfs.NewMemory())
	cfg.Fsync = true
	p, _ := open(t, cfg)
	defer p.Close()
	var outcomes []*outcome
	for _, b := range [][]byte{
		inTransaction(1, 0, 0, "a"), inTransaction(1, 0, 1, "b"), log.Marker{}.Batch(1, 1, 0), inTransaction(1, 0, 2, "late"),
		inTransaction(1, 1, 0, "c"), log.Marker{Commit: true}.Batch(1, 2, 0),
	} {
		o := newOutcome()
		outcomes = append(outcomes, o)
		p.Append(b, nil, o)
	}
	for i, o := range outcomes {
		_, err := o.wait()
		if i == 3 {
			require.ErrorIs(t, err, fault.InvalidProducerEpoch)
			continue
		}
		require.NoError(t, err, i)
	}
	require.Equal(t, []string{"c"}, valuesAt(t, p.At(partition.ReadCommitted), 0))
}

// TestOpenTransactionsAreKept holds that neither retention nor the expiration of producers
// takes what a transaction needs that may still commit.
func TestOpenTransactionsAreKept(t *testing.T) {
	cfg := configOn(vfs.NewMemory())
	cfg.Crowd, cfg.ProducerExpiration, cfg.Log.SegmentBytes = 1, time.Nanosecond, 200
	p, _ := open(t, cfg)
	_, err := appendBatch(p, inTransaction(1, 0, 0, "open"))
	require.NoError(t, err)
	for id := range int64(10) {
		_, err := appendBatch(p, inTransaction(10+id, 0, 0, "a"))
		require.NoError(t, err)
		_, err = endTransaction(p, 10+id, 1, log.Marker{Commit: true})
		require.NoError(t, err)
	}
	now := time.Now().Add(24 * time.Hour)
	_, _, err = p.Clean(t.Context(), now, partition.CleanPolicy{Delete: true, Retention: time.Second, RetentionBytes: -1})
	require.NoError(t, err)
	require.Zero(t, p.StartOffset())
	require.NoError(t, p.Close())

	p, _ = open(t, cfg)
	defer p.Close()
	require.Zero(t, p.At(partition.ReadCommitted).Visible())
	_, err = appendBatch(p, inTransaction(1, 0, 1, "goes on"))
	require.NoError(t, err)
	_, err = endTransaction(p, 1, 1, log.Marker{})
	require.NoError(t, err)
	require.Len(t, valuesAt(t, p.At(partition.ReadCommitted), 0), 10)
	_, _, err = p.Clean(t.Context(), now, partition.CleanPolicy{Delete: true, Retention: time.Second, RetentionBytes: -1})
	require.NoError(t, err)
	require.Positive(t, p.StartOffset())
}

// TestMarkerCoversOnlyWhatIsDurable: records of a transaction are synced, and visible, with
// what else is synced, and its marker at once, if nothing else waits before it.
func TestMarkerCoversOnlyWhatIsDurable(t *testing.T) {
	cfg := configOn(vfs.NewMemory())
	cfg.Fsync = true
	p, _ := open(t, cfg)
	defer p.Close()
	holds := func(durable, high, end int64) {
		t.Helper()
		require.Equal(t, []int64{durable, high, end}, []int64{p.DurableOffset(), p.HighWatermark(), p.EndOffset()})
	}
	_, err := appendBatch(p, inTransaction(1, 0, 0, "a", "b"))
	require.NoError(t, err)
	holds(0, 0, 2)
	require.NoError(t, p.FlushAwait())
	holds(2, 2, 2)
	_, err = endTransaction(p, 1, 1, log.Marker{Commit: true})
	require.NoError(t, err)
	holds(2, 3, 3)
	_, err = appendBatch(p, inTransaction(1, 1, 0, "c"))
	require.NoError(t, err)
	holds(2, 3, 4)
	_, err = appendBatch(p, inTransaction(2, 0, 0, "x"))
	require.NoError(t, err)
	_, err = endTransaction(p, 2, 1, log.Marker{})
	require.NoError(t, err)
	holds(6, 6, 6) // not without the other transaction's record
	_, err = endTransaction(p, 1, 2, log.Marker{Commit: true})
	require.NoError(t, err)
	holds(6, 7, 7)
	require.NoError(t, p.FlushAwait())
	holds(7, 7, 7)
	_, err = appendAll(p, "of none")
	require.NoError(t, err)
	holds(8, 8, 8)

	open, err := p.OpenTransactions()
	require.NoError(t, err)
	require.Empty(t, open)
	_, err = appendBatch(p, inTransaction(3, 4, 0, "y"))
	require.NoError(t, err)
	open, err = p.OpenTransactions()
	require.NoError(t, err)
	require.Equal(t, []partition.OpenTransaction{{ProducerID: 3, Epoch: 4, First: 8}}, open)
}
