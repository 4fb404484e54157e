package replicatest_test

import (
	"fmt"
	"testing"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/backendtest"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/replica/replicatest"
)

// Each node of a cluster does what every backend does.
func TestBackendOnAnyNode(t *testing.T) {
	for id := 1; id <= 3; id++ {
		t.Run(fmt.Sprint("node ", id), func(t *testing.T) {
			backendtest.RunInBubble(t, func(t *testing.T) backendtest.Backend {
				return replicatest.Cluster(t, 3, runnel.ShareGroups()).Broker(id)
			}, backendtest.Features{
				AtomicTopics: true, Durability: true, Preconditions: true, ShareGroups: true, AppendTime: true, StaticMembers: true, RefusesConsumers: fault.InconsistentProtocol,
				FirstOffset: 1, Lags: true, Replicas: 3,
			})
		})
	}
}
