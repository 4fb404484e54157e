package produce

// A queue holds a lane's batches from sealing until they are settled, in the order in
// which they get their offsets:
//
//	first                       unsent              last
//	  |                           |                   |
//	telling  done  handed  handed  ready  sealed  ready
//	   <- settler                <- sender      push ->
//
// The sender advances unsent, the settler first; both only forward and without gaps, which
// is what keeps the order of outcomes that of sends. Invariants, under the lane's lock:
//
//   - first and last are nil together, and last.next is nil.
//   - What is before unsent has been handed over. What is from unsent on, has not:
//     it is sealed or ready. With unsent nil, either all are handed over, or the lane failed
//     or closed and what was not handed over is withdrawn: it never will be.
//   - backlog counts the batches from unsent on.
//   - Only first is ever in stateTelling.
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

// hand claims the next batch for the partition. It returns nil if there is none or
// it is not ready: handing over a later one would change the order.
func (q *queue) hand() *openBatch {
	b := q.unsent
	if b == nil || !b.enterLocked(stateHanded) {
		return nil
	}
	q.unsent = b.next
	q.backlog--
	return b
}

// withdraw takes from the sender what it has not handed over. The batches keep their
// places, because their failures are delivered in order, too.
func (q *queue) withdraw() { q.unsent, q.backlog = nil, 0 }

// tell claims the first batch for the settler, if it has its outcome. Asked again before
// pop, it returns the same one.
func (q *queue) tell() *openBatch {
	b := q.first
	if b == nil || b.state != stateTelling && !b.enterLocked(stateTelling) {
		return nil
	}
	return b
}

// pop takes the batch off that tell returned, and settles it.
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

// isQuiet reports whether no batch is on its way to its outcome or the settler. The one
// that is being told does not count: callbacks may take as long as they want, and the
// partition has nothing to do meanwhile.
func (q *queue) isQuiet() bool {
	return q.first == nil || q.first == q.last && q.first.state == stateTelling
}
