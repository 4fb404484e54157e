package coordinator

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/host/hosttest"
	"github.com/runnel-go/runnel/topic"
)

// An administrator's calls wait while no node leads the group's partition, as they do
// just after its topic was made.
func TestAdministratorsWaitForALeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := hosttest.NewReplication()
		h := hosttest.Replicated(t, r, topic.ConsumerOffsets, "orders")
		g := oneShard(t, h, 1<<10, 0).groups
		led := r.Group("__consumer_offsets-0")
		led.Depose()
		soon, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := g.SetOffsets(soon, "printer", at(6))
		require.ErrorIs(t, err, fault.NotCoordinator)
		require.ErrorIs(t, err, context.DeadlineExceeded)

		began := time.Now()
		time.AfterFunc(30*time.Millisecond, led.Elect)
		require.NoError(t, g.SetOffsets(t.Context(), "printer", at(7)))
		require.Less(t, time.Since(began), 100*time.Millisecond)
		led.Depose()
		time.AfterFunc(30*time.Millisecond, led.Elect)
		offsets, err := g.Offsets(t.Context(), "printer")
		require.NoError(t, err)
		require.EqualValues(t, 7, offsets[orders].Offset)
		led.Depose()
		time.AfterFunc(30*time.Millisecond, led.Elect)
		require.NoError(t, g.Delete(t.Context(), "printer"))

		led.Depose()
		began = time.Now()
		_, err = g.List(t.Context())
		require.ErrorIs(t, err, fault.NotCoordinator)
		require.GreaterOrEqual(t, time.Since(began), insistFor)
	})
}
