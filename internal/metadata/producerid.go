package metadata

import "sync"

// producerIDBlock is how many producer IDs the catalogue allots at once, as in Kafka.
// Those that are left when the process ends are never used.
const producerIDBlock = 1000

// producerIDs are the IDs that the catalogue has allotted to this process.
type producerIDs struct {
	mu        sync.Mutex
	next, end int64
}

// take returns the next ID, if there is one left.
func (ids *producerIDs) take() (id int64, ok bool) {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	if ids.next == ids.end {
		return 0, false
	}
	ids.next++
	return ids.next - 1, true
}

// refill sets the next block.
func (ids *producerIDs) refill(first, n int64) {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	ids.next, ids.end = first, first+n
}

// ProducerID returns a producer ID that was never used, if this process's block has
// one left. It may be called at any time.
func (l *Log) ProducerID() (id int64, ok bool) { return l.ids.take() }

// NewProducerID returns a producer ID that was never used. It allots a new block if
// need be.
func (l *Log) NewProducerID() (int64, error) {
	if id, ok := l.ids.take(); ok {
		return id, nil // another call allotted a block meanwhile
	}
	first, err := l.AllotProducerIDs()
	if err != nil {
		return 0, err
	}
	return l.TakeBlock(first), nil
}

// AllotProducerIDs allots a block of producer IDs to a node, for its TakeBlock.
func (l *Log) AllotProducerIDs() (first int64, err error) {
	first, allotted, err := l.Catalogue.ProducerIDs(producerIDBlock, l.cfg.Node)
	if err != nil {
		return 0, err
	}
	return first, l.Commit(allotted)
}

// TakeBlock takes a block of producer IDs for this process, and returns its first one.
// What was left of the last block is never used. It may be called at any time.
func (l *Log) TakeBlock(first int64) (id int64) {
	l.ids.refill(first+1, producerIDBlock-1)
	return first
}
