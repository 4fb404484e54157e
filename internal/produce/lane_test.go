package produce

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/internal/host/hosttest"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
)

// A lane that is closed while a record is copied waits for the copier, whose
// callback runs before.
func TestClosingWaitsForACopier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opened, err := sessions(hosttest.New(t, "orders").Host).Open(t.Context(), producer.Config{BatchBytes: 1 << 10, BufferBytes: 1 << 20, Linger: time.Hour})
		require.NoError(t, err)
		w, err := opened.Topic(t.Context(), "orders")
		require.NoError(t, err)
		told := 0
		tell := func(record.Position, error) { told++ }
		w.SendAsync(t.Context(), record.Record{}, tell)
		l := opened.allLanes()[0]
		b, r := l.open.Load(), record.Record{}
		at, outcome := b.reserve(&r, 1)
		require.Equal(t, gotRoom, outcome)

		closed := false
		go func() {
			l.close(fault.Closed)
			closed = true
		}()
		synctest.Wait()
		require.False(t, closed)
		require.True(t, b.fill(at, &r, tell, false))
		l.becomesReady(b)
		synctest.Wait()
		require.True(t, closed)
		require.Equal(t, 2, told)
		require.NoError(t, opened.Close())
	})
}

// A producer that outlives many topics of one name keeps nothing of them.
func TestLanesOfDeletedTopicsGo(t *testing.T) {
	h := hosttest.New(t)
	s, err := sessions(h.Host).Open(t.Context(), producer.Config{BatchBytes: 1 << 10, BufferBytes: 1 << 20})
	require.NoError(t, err)
	for range 10 {
		require.NoError(t, h.Create("orders"))
		w, err := s.Topic(t.Context(), "orders")
		require.NoError(t, err)
		_, err = w.Send(t.Context(), record.Record{})
		require.NoError(t, err)
		require.NoError(t, h.Remove("orders"))
		require.Zero(t, w.Partitions())
		_, err = w.Send(t.Context(), record.Record{})
		require.ErrorIs(t, err, fault.UnknownTopic)
	}
	require.LessOrEqual(t, len(s.allLanes()), 1)
}

// TestFailureSealsAnEmptyBatch: a sender that has just opened a batch when another
// one fails does not get in behind the failure before it is delivered.
func TestFailureSealsAnEmptyBatch(t *testing.T) {
	_, s, w, l := laneTo(t, producer.Config{BatchBytes: 1000, BufferBytes: 10_000, Idempotent: true})
	defer s.Close()

	failing := newBatch(l)
	failing.count, failing.sequence, failing.err = 1, 0, fault.DiskFull
	failing.enterLocked(stateReady)
	l.mu.Lock()
	l.queue.push(failing)
	require.Equal(t, failing, l.queue.claimUnsent())
	l.mu.Unlock()
	require.NoError(t, l.makeRoom(t.Context(), 1000, 0)) // and here it is held up
	opened := l.open.Load()
	l.mu.Lock()
	l.failBehindLocked(failing)
	l.mu.Unlock()
	_, outcome := opened.reserve(&record.Record{Value: []byte("x")}, 0)
	require.Equal(t, isSealed, outcome)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, l.makeRoom(ctx, 1000, 0), context.Canceled, "it waits until the failure is told")
	l.mu.Lock()
	require.True(t, failing.finishLocked(-1, fault.DiskFull))
	require.True(t, l.settler.Take())
	l.mu.Unlock()
	l.settler.Lead(untilDone)
	_, err := w.Send(t.Context(), record.Record{Topic: "orders", Value: []byte("x")})
	require.NoError(t, err)
	require.ErrorIs(t, s.Flush(t.Context()), fault.DiskFull, "of the one that failed")
	require.ErrorIs(t, l.makeRoom(ctx, 1000, 0), context.Canceled, "all is told, but the caller has given up meanwhile")
}

// TestEmptyBatchIsNotSent: a sender that was held up may seal a batch that it saw
// full, and that has been sent and opened again since.
func TestEmptyBatchIsNotSent(t *testing.T) {
	h, s, w, l := laneTo(t, producer.Config{BatchBytes: 1000, BufferBytes: 10_000, Idempotent: true})
	defer s.Close()
	for range 3 {
		require.NoError(t, l.makeRoom(t.Context(), 1000, 0))
		l.sealFull(l.open.Load())
		w.SendAsync(t.Context(), record.Record{Topic: "orders", Value: []byte("x")}, nil)
	}
	require.NoError(t, s.Flush(t.Context()))
	p, err := h.Partition(record.TopicPartition{Topic: "orders"})
	require.NoError(t, err)
	batches := 0
	for offset := int64(0); offset < p.HighWatermark(); batches++ {
		s, err := p.Read(offset, 1, nil) // one batch at a time
		require.NoError(t, err)
		batch, err := record.Parse(s.Bytes)
		require.NoError(t, err)
		offset = batch.NextOffset()
	}
	require.Equal(t, 3, batches)
}

