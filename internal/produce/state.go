package produce

import "github.com/runnel-go/runnel/record"

// batchState is how far a batch has come. A batch goes through the states in this
// order and may leave some out; the package doc draws the transitions. It is guarded by
// the lane's lock, as is everything whose comment names a state.
type batchState int8

const (
	// stateSettled: every sender has its outcome. The batch is not in use: it is new, or
	// on the lane's free list.
	stateSettled batchState = iota

	// stateOpen: senders reserve room and copy records. It is the lane's open batch,
	// and not in the queue.
	stateOpen

	// stateSealed: no room can be reserved any more, but records are still being copied.
	// From here on the batch is in the queue, where it keeps its place whatever comes
	// first. It must not get an outcome before the last copier is done: settling frees
	// the memory that is being copied to.
	stateSealed

	// stateReady: everything is copied. The sender may hand it to the partition.
	stateReady

	// stateHanded: the sender has claimed it, and the partition has it or is about to.
	// Its outcome comes by Appended.
	stateHanded

	// stateDone: offset and err are its outcome. It waits for the settler.
	stateDone

	// stateTelling: the settler delivers the outcome, and may have to continue on another
	// goroutine. It is still in the queue, so that Flush waits for its callbacks.
	stateTelling
)

// before holds, for each state, those from which a batch may enter it.
var before = [...]uint8{
	stateSettled: 1 << stateTelling,
	stateOpen:    1 << stateSettled,
	stateSealed:  1 << stateOpen,
	// A batch that only its sender fills, before others see it, is ready at once.
	stateReady:  1<<stateSealed | 1<<stateSettled,
	stateHanded: 1 << stateReady,
	// A lane that fails or closes ends ready batches without handing them over. One that
	// closes ends handed ones, too: it does not wait for the disk.
	stateDone:    1<<stateReady | 1<<stateHanded,
	stateTelling: 1 << stateDone,
}

// enterLocked moves the batch to a state, and reports whether that state may follow its
// own. If not, the batch stays as it is. That is no error: events race, and the late one
// must change nothing. For example, the outcome of an append may arrive after the lane
// was closed. Every change of state goes through here.
func (b *openBatch) enterLocked(s batchState) bool {
	if before[s]&(1<<b.state) == 0 {
		return false
	}
	b.state = s
	return true
}

// sealLocked ends reserving. The batch is ready with it, unless a sender still copies:
// the last copier then finds copied at 0 and calls lane.becomesReady.
func (b *openBatch) sealLocked() {
	if !b.enterLocked(stateSealed) {
		return
	}
	s := b.word.Or(sealedBit)
	b.count, b.size = countOf(s), positionOf(s)
	reservedBytes := int64(b.size - record.HeaderLen)
	if b.copied.Add(-reservedBytes) == 0 {
		b.enterLocked(stateReady)
	}
}

// finishLocked gives the batch its outcome and reports whether it had none. A batch that
// is sealed but not ready gets none here: its last copier ends it.
func (b *openBatch) finishLocked(offset int64, err error) bool {
	if !b.enterLocked(stateDone) {
		return false
	}
	b.offset, b.err = offset, err
	return true
}
