package transporttest

import (
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"github.com/runnel-go/runnel/internal/leak"
	"github.com/runnel-go/runnel/replica"
)

// Cluster makes the transports of one test. Its methods are called by the test's goroutine.
type Cluster interface {
	// New returns a transport that is not started, and the address under which others
	// reach it once it is. It may be started as any node, also as one that an earlier
	// transport, closed since, was. The suite closes it.
	New(t testing.TB) (transport replica.Transport, address string)

	// Cut makes the network lose every byte between any two nodes, without telling them,
	// until Heal. The transport notices within 30 seconds.
	Cut()
	Heal()
}

// test is one of the suite's.
type test struct {
	name string
	run  func(*fixture)
}

// Run tests the transports of the clusters that open returns, one for each test.
func Run(t *testing.T, open func(t testing.TB) Cluster) {
	for _, test := range tests() {
		t.Run(test.name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			t.Cleanup(func() { leak.None(t, before) }) // last, after the cluster's own
			test.run(newFixture(t, open(t)))
		})
	}
}

// RunInBubble is Run with each test in a testing/synctest bubble, where time passes
// only when every goroutine waits. A goroutine that is left fails the test.
func RunInBubble(t *testing.T, open func(t testing.TB) Cluster) {
	for _, test := range tests() {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test.run(newFixture(t, open(t))) })
		})
	}
}

func tests() []test {
	return []test{
		{"FramesArriveUnaltered", framesArriveUnaltered},
		{"FramesOfALaneKeepTheirOrder", framesOfALaneKeepTheirOrder},
		{"FramesAreTheSendersAgainAfterRelease", framesAreTheSendersAgainAfterRelease},
		{"FramesAreTheReceiversUntilDone", framesAreTheReceiversUntilDone},
		{"EveryFrameIsReleasedOnce", everyFrameIsReleasedOnce},
		{"BulkOverBudgetIsRefusedAndControlGoesOn", bulkOverBudgetIsRefusedAndControlGoesOn},
		{"EmptyFramesAreBounded", emptyFramesAreBounded},
		{"UnlistedSendersAreHeard", unlistedSendersAreHeard},

		{"PeersComeAndGo", peersComeAndGo},
		{"PeersChangeTheirAddress", peersChangeTheirAddress},
		{"PeersAreRemoved", peersAreRemoved},
		{"AnotherNodeAtTheAddress", anotherNodeAtTheAddress},
		{"CutNetwork", cutNetwork},
		{"FlappingNetwork", flappingNetwork},

		{"StreamsCarryBytesBothWays", streamsCarryBytesBothWays},
		{"StreamsHoldBoundedBytes", streamsHoldBoundedBytes},
		{"StreamsEndWithTheirContext", streamsEndWithTheirContext},
		{"StreamsClosedByThePeer", streamsClosedByThePeer},
		{"StreamsClosedHere", streamsClosedHere},
		{"StreamsToNowhere", streamsToNowhere},

		{"StartRefuses", startRefuses},
		{"CloseEndsEverything", closeEndsEverything},
		{"CloseWithoutStart", closeWithoutStart},
		{"CloseAtAnyMoment", closeAtAnyMoment},
	}
}
