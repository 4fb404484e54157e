package log

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
)

// loadEpochs reads the leader epochs. If the file is missing or wrong, it collects
// them from every batch. The file may be newer than the checkpoint, so entries
// behind it are dropped; verify adds those of the batches that are there.
func (o *opening) loadEpochs() error {
	cfg := &o.l.cfg
	b, err := vfs.ReadFile(cfg.FS, filepath.Join(cfg.Dir, epochName), maxEpochFile)
	if err == nil {
		if entries, ok := decodeEpochs(b); ok {
			o.epochs = entries
			if o.last != nil {
				o.epochs = epochsBelow(entries, o.last.offset)
			}
			return nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	o.l.epochsDirty = true
	for _, s := range o.segments {
		if err := o.scanHeaders(s, func(h *record.BatchHeader, _ int64, _ []byte) {
			o.epochs = withEpoch(o.epochs, h.LeaderEpoch, h.BaseOffset)
		}); err != nil {
			return err
		}
	}
	return nil
}

// loadProducers reads the producers at the checkpoint. If their snapshot is
// missing or wrong, it collects them from every batch before the checkpoint.
func (o *opening) loadProducers() error {
	l := o.l
	for name := range o.indexes {
		if offset, ok := parseName(name, snapshotSuffix); ok {
			l.snapshots.present = append(l.snapshots.present, offset)
		}
	}
	c := o.last
	if c == nil {
		return nil // every batch will be verified, and folded then
	}
	o.producersFrom = c.offset
	if !c.producers {
		return nil
	}
	l.snapshots.slots[c.sequence%2] = c.offset
	ps, err := l.readSnapshot(c.offset)
	if err != nil {
		return err
	}
	if ps != nil {
		l.producers, l.snapshots.at = ps, c.offset
		return nil
	}
	l.snapshots.stale = true
	for _, s := range o.segments {
		if err := o.scanHeaders(s, func(h *record.BatchHeader, _ int64, marker []byte) {
			if h.BaseOffset < c.offset {
				l.producers.fold(h, marker)
			}
		}); err != nil {
			return err
		}
	}
	return nil
}

// scanHeaders calls fn for each batch of a segment, up to the first flaw, with the bytes
// of those that may be markers. It compares no checksums.
func (o *opening) scanHeaders(s *segment, fn func(h *record.BatchHeader, pos int64, marker []byte)) error {
	f, err := s.open()
	if err != nil {
		return err
	}
	defer f.release()
	sc := newScanner(f, 0, s.size.Load(), s.base, false)
	for sc.next() {
		fn(&sc.header, sc.pos, sc.control())
	}
	return sc.err
}
