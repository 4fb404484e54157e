package runnel_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
)

// compacts is what must be true of a log that is compacted.
type compacts struct {
	records map[int64]compactable // by offset, also those that may be gone
	limit   int64                 // compaction may have gone over everything before
	met     map[int64]int64       // when it may have gone over a tombstone first, by offset
	now     int64                 // when it last did
}

type compactable struct {
	key   string
	value string
	null  bool
}

// deleteRetention is for how long tombstones stay, in milliseconds.
const deleteRetention = 300

// record makes a key and a value.
func (c *compacts) record(rng *rand.Rand, value []byte) (key, _ []byte) {
	if rng.IntN(4) == 0 {
		value = nil
	}
	return fmt.Append(nil, "k", rng.IntN(12)), value
}

// note takes up batches that were appended, or may have been.
func (c *compacts) note(batches []kept) {
	for _, k := range batches {
		batch, err := record.Parse(k.bytes)
		if err != nil {
			panic(err)
		}
		it, err := batch.Records(nil)
		if err != nil {
			panic(err)
		}
		for r := (record.Record{}); it.Next(&r); {
			c.records[r.Offset] = compactable{string(r.Key), string(r.Value), r.Value == nil}
			delete(c.met, r.Offset)
		}
	}
}

// compact compacts up to what is durable.
func (m *victim) compact() error {
	c := m.compacts
	c.now += m.rand.Int64N(400)
	limit := min(m.endMin, m.end)
	for offset := range c.records {
		if _, ok := c.met[offset]; !ok && offset < limit {
			c.met[offset] = c.now
		}
	}
	c.limit = max(c.limit, limit)
	done, err := m.log.Compact(context.Background(), log.Compaction{
		Now: c.now, Limit: limit, DeleteRetention: deleteRetention * time.Millisecond,
		SegmentBytes: 200 + m.rand.Int64N(6000), KeyBytes: m.rand.IntN(2), // which is room for few
	}, m.log.Swap)
	m.note("compact to %d at %d: %+v, %v", limit, c.now, done, err)
	switch {
	case err == nil && m.failed && done.Segments > 0:
		return errors.New("a log that had failed was compacted")
	case err == nil:
		m.marks = m.marks || done.Records > 0
	case !errors.Is(err, fault.DiskFull) && !errors.Is(err, fault.Storage):
		return fmt.Errorf("compact: %w", err)
	}
	m.failed = m.failed || err != nil && m.dead()
	m.settled()
	return nil
}

// compare holds batches that were read, from the one that holds from on, against
// the records that were appended, as far as compaction may have gone, and returns the
// batches behind that.
func (c *compacts) compare(from int64, b []byte) (rest []byte, next int64, err error) {
	next = -1
	for len(b) > 0 {
		batch, err := record.Parse(b)
		if err != nil {
			return nil, next, err
		}
		switch {
		case next >= 0 && batch.BaseOffset != next || next < 0 && (batch.BaseOffset > from || batch.NextOffset() <= from):
			return nil, next, fmt.Errorf("a batch from %d to %d", batch.BaseOffset, batch.LastOffset())
		case batch.BaseOffset >= c.limit:
			return b, max(batch.BaseOffset, from), nil
		}
		if err := c.compareBatch(from, batch); err != nil {
			return nil, next, err
		}
		b, next = b[batch.Size():], batch.NextOffset()
	}
	return nil, next, nil
}

func (c *compacts) compareBatch(from int64, batch record.Batch) error {
	it, err := batch.Records(nil)
	if err != nil {
		return err
	}
	offset := max(from, batch.BaseOffset)
	var r record.Record
	for it.Next(&r) {
		want, ok := c.records[r.Offset]
		if !ok || want != (compactable{string(r.Key), string(r.Value), r.Value == nil}) || r.Timestamp.UnixMilli() != r.Offset*1000 {
			return fmt.Errorf("the record at %d is %+v, and %+v was appended", r.Offset, r, want)
		}
		for ; offset < r.Offset; offset++ {
			if err := c.mayBeGone(offset); err != nil {
				return err
			}
		}
		offset = max(offset, r.Offset+1)
	}
	for ; offset < batch.NextOffset(); offset++ {
		if err := c.mayBeGone(offset); err != nil {
			return err
		}
	}
	return it.Err()
}

// mayBeGone says why the record at an offset must be there.
func (c *compacts) mayBeGone(offset int64) error {
	r := c.records[offset]
	if met, ok := c.met[offset]; r.null && ok && c.now >= met+deleteRetention {
		return nil
	}
	for later := offset + 1; later < c.limit; later++ {
		if c.records[later].key == r.key {
			return nil
		}
	}
	return fmt.Errorf("the record at %d is gone, the last one of %s below %d", offset, r.key, c.limit)
}

// retain drops what is too old or too much.
func (m *victim) retain() error {
	r := log.Retention{Limit: m.end, Age: -1, Bytes: -1}
	if m.chance(50) {
		r.Now, r.Age = m.rand.Int64N(m.end*1000+1000), time.Duration(m.rand.IntN(200))*time.Second
	} else {
		r.Bytes = m.rand.Int64N(10_000)
	}
	before, size := m.log.StartOffset(), m.log.Size()
	start, _ := m.log.Expired(r)
	m.note("retention %+v: %d", r, start)
	if start < before || start > m.end {
		return fmt.Errorf("retention starts at %d, between %d and %d", start, before, m.end)
	}
	if start == before {
		return nil
	}
	gone := m.compacts != nil && start <= m.compacts.limit && m.compacts.mayBeGone(start-1) == nil
	if last := (start - 1) * 1000; r.Age >= 0 && !gone && r.Now-last <= r.Age.Milliseconds() {
		return fmt.Errorf("the record at %d is not %v old at %d", start-1, r.Age, r.Now)
	}
	if r.Bytes >= 0 && size < r.Bytes {
		return fmt.Errorf("%d bytes are fewer than %d, and some are to go", size, r.Bytes)
	}
	if err := m.startAt(start); err != nil {
		return err
	}
	if left := m.log.Size(); r.Bytes >= 0 && left < r.Bytes && !m.failed {
		return fmt.Errorf("%d bytes are left, fewer than %d", left, r.Bytes)
	}
	return nil
}
