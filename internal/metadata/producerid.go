package metadata

import "sync"

// producerIDBlock is how many producer IDs the catalogue gives away at once, as
// in Kafka: what is left of them when the process ends is never used.
const producerIDBlock = 1000

// producerIDs are those that the catalogue has given to this process.
type producerIDs struct {
	mu        sync.Mutex
	next, end int64
}

// take returns the next one, if there is one left.
func (ids *producerIDs) take() (id int64, ok bool) {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	if ids.next == ids.end {
		return 0, false
	}
	ids.next++
	return ids.next - 1, true
}

// refill adds a block, when there are none left.
func (ids *producerIDs) refill(first, n int64) {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	ids.next, ids.end = first, first+n
}

// ProducerID returns a producer ID that nobody has or ever had, if one is left of
// those that were allotted to this process. It may be called at any time.
func (l *Log) ProducerID() (id int64, ok bool) { return l.ids.take() }

// NewProducerID returns a producer ID that nobody has or ever had.
func (l *Log) NewProducerID() (int64, error) {
	if id, ok := l.ids.take(); ok {
		return id, nil // somebody else was first
	}
	err := l.allotProducerIDs(nil)
	id, _ := l.ids.take()
	return id, err
}

// allotProducerIDs has the catalogue give a block of producer IDs to this
// process, together with what else values say.
func (l *Log) allotProducerIDs(values [][]byte) error {
	first, allotted, err := l.Catalogue.ProducerIDs(producerIDBlock, NodeID)
	if err == nil {
		err = l.Commit(append(values, allotted...))
	}
	if err == nil {
		l.ids.refill(first, producerIDBlock)
	}
	return err
}
