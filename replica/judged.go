package replica

import (
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/partition"
)

// judged is the Completion of an append to the copy on this node, which judges a producer's
// batch as the leader's.
//
// A replica that was deposed and does not know it yet lacks what the next leader has
// appended meanwhile. It would refuse a batch that follows on that, and the producer would
// take its records for lost. So a refusal counts only once a majority has confirmed that
// the replica leads. Otherwise the append is fault.NotLeader, and goes to the next leader.
type judged struct {
	r  *Replica
	to partition.Completion
}

// Appended implements partition.Completion.
func (j judged) Appended(base int64, err error) {
	if !isJudgement(err) {
		j.to.Appended(base, err)
		return
	}
	epoch, _ := j.r.Leadership()
	started := j.r.node.run(func() {
		if j.r.Confirm(epoch) != nil {
			err = j.r.noLeader()
		}
		j.to.Appended(-1, err)
	})
	if !started {
		j.to.Appended(-1, j.r.noLeader())
	}
}

// isJudgement reports whether an error says how a batch relates to its producer's earlier
// ones, or to what it demands, which depends on the log that it is compared with.
func isJudgement(err error) bool {
	switch fault.CodeOf(err) {
	case fault.UnknownProducer, fault.OutOfOrderSequence, fault.DuplicateSequence, fault.InvalidProducerEpoch,
		fault.InvalidTxnState, fault.CoordinatorFenced, fault.PreconditionFailed:
		return true
	}
	return false
}
