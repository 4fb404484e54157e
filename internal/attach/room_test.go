package attach

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Those who wait for room get it in the order of their coming; one that gives up
// is in no one's way, and nothing is held when all have given theirs back.
func TestRoomIsFair(t *testing.T) {
	r := &room{free: 10}
	never := func() { t.Error("it had to wait") }
	require.NoError(t, r.take(t.Context(), 6, never))
	var wg sync.WaitGroup
	wait := func(ctx context.Context, bytes int, check func(error)) {
		waits := make(chan struct{})
		wg.Go(func() { check(r.take(ctx, bytes, func() { close(waits) })) })
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
	require.True(t, r.isAwaited())
	over, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, r.take(over, 1, func() {}), context.Canceled, "those who wait come first")
	giveUp()
	require.ErrorIs(t, <-gaveUp, context.Canceled)
	<-granted // there was room for it all the time
	wg.Wait()
	r.give(6)
	r.give(3)
	require.False(t, r.isAwaited())
	require.NoError(t, r.take(t.Context(), 10, never))
}
