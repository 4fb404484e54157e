package replica_test

import (
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/internal/vfs"
)

// Three replicas elect a leader; it dies with what its disk had not synced; the
// others elect another one and go on; the first comes back and has it all.
func TestGroupSurvivesItsLeader(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 1)
	c := newCluster(3, 1)
	require.True(t, c.runUntil(5*time.Second, func() bool { return c.leader() != nil }))
	first := c.leader()
	for range 100 {
		first.produce(3)
		c.run(5 * time.Millisecond)
	}
	c.run(100 * time.Millisecond)
	require.Len(t, c.acked, 100)

	first.crash(vfs.Loss{})
	require.True(t, c.runUntil(5*time.Second, func() bool { return c.leader() != nil }))
	second := c.leader()
	require.NotEqual(t, first, second)
	for range 100 {
		second.produce(3)
		c.run(5 * time.Millisecond)
	}
	c.run(100 * time.Millisecond)
	require.Len(t, c.acked, 200)

	first.start()
	require.True(t, c.runUntil(5*time.Second, c.settled))
	c.check()
	require.Empty(t, c.failures)
}
