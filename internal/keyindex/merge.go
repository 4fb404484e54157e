package keyindex

import (
	"context"
	"errors"
	"slices"

	"github.com/runnel-go/runnel/record"
)

const (
	// mergedAtOnce is how many runs of about one size are merged into one. More leave more
	// runs to look into, fewer write every entry more often.
	mergedAtOnce = 8

	// mergedMost is how many entries a run has at most that is merged from others.
	// mergedLiving is the same with compaction, where the offsets of so many records are
	// in memory meanwhile.
	mergedMost   = 1 << 24
	mergedLiving = 1 << 20
)

// merge starts a goroutine that merges runs, if there is something to merge and none is
// merging.
func (x *Index) merge() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.merges || x.closed || len(x.choose()) == 0 {
		return
	}
	x.merges = true
	x.merging.Go(func() {
		for x.mergeOnce(x.closing) {
		}
	})
}

// choose returns the runs to merge: the newest ones, of which at least mergedAtOnce are not
// larger than a size. mu is held.
func (x *Index) choose() []*run {
	most := int64(mergedMost)
	if x.compacted() {
		most = mergedLiving
	}
	for size := int64(x.cfg.Entries); size <= most; size *= mergedAtOnce {
		i, total := len(x.runs), int64(0)
		for i > 0 && x.runs[i-1].count <= size && total+x.runs[i-1].count <= most {
			i--
			total += x.runs[i].count
		}
		if len(x.runs)-i >= mergedAtOnce {
			return x.runs[i:]
		}
	}
	return nil
}

// mergeOnce merges some runs, and reports whether there may be more to merge. What fails is
// tried again when there is another run.
func (x *Index) mergeOnce(ctx context.Context) bool {
	x.mu.Lock()
	old := x.choose()
	for _, r := range old {
		r.refs.Add(1)
	}
	if len(old) == 0 {
		x.merges = false
	}
	x.mu.Unlock()
	if len(old) == 0 {
		return false
	}
	merged, err := x.mergeRuns(ctx, old)
	x.mu.Lock()
	i := slices.Index(x.runs, old[0])
	if there := i >= 0 && i+len(old) <= len(x.runs) && slices.Equal(x.runs[i:i+len(old)], old); err == nil && !there {
		err = errors.New("the runs were dropped meanwhile")
		_ = merged.remove()
	}
	if err == nil {
		x.runs = slices.Concat(x.runs[:i], []*run{merged}, x.runs[i+len(old):])
	}
	x.merges = err == nil
	x.mu.Unlock()
	for _, r := range old {
		if err == nil {
			_ = r.remove() // one that stays is found to be merged already
		}
		r.release()
	}
	return err == nil
}

// mergeRuns writes the entries of all these runs, which lie beside each other, into one.
func (x *Index) mergeRuns(ctx context.Context, old []*run) (*run, error) {
	last := old[len(old)-1]
	h := header{seed: x.seed, from: old[0].from, to: last.to, epoch: last.epoch}
	lives, err := x.living(ctx, h.from, h.to)
	if err != nil {
		return nil, err
	}
	w, err := newRunWriter(x.cfg.FS, x.cfg.Dir, h)
	if err != nil {
		return nil, err
	}
	cursors, at := make([]*cursor, len(old)), make([]int64, len(old))
	for i, r := range old {
		cursors[i] = newCursor(r)
	}
	for err == nil {
		least, from := entry{}, -1
		for i, c := range cursors {
			if at[i] == c.run.count {
				continue
			}
			e, failed := c.at(at[i])
			if err = failed; err != nil {
				break
			}
			if from < 0 || e.less(least) {
				least, from = e, i
			}
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || from < 0 {
			break
		}
		at[from]++
		if lives(least.offset) {
			err = w.add(least)
		}
	}
	if err != nil {
		w.abandon()
		return nil, err
	}
	return w.finish()
}

func (x *Index) compacted() bool { return x.cfg.Compacted != nil && x.cfg.Compacted() }

// living returns a function that reports whether there is still a record at an offset.
func (x *Index) living(ctx context.Context, from, to int64) (func(offset int64) bool, error) {
	l := x.cfg.Log
	start := l.StartOffset()
	if !x.compacted() {
		return func(offset int64) bool { return offset >= start }, nil
	}
	var there []int64
	var buf []byte
	for next := max(from, start); next < to; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s, err := l.ReadStored(next, to, stepBytes, buf)
		if err != nil {
			return nil, err
		}
		if len(s.Bytes) == 0 {
			break
		}
		for rest := s.Bytes; len(rest) > 0; {
			h, err := record.ParseHeader(rest)
			if err != nil {
				return nil, err
			}
			b := record.Batch{BatchHeader: h, Bytes: rest[:h.Size()]}
			rest, next = rest[h.Size():], h.NextOffset()
			if h.Control() {
				continue
			}
			it, err := b.Records(x.cfg.Codec)
			if err != nil {
				return nil, err
			}
			for r := (record.Record{}); it.Next(&r); {
				if r.Key != nil {
					there = append(there, r.Offset)
				}
			}
			if err := it.Err(); err != nil {
				return nil, err
			}
		}
		if !s.Memory {
			buf = s.Bytes[:0]
		}
		s.Release()
	}
	return func(offset int64) bool {
		_, found := slices.BinarySearch(there, offset)
		return found
	}, nil
}
