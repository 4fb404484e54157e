package partition

import (
	"context"
	"errors"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/keyindex"
	"github.com/runnel-go/runnel/record"
)

// pageBytes is about how many bytes of records ReadKey returns at the most.
const pageBytes = 1 << 20

// ReadKey returns up to most records of a key, oldest first, from an offset on, that are
// visible at a level of isolation, by the topic's index of keys. next is where to go on. There
// are no more once that is end, which is where the partition ended. The records' bytes are the caller's.
//
// fault.InvalidConfig where the topic has no index.
func (p *Partition) ReadKey(ctx context.Context, key []byte, from int64, level Isolation, most int) (records []record.Record, next, end int64, err error) {
	if p.broken != nil {
		return nil, 0, 0, p.broken
	}
	if !p.settings.Load().KeyIndex {
		return nil, 0, 0, p.fault(fault.InvalidConfig, -1).Detailf("the topic has no index of keys").
			Try("set runnel.key.index=true, or read the whole partition with consumer.Scanning")
	}
	view := p.At(level)
	end = view.Visible()
	offsets, err := p.offsetsOf(ctx, key, max(from, p.log.StartOffset()), most)
	if err != nil {
		return nil, 0, 0, err
	}
	bytes := 0
	for _, offset := range offsets {
		if offset >= end {
			return records, end, end, nil
		}
		if bytes >= pageBytes {
			return records, offset, end, nil
		}
		r, ok, err := p.readOne(view, key, offset)
		if err != nil {
			return nil, 0, 0, err
		}
		if ok {
			records = append(records, r)
			bytes += len(r.Key) + len(r.Value)
		}
	}
	if next = end; len(offsets) == most {
		next = offsets[most-1] + 1
	}
	return records, next, end, nil
}

// offsetsOf returns where there may be records of a key, once the index has all that is
// there.
func (p *Partition) offsetsOf(ctx context.Context, key []byte, from int64, n int) ([]int64, error) {
	k := p.keys
	for {
		if !k.ready.Load() {
			ready := make(chan error, 1)
			k.await(func(err error) { ready <- err })
			select {
			case err := <-ready:
				if err != nil {
					return nil, err
				}
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		err := k.index.Follow(ctx)
		var offsets []int64
		if err == nil {
			offsets, err = k.index.Offsets(key, from, n)
		}
		switch {
		case err == nil:
			return offsets, nil
		case errors.Is(err, keyindex.ErrAgain):
			k.ready.Store(false)
		case ctx.Err() != nil:
			return nil, ctx.Err()
		default:
			return nil, p.storage(err)
		}
	}
}

// readOne returns the record at an offset, if it is there and has the key.
func (p *Partition) readOne(view View, key []byte, offset int64) (r record.Record, ok bool, err error) {
	s, err := view.Read(offset, 1, nil)
	if err != nil || len(s.Bytes) == 0 {
		if fault.CodeOf(err) == fault.OffsetOutOfRange { // deleted meanwhile
			err = nil
		}
		return r, false, err
	}
	defer s.Release()
	h, err := record.ParseHeader(s.Bytes)
	if err != nil || h.Control() || s.Hides(&h) {
		return r, false, err
	}
	err = each(record.Batch{BatchHeader: h, Bytes: s.Bytes[:h.Size()]}, p.codec, func(_ *record.Batch, found *record.Record) error {
		if found.Offset == offset && found.Key != nil && string(found.Key) == string(key) {
			r, ok = found.Clone(), true
			r.Topic, r.Partition = p.topic, p.number
		}
		return nil
	})
	return r, ok, err
}
