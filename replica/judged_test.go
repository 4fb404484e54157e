package replica_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/replica"
)

// What a replica says of a producer's sequence counts if a majority confirms that it leads.
// One that was deposed without a word, or never led, sends the append on.
func TestRefusalOfAProducerIsConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		first := c.leader()
		leader, other := c.replica(first), c.replica((first+1)%3)
		require.NoError(t, leader.AppendAwait(one(t, "a")))
		refusal := func(r *replica.Replica, err error) error {
			told := make(awaited, 1)
			r.Refused(err, told)
			return <-told
		}
		unknown := fault.Newf(fault.UnknownProducer, "it has forgotten")
		require.ErrorIs(t, refusal(leader, unknown), fault.UnknownProducer)
		require.ErrorIs(t, refusal(other, unknown), fault.NotLeader)
		require.ErrorIs(t, refusal(leader, &fault.Conflict{}), fault.PreconditionFailed)
		require.ErrorIs(t, refusal(other, &fault.Conflict{}), fault.NotLeader)
		require.ErrorIs(t, refusal(other, fault.RecordTooLarge), fault.RecordTooLarge, "that is so wherever it is sent")
		c.network.Partition([]replica.NodeID{replica.NodeID(first + 1)})
		require.ErrorIs(t, refusal(leader, unknown), fault.NotLeader)
	})
}
