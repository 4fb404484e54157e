package partition

import (
	"slices"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
)

// Slice is a run of whole batches, with the partition's bounds as of the read. It
// may begin with records before the requested offset, which share a batch with it.
type Slice struct {
	log.Slice
	StartOffset   int64
	HighWatermark int64
	Visible       int64 // as Partition.Visible was

	// Aborted are the transactions whose records a reader of committed records must pass
	// over. It is empty for others.
	Aborted log.Aborted
}

// Hides reports whether a batch of the slice has records of an aborted transaction.
func (s *Slice) Hides(h *record.BatchHeader) bool {
	return len(s.Aborted) > 0 && h.Transactional() && s.Aborted.Has(h.ProducerID, h.BaseOffset)
}

// Visible returns the offset before which readers may see records. Read and Wait keep
// to it, and nothing else decides what a reader sees: it is the high watermark, as
// for Kafka's read_uncommitted. At has the view of another level of isolation.
func (p *Partition) Visible() int64 { return p.high.Load() }

// Read returns whole batches that are visible, beginning with the one that holds
// offset: up to max bytes, but at least one batch. At the end of what is visible it
// returns none. Read may read a file into buf; see log.Slice for who owns the bytes.
// An offset outside the partition's bounds is fault.OffsetOutOfRange, damaged bytes
// are a *fault.Corruption.
//
// A replica returns none, too, for an offset that it does not have or know to be
// committed: it may lag behind the one from which the reader has the offset. Only a
// leader knows an offset behind its log's end to be outside.
func (p *Partition) Read(offset int64, max int, buf []byte) (Slice, error) {
	return p.read(offset, max, buf, p.Visible(), p.log.Read)
}

// ReadStored is Read from the files alone, past the copy of the log's tail in memory.
func (p *Partition) ReadStored(offset int64, max int, buf []byte) (Slice, error) {
	return p.read(offset, max, buf, p.Visible(), p.log.ReadStored)
}

func (p *Partition) read(offset int64, max int, buf []byte, visible int64, from func(offset, limit int64, max int, buf []byte) (log.Slice, error)) (Slice, error) {
	s := Slice{StartOffset: p.log.StartOffset(), HighWatermark: p.high.Load(), Visible: visible}
	if offset < s.StartOffset || offset > s.HighWatermark && !p.replica.mayReach(offset) {
		if err := p.whyClosed(); err != nil {
			return s, err
		}
		return s, p.fault(fault.OffsetOutOfRange, offset).Detailf("it holds %d to %d", s.StartOffset, s.HighWatermark)
	}
	if offset >= s.Visible {
		return s, p.whyClosed()
	}
	var err error
	s.Slice, err = from(offset, s.Visible, max, buf)
	return s, err
}

// whyClosed returns why the partition is closed, or nil.
func (p *Partition) whyClosed() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// A Waker waits for records. Wake is called at most once per Wait; it must not
// block.
type Waker interface{ Wake() }

type waiter struct {
	level  Isolation
	offset int64
	waker  Waker
}

// Wait returns false if a record at offset is readable already, or the partition
// is closed: read again. Otherwise it returns true, and w is woken once, when the
// high watermark has passed offset or the partition is closed.
func (p *Partition) Wait(offset int64, w Waker) bool { return p.wait(ReadUncommitted, offset, w) }

func (p *Partition) wait(level Isolation, offset int64, w Waker) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed != nil || p.At(level).Visible() > offset {
		return false
	}
	p.waiting = append(p.waiting, waiter{level, offset, w})
	return true
}

// CancelWait cancels w's Waits. A Wake that the writer has begun may still come.
func (p *Partition) CancelWait(w Waker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = slices.DeleteFunc(p.waiting, func(other waiter) bool { return other.waker == w })
}

// advance moves the high watermark and wakes the readers waiting for it. The
// watermark moves first, and Wait reads it under the lock, so a reader either sees
// the new watermark or is in waiting by the time that advance takes the lock.
// Wakers run without the lock: they are the readers' code.
func (p *Partition) advance(high int64) {
	p.high.Store(high)
	p.log.SetHighWatermark(high)
	p.mu.Lock()
	if len(p.waiting) == 0 {
		p.mu.Unlock()
		return
	}
	woken := p.woken[:0]
	visible := [...]int64{ReadUncommitted: high, ReadCommitted: p.stable()}
	p.waiting = slices.DeleteFunc(p.waiting, func(w waiter) bool {
		if w.offset >= visible[w.level] {
			return false
		}
		woken = append(woken, w.waker)
		return true
	})
	p.mu.Unlock()
	for _, w := range woken {
		w.Wake()
	}
	clear(woken)
	p.woken = woken
}

// Scan calls fn for every record that is visible, the markers of transactions too,
// with its batch, until fn returns an error. Both are valid until fn returns.
func (p *Partition) Scan(fn func(*record.Batch, *record.Record) error) error {
	return Scan(p, p.codec, fn)
}

// Scan implements Handle.Scan by a handle's other methods.
func Scan(p Handle, codec *record.Codec, fn func(*record.Batch, *record.Record) error) error {
	for offset := p.StartOffset(); offset < p.Visible(); {
		s, err := p.Read(offset, 1<<20, nil)
		if err != nil {
			return err
		}
		if len(s.Bytes) == 0 {
			return fault.Newf(fault.LeaderNotAvailable, "nothing can be read at offset %d", offset) // of a partition that is elsewhere
		}
		for rest := s.Bytes; len(rest) > 0; {
			h, err := record.ParseHeader(rest)
			if err != nil {
				return err
			}
			batch := record.Batch{BatchHeader: h, Bytes: rest[:h.Size()]}
			rest, offset = rest[h.Size():], h.NextOffset()
			if _, marker := log.MarkerOf(batch); h.Control() && !marker {
				continue
			}
			if err := each(batch, codec, fn); err != nil {
				return err
			}
		}
	}
	return nil
}

// each calls fn for every record of a batch.
func each(b record.Batch, codec *record.Codec, fn func(*record.Batch, *record.Record) error) error {
	it, err := b.Records(codec)
	if err != nil {
		return err
	}
	for r := (record.Record{}); it.Next(&r); {
		if err := fn(&b, &r); err != nil {
			return err
		}
	}
	return it.Err()
}
