package runnel

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// openSession opens a session of partition 0 of topic a that uses its buffers again.
func (b *testBroker) openSession(maxRecords, maxBytes int) consumer.Session {
	b.t.Helper()
	s, err := b.OpenConsumer(b.t.Context(), consumer.Config{
		Start: topic.Earliest(), MaxRecords: maxRecords, MaxBytes: maxBytes, ReuseBuffers: true,
	})
	require.NoError(b.t, err)
	b.t.Cleanup(func() { _ = s.Close() })
	require.NoError(b.t, s.Assign(b.t.Context(), tps("a", 0)))
	return s
}

// A program that joins two topics holds the records of one while it reads those of
// the other. What it holds stays as it is, from the file, from the log's memory and
// decompressed, and the buffers of what it gave back are used again.
func TestLeasesAreIndependent(t *testing.T) {
	const n, inUse = 6000, 12
	for _, compression := range []record.Compression{record.None, record.Zstd} {
		t.Run(compression.String(), func(t *testing.T) {
			dir := t.TempDir()
			broker, err := Open(dir)
			b := newTestBroker(t, broker, err)
			b.create("a", 1)
			p, err := producer.New(b, producer.Compression(compression), producer.BatchBytes(20<<10))
			require.NoError(t, err)
			for i := range n {
				p.SendAsync(t.Context(), record.Record{Topic: "a", Value: fmt.Appendf(nil, "%0100d", i)}, nil)
			}
			require.NoError(t, p.Close())
			fromMemory := b.openSession(70, 64<<10)
			holdSome(t, fromMemory, n, inUse)
			require.NoError(t, b.Close())

			broker, err = Open(dir)
			b = newTestBroker(t, broker, err)
			holdSome(t, b.openSession(70, 64<<10), n, inUse)
		})
	}
}

// holdSome reads n records and holds those of some Fetches at once.
func holdSome(t *testing.T, s consumer.Session, n, inUse int) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	var held []consumer.Fetched
	var before consumer.Lease
	for next := 0; next < n || len(held) > 0; {
		if next < n && len(held) < inUse {
			got, err := s.Fetch(t.Context(), consumer.UntilDone, nil)
			require.NoError(t, err)
			require.NotZero(t, got.Lease)
			held, next = append(held, got), int(got.Next)
			continue
		}
		i := random.IntN(len(held))
		for _, r := range held[i].Records {
			if string(r.Value) != fmt.Sprintf("%0100d", r.Offset) {
				t.Fatalf("the leased record %d became %s", r.Offset, r.Value)
			}
		}
		s.Release(held[i].Lease)
		s.Release(before) // a second time
		before = held[i].Lease
		held[i] = held[len(held)-1]
		held = held[:len(held)-1]
	}
}

// Leases cost no garbage, however many are held at once.
func TestLeasingAllocatesNothing(t *testing.T) {
	b := memoryBroker(t)
	b.create("a", 1)
	const n, size, inUse = 20_000, 100, 5
	for range n {
		b.p.SendAsync(t.Context(), record.Record{Topic: "a", Value: make([]byte, 100)}, nil)
	}
	require.NoError(t, b.p.Flush(t.Context()))
	s := b.openSession(size, 1<<20)
	var leases [inUse]consumer.Lease
	dst := make([]record.Record, 0, size)
	i := 0
	allocs := testing.AllocsPerRun(n/size-10, func() {
		got, err := s.Fetch(context.Background(), consumer.UntilDone, dst)
		if err != nil || len(got.Records) == 0 {
			t.Fatal(err, len(got.Records))
		}
		s.Release(leases[i%inUse])
		leases[i%inUse] = got.Lease
		i++
	})
	require.LessOrEqual(t, allocs, 1.0)
}

// The time that a Fetch may wait is that of package time, so virtual in a bubble.
func TestFetchWaitsNoLongerThanItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memoryBroker(t)
		b.create("a", 1)
		s := b.openSession(10, 1<<20)
		began := time.Now()
		got, err := s.Fetch(t.Context(), 0, nil)
		require.NoError(t, err)
		require.True(t, got.IsNone())
		require.Zero(t, time.Since(began))
		got, err = s.Fetch(t.Context(), 3*time.Hour, nil)
		require.NoError(t, err)
		require.True(t, got.IsNone())
		require.Equal(t, 3*time.Hour, time.Since(began))

		// News that bring no record do not make it longer.
		go func() {
			for range 10 {
				time.Sleep(20 * time.Minute)
				require.NoError(t, s.Pause(tps("a", 0)...))
				require.NoError(t, s.Resume(tps("a", 0)...))
			}
		}()
		began = time.Now()
		got, err = s.Fetch(t.Context(), time.Hour, nil)
		require.NoError(t, err)
		require.True(t, got.IsNone())
		require.Equal(t, time.Hour, time.Since(began))
		time.Sleep(5 * time.Hour)

		b.send("a", 0, "x")
		began = time.Now()
		got, err = s.Fetch(t.Context(), time.Hour, nil)
		require.NoError(t, err)
		require.Len(t, got.Records, 1)
		require.Zero(t, time.Since(began))
		require.NoError(t, s.Close())
		_, err = s.Fetch(t.Context(), 0, nil)
		require.ErrorIs(t, err, fault.Closed)
		require.NoError(t, b.Close())
	})
}
