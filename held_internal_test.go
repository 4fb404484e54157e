package runnel

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// NothingIsHeld demands that no session of a producer holds any of its buffer, or
// waits for it: so it is once everything has been flushed.
func NothingIsHeld(t testing.TB, b *Broker) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for s := range b.sessions {
		if s, ok := s.(*session); ok {
			s.allowance.mu.Lock()
			require.Zero(t, s.allowance.held, "bytes of the buffer are still held")
			require.Empty(t, s.allowance.waiting)
			s.allowance.mu.Unlock()
		}
	}
}

// Who gives up waiting for room leaves it to those behind, who may need less.
func TestGivingUpALargeClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &allowance{total: 100}
		require.True(t, a.try(50))
		ctx, cancel := context.WithCancel(t.Context())
		gaveUp, got := make(chan error, 1), make(chan error, 1)
		go func() { gaveUp <- a.take(ctx, nil, 60, func() {}) }()
		synctest.Wait()
		go func() { got <- a.take(t.Context(), nil, 50, func() {}) }()
		synctest.Wait()
		require.Empty(t, got, "it stands behind the large one")
		require.False(t, a.try(1), "and so does everybody")
		cancel()
		require.ErrorIs(t, <-gaveUp, context.Canceled)
		synctest.Wait()
		require.Len(t, got, 1)
		require.NoError(t, <-got)
		a.give(50)
		a.give(50)
		require.Zero(t, a.held)
	})
}

// What gives up while it waits for failures to be told holds nothing any more,
// whatever it wanted to send.
func TestGivingUpHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openOn(t, vfs.NewMemory())
		defer b.Close()
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
		s, err := b.OpenProducer(t.Context(), producer.Config{BatchBytes: 1000, BufferBytes: 10_000, Idempotent: true})
		require.NoError(t, err)
		defer s.Close()
		w, err := s.Topic(t.Context(), "orders")
		require.NoError(t, err)
		l, err := w.(*writer).lane(0)
		require.NoError(t, err)
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
			NothingIsHeld(t, b)
		}
		l.mu.Lock()
		close(l.failing)
		l.failing = nil
		l.mu.Unlock()
		_, err = w.Send(t.Context(), record.Record{Value: make([]byte, 20_000)})
		require.ErrorIs(t, err, fault.RecordTooLarge)
		NothingIsHeld(t, b)
	})
}
