package produce

// queue holds a lane's batches from sealing until they are settled, in the order in
// which they get their offsets:
//
//	first                       unsent              last
//	  |                           |                   |
//	telling  done  handed  handed  ready  sealed  ready
//	   <- settler                <- sender      push ->
//
// The sender advances unsent, and the settler advances first. Both only go forward, one
// batch at a time: so outcomes have the order of sends. Invariants, under the lane's lock:
//
//   - first and last are nil together, and last.next is nil.
//   - Batches before unsent have been handed over. Batches from unsent on have not: they
//     are sealed or ready. If unsent is nil, all are handed over, or the lane has failed
//     or closed, and those that were not handed over never will be (withdraw).
//   - backlog counts the batches from unsent on.
//   - No batch but first is in stateTelling.
type queue struct {
	first, last *openBatch
	unsent      *openBatch
	backlog     int
}

// push adds a batch that is sealed or ready.
func (q *queue) push(b *openBatch) {
	if q.last == nil {
		q.first = b
	} else {
		q.last.next = b
	}
	q.last = b
	if q.unsent == nil {
		q.unsent = b
	}
	q.backlog++
}

// claimUnsent claims the next batch to hand to the partition. It returns nil if there is
// none, or if the next one isn't ready: handing over a later one would change the order.
func (q *queue) claimUnsent() *openBatch {
	b := q.unsent
	if b == nil || !b.enterLocked(stateHanded) {
		return nil
	}
	q.unsent = b.next
	q.backlog--
	return b
}

// withdraw makes the sender hand over none of the batches that are left. They keep their
// places, because their failures are delivered in order, too.
func (q *queue) withdraw() { q.unsent, q.backlog = nil, 0 }

// claimDone claims the first batch for the settler, if it has its outcome. Until pop, it
// returns the same batch again.
func (q *queue) claimDone() *openBatch {
	b := q.first
	if b == nil || b.state != stateTelling && !b.enterLocked(stateTelling) {
		return nil
	}
	return b
}

// pop removes the batch that claimDone returned, and settles it.
func (q *queue) pop() *openBatch {
	b := q.first
	if b == nil || !b.enterLocked(stateSettled) {
		return nil
	}
	if q.first, b.next = b.next, nil; q.first == nil {
		q.last = nil
	}
	return b
}

// isEmpty reports whether every batch is settled.
func (q *queue) isEmpty() bool { return q.first == nil }

// isQuiet reports whether no batch is on its way: sealed, with the partition, or waiting
// for the settler. A batch whose outcome is being delivered doesn't count: callbacks may
// take as long as they want, and the partition has nothing to do meanwhile.
func (q *queue) isQuiet() bool {
	return q.first == nil || q.first == q.last && q.first.state == stateTelling
}
