package partition_test

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
)

// keyedBatch encodes one record of a second since 1970; a producer ID of 0 or more
// makes the batch one of an idempotent producer.
func keyedBatch(second int64, key string, producer int64, sequence int32) []byte {
	b := record.NewBuilder(1 << 20)
	b.Add(second*1000, []byte(key), []byte(fmt.Sprint(second)), nil)
	batch, err := b.Batch(nil, record.None, 0)
	if err != nil {
		panic(err)
	}
	raw := append([]byte(nil), batch.Bytes...)
	if producer >= 0 {
		record.StampProducer(raw, producer, 0, sequence)
	}
	return raw
}

// appendKeyed appends a record of each second up to n, with few keys.
func appendKeyed(t *testing.T, p *partition.Partition, n int64) {
	t.Helper()
	for i := range n {
		done := newOutcome()
		p.Append(keyedBatch(i, fmt.Sprintf("k%d", i%3), -1, 0), nil, done)
		_, err := done.wait()
		require.NoError(t, err)
	}
}

func smallSegments(fsync bool) partition.Config {
	cfg := configOn(vfs.NewMemory())
	cfg.Log.SegmentBytes, cfg.Log.TailBytes = 250, -1
	cfg.Fsync = fsync
	return cfg
}

var forever = partition.CleanPolicy{Retention: -1, RetentionBytes: -1, MaxLag: -1, DirtyRatio: 0.5}

func TestCleanByAge(t *testing.T) {
	for _, fsync := range []bool{false, true} {
		p, _ := open(t, smallSegments(fsync))
		defer p.Close()
		appendKeyed(t, p, 30)
		c := forever
		c.Delete, c.Retention = true, 10*time.Second
		size := p.Size()

		did, next, err := p.Clean(t.Context(), time.Unix(20, 0), c)
		require.NoError(t, err)
		start := p.StartOffset()
		require.True(t, start > 5 && start <= 10, start)
		require.Equal(t, size-p.Size(), did.Bytes)
		require.Positive(t, did.Segments)
		require.True(t, next.After(time.Unix(20, 0)) && next.Before(time.Unix(25, 0)), next)

		again, _, err := p.Clean(t.Context(), next.Add(-time.Millisecond), c)
		require.NoError(t, err)
		require.Zero(t, again)
		_, _, err = p.Clean(t.Context(), next, c)
		require.NoError(t, err)
		require.Greater(t, p.StartOffset(), start)

		_, next, err = p.Clean(t.Context(), time.Unix(1000, 0), c)
		require.NoError(t, err)
		require.True(t, next.IsZero(), "there is nothing left to grow old")
		require.EqualValues(t, 30, p.StartOffset())
	}
}

// TestCleanKeepsProducers: the last batch of an idempotent producer stays, without
// records, and the producer goes on where it was.
func TestCleanKeepsProducers(t *testing.T) {
	cfg := smallSegments(false)
	p, _ := open(t, cfg)
	for i, batch := range [][]byte{
		keyedBatch(0, "k", 7, 0), keyedBatch(1, "k", 7, 1), keyedBatch(2, "k", 8, 0),
		keyedBatch(3, "k", -1, 0), keyedBatch(4, "k", -1, 0), keyedBatch(5, "k", -1, 0), keyedBatch(6, "k", -1, 0),
	} {
		done := newOutcome()
		p.Append(batch, nil, done)
		base, err := done.wait()
		require.NoError(t, err)
		require.EqualValues(t, i, base)
	}
	c := forever
	c.Compact = true
	did, _, err := p.Clean(t.Context(), time.Unix(10, 0), c)
	require.NoError(t, err)
	require.EqualValues(t, 5, did.Records)
	var left []record.BatchHeader
	for at := p.StartOffset(); at < p.HighWatermark(); {
		s, err := p.Read(at, 1, nil)
		require.NoError(t, err)
		h, err := record.ParseHeader(s.Bytes)
		require.NoError(t, err)
		left, at = append(left, h), h.NextOffset()
	}
	require.Equal(t, []int64{record.NoProducerID, 7, 8}, []int64{left[0].ProducerID, left[1].ProducerID, left[2].ProducerID})
	require.Zero(t, left[0].Count+left[1].Count+left[2].Count)
	require.EqualValues(t, 1, left[1].BaseSequence)
	require.NoError(t, p.Close())

	p, _ = open(t, cfg)
	defer p.Close()
	done := newOutcome()
	p.Append(keyedBatch(7, "k", 7, 2), nil, done)
	_, err = done.wait()
	require.NoError(t, err)
}