// What gives up while it waits for failures to be told holds nothing any more,
// whatever it wanted to send.
func TestGivingUpHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s, w, l := laneTo(t, producer.Config{BatchBytes: 1000, BufferBytes: 10_000, Idempotent: true})
		defer s.Close()
		l.mu.Lock()
		l.failing = make(chan struct{})
		l.mu.Unlock()
		for name, send := range map[string]func(ctx context.Context, fn producer.Callback){
			"a record": func(ctx context.Context, fn producer.Callback) {
				w.SendAsync(ctx, record.Record{Value: []byte("x")}, fn)
			},
			"a large record": func(ctx context.Context, fn producer.Callback) {
				w.SendAsync(ctx, record.Record{Value: make([]byte, 5000)}, fn)
			},
			"a whole batch": func(ctx context.Context, fn producer.Callback) {
				batch := batchOf(t, "a", "b")
				w.Append(ctx, 0, &batch, fn)
			},
		} {
			ctx, cancel := context.WithCancel(t.Context())
			told := make(chan error, 1)
			go send(ctx, func(_ record.Position, err error) { told <- err })
			synctest.Wait()
			require.Empty(t, told, name)
			cancel()
			require.ErrorIs(t, <-told, context.Canceled, name)
			nothingIsHeld(t, s)
		}
		l.mu.Lock()
		close(l.failing)
		l.failing = nil
		l.mu.Unlock()
		_, err := w.Send(t.Context(), record.Record{Value: make([]byte, 20_000)})
		require.ErrorIs(t, err, fault.RecordTooLarge)
		nothingIsHeld(t, s)
	})
}

// endingContext ends after Err was called so many times.
type endingContext struct {
	context.Context
	left int
}

func (c *endingContext) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// A callback may end the context of what is being sent, because a record before it failed.
// The lane takes nothing then, however late it was: the failure is delivered, and the
// record would be behind it.
func TestAContextThatEndsWhileTheLaneIsLockedIsHeeded(t *testing.T) {
	_, s, _, l := laneTo(t, producer.Config{BatchBytes: 1000, BufferBytes: 10_000, Idempotent: true})
	defer s.Close()

	require.ErrorIs(t, l.makeRoom(&endingContext{t.Context(), 1}, 1000, 0), context.Canceled)
	require.Nil(t, l.open.Load())
	b, err := l.ownBatch(t.Context(), 100)
	require.NoError(t, err)
	require.ErrorIs(t, l.enqueue(&endingContext{t.Context(), 1}, b, false), context.Canceled)
	require.True(t, l.queue.isEmpty())
	nothingIsHeld(t, s)
	require.NoError(t, l.makeRoom(&endingContext{t.Context(), 2}, 1000, 0))
}

// Bytes for which a sender waited are given back if it gives up afterwards, because the
// lane failed meanwhile.
func TestGivingUpAfterWaitingForBytesHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s, _, l := laneTo(t, producer.Config{BatchBytes: 1000, BufferBytes: 10_000, Idempotent: true})
		defer s.Close()
		require.True(t, s.allowance.Try(10_000))
		ctx, cancel := context.WithCancel(t.Context())
		outcome := make(chan error, 1)
		go func() { outcome <- l.makeRoom(ctx, 1000, 0) }()
		synctest.Wait()
		l.mu.Lock()
		l.failing = make(chan struct{})
		l.mu.Unlock()
		s.allowance.Give(10_000)
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-outcome, context.Canceled)
		nothingIsHeld(t, s)
		l.mu.Lock()
		l.failing = nil
		l.mu.Unlock()
	})
}

// sessions opens sessions whose producers have IDs from 1 on.
func sessions(h *host.Host) *Sessions {
	var last atomic.Int64
	return New(h, func(context.Context) (int64, error) { return last.Add(1), nil }, nil)
}

func nothingIsHeld(t testing.TB, s *Session) {
	t.Helper()
	held, waiting := s.Held()
	require.Zero(t, held)
	require.Zero(t, waiting)
}

func batchOf(t *testing.T, values ...string) record.Batch {
	t.Helper()
	b := record.NewBuilder(1 << 20)
	for _, v := range values {
		b.Add(0, nil, []byte(v), nil)
	}
	batch, err := b.Batch(nil, record.None, 0)
	require.NoError(t, err)
	return batch
}

// laneTo opens a session on a host with the topic orders, and its lane to the only
// partition.
func laneTo(t *testing.T, cfg producer.Config) (*hosttest.Host, *Session, producer.Writer, *lane) {
	t.Helper()
	h := hosttest.New(t, "orders")
	s, err := sessions(h.Host).Open(t.Context(), cfg)
	require.NoError(t, err)
	w, err := s.Topic(t.Context(), "orders")
	require.NoError(t, err)
	l, err := w.(*writer).lane(0)
	require.NoError(t, err)
	return h, s, w, l
}
