package sharing

import (
	"context"
	"errors"

	"github.com/runnel-go/runnel/fault"
	internal "github.com/runnel-go/runnel/internal/coordinator/share"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
)

// search looks for records that are due among those that wait in a stretch of offsets, and
// has the coordinator make them available.
func (src *source) search(ctx context.Context, p host.Partition, s *internal.Search) error {
	f := finding{search: s, at: s.First}
	view := p.At(src.session.isolation())
	for f.at <= s.Last && len(f.found) < s.Most {
		slice, err := view.Read(f.at, src.session.cfg.MaxBytes, nil)
		if errors.Is(err, fault.OffsetOutOfRange) && f.at < slice.StartOffset {
			f.at = slice.StartOffset // deleted meanwhile
			continue
		}
		if err != nil {
			return src.passing(err)
		}
		if len(slice.Bytes) == 0 { // a replica that lags: another search will find the rest
			return nil
		}
		for rest := slice.Bytes; len(rest) > 0 && err == nil; {
			var h record.BatchHeader
			if h, err = record.ParseHeader(rest); err != nil {
				break
			}
			if !h.Control() && h.Count > 0 && !slice.Hides(&h) && h.NextOffset() > f.at {
				err = f.look(src, record.Batch{BatchHeader: h, Bytes: rest[:h.Size()]})
			}
			if len(f.found) < s.Most && err == nil {
				f.at = max(f.at, h.NextOffset())
			}
			rest = rest[h.Size():]
		}
		slice.Release()
		if err != nil {
			return err
		}
	}
	return src.session.sessions.shares.Promote(ctx, src.key, src.session.member, *s, f.found, f.rest, f.at)
}

// finding is what a search has found.
type finding struct {
	search *internal.Search
	found  []int64
	rest   internal.Rest
	at     int64 // everything before it was looked at
}

// look looks at the records of a batch.
func (f *finding) look(src *source, b record.Batch) error {
	it, err := b.Records(src.session.sessions.host.Codec())
	if err != nil {
		return record.Undecodable(err, src.tp.Topic, src.tp.Partition, f.at)
	}
	for r := (record.Record{}); len(f.found) < f.search.Most && it.Next(&r); {
		if r.Offset < f.at || r.Offset > f.search.Last {
			continue
		}
		f.at = r.Offset + 1
		due, ok := producer.DeliverAt(r)
		switch {
		case !ok || !due.After(f.search.Passed):
		case !due.After(f.search.Now):
			f.found = append(f.found, r.Offset)
		default:
			if f.rest.Count == 0 {
				f.rest.First, f.rest.Next = r.Offset, due
			}
			f.rest.Last, f.rest.Count = r.Offset, f.rest.Count+1
			if due.Before(f.rest.Next) {
				f.rest.Next = due
			}
		}
	}
	if err := it.Err(); err != nil {
		return record.Undecodable(err, src.tp.Topic, src.tp.Partition, f.at)
	}
	return nil
}
