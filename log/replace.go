package log

import (
	"context"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// Refetch makes a Replacement of the sealed segment that holds an offset, from another
// copy: it is how a damaged segment is repaired while the log is in use. fetch is as in
// RefillOptions, but may begin with the batch that has from. What lies before begin the other
// copy need not have; an empty batch stands for it. It is an error if the segment is the active one: see Roll.
//
// Refetch may run on any goroutine, beside readers and the writer, but not beside Compact.
// Only the writer may swap the Replacement in.
func (l *Log) Refetch(ctx context.Context, offset, begin int64, fetch func(from, to int64, write func(batches []byte) error) error) (*Replacement, error) {
	segments := l.list()
	if len(segments) == 0 {
		return nil, l.lost(offset)
	}
	i := segmentOf(segments, offset)
	if i < 0 || i == len(segments)-1 {
		return nil, l.errorAt(fault.Storage, offset).Detailf("it is in no sealed segment")
	}
	group, limit := segments[i:i+1], segments[i+1].base
	out, err := l.newCleaned(group)
	if err == nil {
		err = out.refetch(ctx, max(begin, group[0].base), limit, fetch)
	}
	if err == nil {
		err = out.finish()
	}
	if err != nil {
		out.remove()
		return nil, err
	}
	return out.replacement(group), nil
}

// refetch writes the batches from an offset to another.
func (w *cleaned) refetch(ctx context.Context, from, to int64, fetch func(from, to int64, write func([]byte) error) error) error {
	l, next := w.log, from
	refuse := func(format string, args ...any) error {
		return l.errorAt(fault.InvalidRecord, next).Detailf("batches from another copy: "+format, args...)
	}
	err := fetch(from, to, func(batches []byte) error {
		for rest := batches; len(rest) > 0; {
			b, err := record.Parse(rest)
			if err != nil {
				return refuse("%v", err)
			}
			if base := w.next.base; next == from && b.BaseOffset <= from && b.BaseOffset >= base {
				if b.BaseOffset > base {
					h := record.BatchHeader{BaseOffset: base, LastOffsetDelta: int32(b.BaseOffset - 1 - base), LeaderEpoch: max(0, epochAt(l.Epochs(), base))}
					if err := w.widenGap(&h); err != nil {
						return err
					}
				}
				next = b.BaseOffset
			}
			if b.BaseOffset != next || b.NextOffset() > to {
				return refuse("one of the offsets %d to %d, before %d", b.BaseOffset, b.LastOffset(), to)
			}
			if epoch := epochAt(l.Epochs(), b.BaseOffset); epoch != record.NoLeaderEpoch && epoch != b.LeaderEpoch {
				return refuse("one of leader epoch %d instead of %d", b.LeaderEpoch, epoch)
			}
			b.Bytes = b.Bytes[:b.Size()]
			if err := w.fillGap(); err != nil {
				return err
			}
			if err := w.write(b); err != nil {
				return err
			}
			next, rest = b.NextOffset(), rest[b.Size():]
		}
		return ctx.Err()
	})
	if err == nil && next < to {
		err = refuse("they end at offset %d instead of %d", next, to)
	}
	return err
}

// IsActive reports whether an offset lies in the active segment.
func (l *Log) IsActive(offset int64) bool {
	s := l.list()
	return len(s) > 0 && s[len(s)-1].base <= offset
}
