package partition

import "github.com/runnel-go/runnel/log"

// Isolation says what readers see of transactions: Kafka's isolation.level.
type Isolation int8

// The levels of isolation.
const (
	ReadUncommitted Isolation = iota // all records below the high watermark
	ReadCommitted                    // those below the last stable offset, without aborted ones
)

// View is a partition as readers of a level of isolation see it. A *Partition is its own
// view of ReadUncommitted, and documents the methods. With ReadCommitted, what is visible
// ends at the last stable offset, and a Slice says which of its batches are hidden.
type View interface {
	Visible() int64
	Read(offset int64, max int, buf []byte) (Slice, error)
	Wait(offset int64, w Waker) bool
	CancelWait(w Waker)
}

// At returns the partition's view of a level of isolation.
func (p *Partition) At(level Isolation) View {
	if level == ReadCommitted {
		return committed{p}
	}
	return p
}

// stable returns the last stable offset: before it, every transaction is decided.
func (p *Partition) stable() int64 {
	if high := p.high.Load(); high > 0 {
		return p.log.StableOffset(high)
	}
	return p.high.Load()
}

// committed is a partition's view of ReadCommitted.
type committed struct{ p *Partition }

func (c committed) Visible() int64                  { return c.p.stable() }
func (c committed) Wait(offset int64, w Waker) bool { return c.p.wait(ReadCommitted, offset, w) }
func (c committed) CancelWait(w Waker)              { c.p.CancelWait(w) }

func (c committed) Read(offset int64, max int, buf []byte) (Slice, error) {
	var aborted log.Aborted
	s, err := c.p.read(offset, max, buf, c.p.stable(), func(offset, limit int64, max int, buf []byte) (s log.Slice, err error) {
		s, aborted, err = c.p.log.ReadCommitted(offset, limit, max, buf)
		return s, err
	})
	s.Aborted = aborted
	return s, err
}

// OpenTransaction is a transaction that is not decided in a partition.
type OpenTransaction struct {
	ProducerID int64
	Epoch      int16
	First      int64 // its first offset
}

// OpenTransactions returns the transactions that have no marker in the log yet, by their
// first offset.
func (p *Partition) OpenTransactions() (all []OpenTransaction, err error) {
	err = p.asWriter(func() error {
		for _, q := range p.log.OpenTransactions() {
			all = append(all, OpenTransaction{q.ID, q.Epoch, q.TxnFirst})
		}
		return nil
	})
	return all, err
}
