package hub

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/replica"
)

// What arrives on a bulk lane waits for room beside what the handler keeps, until the lane is cut; a control lane
// never waits, and has what is over its budget dropped.
func TestALaneOverItsBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Source{hub: &Hub{Config: Config{Budget: 1000}}, room: make(chan struct{})}
		bulk := s.Inbound(replica.LaneBulk, func() {})
		reserve := func(bytes int) chan error {
			done := make(chan error, 1)
			go func() {
				_, err := bulk.Reserve(bytes)
				done <- err
			}()
			synctest.Wait()
			return done
		}
		require.NoError(t, <-reserve(1001), "a frame alone has room")
		waits := reserve(1)
		require.Empty(t, waits)
		bulk.Release(2)
		require.NoError(t, <-waits)
		waits = reserve(1)
		require.Empty(t, waits)
		bulk.Cut()
		require.ErrorIs(t, <-waits, errReplaced)

		control := s.Inbound(replica.LaneControl, func() {})
		for _, bytes := range []int{controlBudget - 1, 1} {
			keep, err := control.Reserve(bytes)
			require.NoError(t, err)
			require.True(t, keep)
		}
		keep, err := control.Reserve(1)
		require.NoError(t, err)
		require.False(t, keep)
	})
}
