package grpc

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/replica"
)

// A bulk lane is received from while the largest frame has room beside what the handler keeps, and
// a control lane always, with frames over its budget dropped.
func TestABulkLaneOverItsBudgetWaits(t *testing.T) {
	s := &source{t: &Transport{config: config{maxFrame: 100, budget: 1000}}, room: make(chan struct{})}
	over := &inbound{stop: make(chan struct{})}
	over.cut()
	require.NoError(t, s.await(over))
	room := 1000 - 100 - frameCost
	require.True(t, s.reserve(replica.LaneBulk, room))
	require.NoError(t, s.await(over))
	require.True(t, s.reserve(replica.LaneBulk, 1))
	require.ErrorIs(t, s.await(over), context.Canceled, "it waits until the lane is cut")

	going := &inbound{stop: make(chan struct{})}
	waiting := make(chan error)
	go func() { waiting <- s.await(going) }()
	s.release(replica.LaneBulk, 1)
	require.NoError(t, <-waiting)

	require.True(t, s.reserve(replica.LaneControl, controlBudget))
	require.False(t, s.reserve(replica.LaneControl, 1))
}
