package replicatest_test

import (
	"testing"
	"time"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/backendtest"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica/replicatest"
)

// A node of a cluster does what every backend does, also while leaders move all the time:
// those of the catalogue and of coordinators always, those of a test's topics unless it counts
// offsets, of which each leader takes one. One node is enough, because it leads some
// partitions and follows in others all the time.
func TestBackendWhileLeadersMove(t *testing.T) {
	moves := func(tp record.TopicPartition) bool { return !backendtest.Still(tp.Topic) }
	backendtest.RunInBubble(t, func(t *testing.T) backendtest.Backend {
		c := replicatest.Cluster(t, 3, runnel.ShareGroups())
		stop := c.MoveLeaders(50*time.Millisecond, moves)
		t.Cleanup(func() { stop() })
		return c.Broker(2)
	}, backendtest.Features{
		AtomicTopics: true, Durability: true, Preconditions: true, ShareGroups: true, AppendTime: true, StaticMembers: true, RefusesConsumers: fault.InconsistentProtocol,
		FirstOffset: 1, Lags: true, LeadersMove: true, Replicas: 3,
	})
}
