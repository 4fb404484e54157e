package consumer

import "github.com/runnel-go/runnel/record"

// progress is how far each partition is done, as far as the group doesn't know it
// yet. Marks are numbered: a commit that waited for its turn stores nothing that a
// later one has stored already, and keeps what was done meanwhile. Guarded by
// Consumer.mu.
type progress struct {
	done   map[record.TopicPartition]mark   // not committed
	stored map[record.TopicPartition]uint64 // the number of the last mark that was committed
	last   uint64                           // the number of the last mark

	// awaited are assigned partitions whose start position is not known yet, and
	// becomes their first mark.
	awaited map[record.TopicPartition]bool
}

// mark is how far a partition is done.
type mark struct {
	Offset
	number uint64
}

func newProgress() progress {
	return progress{
		done: map[record.TopicPartition]mark{}, stored: map[record.TopicPartition]uint64{}, awaited: map[record.TopicPartition]bool{},
	}
}

// mark records how far a partition is done.
func (p *progress) mark(tp record.TopicPartition, o Offset) {
	p.last++
	p.done[tp] = mark{o, p.last}
}

// isStored reports whether a commit has stored m or a later mark.
func (p *progress) isStored(tp record.TopicPartition, m mark) bool { return m.number <= p.stored[tp] }

// noteStored notes that marks are stored. What was done since they were taken stays.
func (p *progress) noteStored(marks map[record.TopicPartition]mark) {
	for tp, m := range marks {
		p.stored[tp] = m.number
		if p.done[tp] == m {
			delete(p.done, tp)
		}
	}
}

// overtake notes that the program has stored an offset itself. All marks so far are
// older than it.
func (p *progress) overtake(tp record.TopicPartition) { p.stored[tp] = p.last }

// forget drops what is known of a partition.
func (p *progress) forget(tp record.TopicPartition) {
	delete(p.done, tp)
	delete(p.stored, tp)
	delete(p.awaited, tp)
}
