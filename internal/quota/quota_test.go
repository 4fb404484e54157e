package quota_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/quota"
)

// Claims are granted in the order in which they came; one that gives up is in no
// other's way, and nothing is held when all have given theirs back.
func TestFirstComeFirstServed(t *testing.T) {
	q := &quota.Quota{Total: 10}
	never := func() { t.Error("it had to wait") }
	require.NoError(t, q.Take(t.Context(), nil, 6, never))
	var wg sync.WaitGroup
	wait := func(ctx context.Context, bytes int, check func(error)) {
		waits := make(chan struct{})
		wg.Go(func() { check(q.Take(ctx, nil, bytes, func() { close(waits) })) })
		<-waits
	}
	large, giveUp := context.WithCancel(t.Context())
	gaveUp := make(chan error, 1)
	wait(large, 8, func(err error) { gaveUp <- err })
	granted := make(chan struct{})
	wait(t.Context(), 3, func(err error) {
		if err != nil {
			t.Error(err)
		}
		close(granted)
	})
	require.True(t, q.IsAwaited())
	over, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, q.Take(over, nil, 1, func() {}), context.Canceled, "claims that wait come first")
	giveUp()
	require.ErrorIs(t, <-gaveUp, context.Canceled)
	<-granted // there was room for it all the time
	wg.Wait()
	q.Give(6)
	q.Give(3)
	require.False(t, q.IsAwaited())
	require.NoError(t, q.Take(t.Context(), nil, 10, never))
}

func TestTrying(t *testing.T) {
	q := &quota.Quota{Total: 10}
	require.True(t, q.Try(6))
	require.False(t, q.Try(6))
	waits, got := make(chan struct{}), make(chan error, 1)
	go func() { got <- q.Take(t.Context(), nil, 5, func() { close(waits) }) }()
	<-waits
	require.False(t, q.Try(1), "nothing overtakes a claim that waits")
	q.Give(6)
	require.NoError(t, <-got)
	require.True(t, q.Try(5))
	held, waiting := q.Held()
	require.Equal(t, 10, held)
	require.Zero(t, waiting)
}

// A large claim that is given up lets those behind it through, which need less.
func TestGivingUpALargeClaim(t *testing.T) {
	for name, giveUp := range map[string]error{"its context ends": context.Canceled, "what it is for is closed": fault.Closed} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := &quota.Quota{Total: 100}
				require.True(t, q.Try(50))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				closed := make(chan struct{})
				gaveUp, got := make(chan error, 1), make(chan error, 1)
				go func() { gaveUp <- q.Take(ctx, closed, 60, func() {}) }()
				synctest.Wait()
				go func() { got <- q.Take(t.Context(), nil, 50, func() {}) }()
				synctest.Wait()
				require.Empty(t, got, "it stands behind the large one")
				if giveUp == context.Canceled {
					cancel()
				} else {
					close(closed)
				}
				require.ErrorIs(t, <-gaveUp, giveUp)
				synctest.Wait()
				require.Len(t, got, 1)
				require.NoError(t, <-got)
				q.Give(50)
				q.Give(50)
				held, waiting := q.Held()
				require.Zero(t, held)
				require.Zero(t, waiting)
			})
		})
	}
}