func TestCleanEnds(t *testing.T) {
	p, _ := open(t, smallSegments(false))
	appendKeyed(t, p, 30)
	c := forever
	c.Compact = true
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := p.Clean(ctx, time.Unix(100, 0), c)
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, readAll(t, p, 0), 30)

	first := make(chan error, 1)
	go func() {
		_, _, err := p.Clean(t.Context(), time.Unix(100, 0), c)
		first <- err
	}()
	require.NoError(t, p.Close())
	if err := <-first; err != nil {
		require.ErrorIs(t, err, fault.Closed)
	}
	_, _, err = p.Clean(t.Context(), time.Unix(100, 0), c)
	require.ErrorIs(t, err, fault.Closed)
}

func TestCheckedKeys(t *testing.T) {
	cfg := configOn(vfs.NewMemory())
	cfg.Keyed = true
	p, _ := open(t, cfg)
	defer p.Close()
	err := p.Check(batchOf("a value without a key"))
	require.ErrorIs(t, err, fault.InvalidRecord)
	require.ErrorContains(t, err, "record 0 of 1 has no key")
	require.NoError(t, p.Check(keyedBatch(0, "", -1, 0)), "an empty key is one")
}

// TestCleanEndsWithoutSegments: tombstones' time comes when what held them was
// deleted.
func TestCleanEndsWithoutSegments(t *testing.T) {
	p, _ := open(t, smallSegments(false))
	defer p.Close()
	c := forever
	c.Compact, c.DirtyRatio, c.DeleteRetention = true, 0.01, time.Hour
	for i := range int64(10) {
		b := record.NewBuilder(1 << 20)
		b.Add(i*1000, []byte("k"), nil, nil)
		batch, err := b.Batch(nil, record.None, 0)
		require.NoError(t, err)
		done := newOutcome()
		p.Append(append([]byte(nil), batch.Bytes...), nil, done)
		_, err = done.wait()
		require.NoError(t, err)
	}
	_, next, err := p.Clean(t.Context(), time.Unix(100, 0), c)
	require.NoError(t, err)
	require.Equal(t, time.Unix(3700, 0), next)
	_, err = p.DeleteRecords(-1)
	require.NoError(t, err)
	_, next, err = p.Clean(t.Context(), next, c)
	require.NoError(t, err)
	require.True(t, next.IsZero(), next)
}

// TestCleanEndsWithinBatch: the log begins near the end of a batch of many keys.
func TestCleanEndsWithinBatch(t *testing.T) {
	p, _ := open(t, smallSegments(false))
	defer p.Close()
	b := record.NewBuilder(1 << 20)
	for i := range int64(1000) {
		b.Add(i*1000, []byte{'k', byte(i), byte(i >> 8)}, []byte("v"), nil)
	}
	batch, err := b.Batch(nil, record.None, 0)
	require.NoError(t, err)
	done := newOutcome()
	p.Append(append([]byte(nil), batch.Bytes...), nil, done)
	_, err = done.wait()
	require.NoError(t, err)
	appendKeyed(t, p, 1)
	_, err = p.DeleteRecords(999)
	require.NoError(t, err)
	c := forever
	c.Compact = true
	did, _, err := p.Clean(t.Context(), time.Unix(10_000, 0), c)
	require.NoError(t, err)
	require.EqualValues(t, 999, did.Records)
	did, _, err = p.Clean(t.Context(), time.Unix(10_000, 0), c)
	require.NoError(t, err)
	require.Equal(t, partition.CleanStats{}, did)
}

// A start that a full disk has no room for is not reported as done by the next
// try, and retention tries again, too.
func TestStartOnAFullDisk(t *testing.T) {
	for name, move := range map[string]func(p *partition.Partition) error{
		"DeleteRecords": func(p *partition.Partition) error { _, err := p.DeleteRecords(6); return err },
		"Clean": func(p *partition.Partition) error {
			_, _, err := p.Clean(t.Context(), time.UnixMilli(1000).Add(time.Hour), partition.CleanPolicy{Delete: true, Retention: time.Minute, RetentionBytes: -1})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			disk := vfs.NewCrashable()
			f := vfs.NewFaulty(disk)
			cfg := configOn(f)
			cfg.Fsync, cfg.Log.SegmentBytes = true, 150
			p, _ := open(t, cfg)
			for range 6 {
				_, err := appendAll(p, "value")
				require.NoError(t, err)
			}
			end := f.Add(vfs.Rule{On: vfs.OpWrite, Match: vfs.Named("-checkpoint"), Err: syscall.ENOSPC})
			for range 2 {
				require.ErrorIs(t, move(p), fault.DiskFull)
			}
			end()
			require.NoError(t, move(p))
			start := p.StartOffset()
			require.Positive(t, start)
			cfg.Log.FS = disk.After(vfs.Loss{Kept: vfs.KeepNone})
			after, _ := open(t, cfg)
			require.Equal(t, start, after.StartOffset())
			require.NoError(t, after.Close())
			require.NoError(t, p.Close())
		})
	}
}
