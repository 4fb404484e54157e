package partition

import (
	"slices"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
)

// Slice is a run of whole batches, with the partition's bounds when it was read.
// It may begin with records before the offset that was asked for.
type Slice struct {
	log.Slice
	StartOffset   int64
	HighWatermark int64
}

// Read returns whole batches from the one that holds offset on, up to max bytes
// but at least one batch, and only what is below the high watermark. At the high
// watermark it returns none. buf may be used for what is read from a file; see
// log.Slice for whose the bytes are. fault.OffsetOutOfRange outside the
// partition's bounds, a *fault.Corruption where bytes are damaged.
func (p *Partition) Read(offset int64, max int, buf []byte) (Slice, error) {
	return p.read(offset, max, buf, p.log.Read)
}

// ReadStored is Read of what stands in the files, whether or not memory has it.
func (p *Partition) ReadStored(offset int64, max int, buf []byte) (Slice, error) {
	return p.read(offset, max, buf, p.log.ReadStored)
}

func (p *Partition) read(offset int64, max int, buf []byte, from func(offset, limit int64, max int, buf []byte) (log.Slice, error)) (Slice, error) {
	s := Slice{StartOffset: p.log.StartOffset(), HighWatermark: p.high.Load()}
	if offset < s.StartOffset || offset > s.HighWatermark {
		if err := p.gone(); err != nil {
			return s, err
		}
		return s, p.fault(fault.OffsetOutOfRange, offset).Detailf("it holds %d to %d", s.StartOffset, s.HighWatermark)
	}
	if offset == s.HighWatermark {
		return s, p.gone()
	}
	var err error
	s.Slice, err = from(offset, s.HighWatermark, max, buf)
	return s, err
}

// gone returns why the partition is closed, or nil.
func (p *Partition) gone() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// A Waker waits for records. Wake is called at most once per Wait; it must not
// block.
type Waker interface{ Wake() }

type waiter struct {
	offset int64
	waker  Waker
}

// Wait returns false when there is a record at offset already, or the partition
// is closed. Otherwise it returns true, and w is woken, once, when the high
// watermark has passed offset or the partition is closed.
func (p *Partition) Wait(offset int64, w Waker) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed != nil || p.high.Load() > offset {
		return false
	}
	p.waiting = append(p.waiting, waiter{offset, w})
	return true
}

// CancelWait takes back w's Waits. A Wake that is on its way may still come.
func (p *Partition) CancelWait(w Waker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = slices.DeleteFunc(p.waiting, func(other waiter) bool { return other.waker == w })
}

// advance moves the high watermark and wakes whoever waited for that. The
// watermark moves first, and Wait looks at it under the lock, so nobody is
// missed.
func (p *Partition) advance(high int64) {
	p.high.Store(high)
	p.mu.Lock()
	if len(p.waiting) == 0 {
		p.mu.Unlock()
		return
	}
	woken := p.woken[:0]
	p.waiting = slices.DeleteFunc(p.waiting, func(w waiter) bool {
		if w.offset >= high {
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

// Scan calls fn for every record below the high watermark, until it returns an
// error. Markers of transactions are passed over. The record is valid until fn
// returns.
func (p *Partition) Scan(fn func(*record.Record) error) error {
	for offset := p.StartOffset(); offset < p.HighWatermark(); {
		s, err := p.Read(offset, 1<<20, nil)
		if err != nil {
			return err
		}
		for rest := s.Bytes; len(rest) > 0; {
			h, err := record.ParseHeader(rest)
			if err != nil {
				return err
			}
			batch := record.Batch{BatchHeader: h, Bytes: rest[:h.Size()]}
			rest, offset = rest[h.Size():], h.NextOffset()
			if h.Control() {
				continue
			}
			if err := each(batch, p.codec, fn); err != nil {
				return err
			}
		}
	}
	return nil
}

// each calls fn for every record of a batch.
func each(b record.Batch, codec *record.Codec, fn func(*record.Record) error) error {
	it, err := b.Records(codec)
	if err != nil {
		return err
	}
	for r := (record.Record{}); it.Next(&r); {
		if err := fn(&r); err != nil {
			return err
		}
	}
	return it.Err()
}
