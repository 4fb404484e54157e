package log

import (
	"fmt"
	"io"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
)

// examiner returns an examiner of the last segment, where the batch of an offset
// should begin.
func (o *opening) examiner(f vfs.File, s *segment, size, offset int64) *examiner {
	return &examiner{
		file: f, end: size, base: s.base, limit: -1, next: -1, gaps: o.last == nil,
		since:   epochAt(o.epochs, offset),
		epochOf: func(int64, int64) int32 { return record.NoLeaderEpoch },
	}
}

// restoreHeader writes the correct header of the batch at which sc stopped, if it is
// certain, and reports whether it did. A torn append has damaged records, too, and
// is never restored. The write may be interrupted: the next Open does the same.
func (o *opening) restoreHeader(f vfs.File, s *segment, sc *scanner, found string) (bool, error) {
	d, err := o.examiner(f, s, sc.end, sc.offset).diagnose(sc.pos, sc.offset)
	if err != nil || !d.certain() {
		return false, err
	}
	if _, err := f.WriteAt(d.header, d.pos); err != nil {
		return false, err
	}
	o.Restored = append(o.Restored, &fault.Corruption{
		Topic: o.l.cfg.Topic, Partition: o.l.cfg.Partition, Offset: d.offset,
		File: s.logPath(), Pos: d.pos, Expected: fmt.Sprintf("the batch of offset %d", d.offset), Found: found,
		Hint: "its " + d.fields + " was damaged and has been restored",
	})
	return true, nil
}

// outran returns a description of the flaw if the batch at which sc is has a later
// leader epoch than the sound batch behind it. In a log, epochs never fall, so the
// field must be damaged: taken as it is, it would make every later batch wrong.
func outran(sc *scanner, f io.ReaderAt, epochs []EpochEntry) string {
	h, latest := &sc.header, latestEpoch(epochs)
	if h.LeaderEpoch <= latest {
		return ""
	}
	then := newScanner(f, sc.pos+int64(h.Size()), sc.end, h.NextOffset(), true)
	if !then.next() || then.header.LeaderEpoch >= h.LeaderEpoch || then.header.LeaderEpoch < latest {
		return ""
	}
	return fmt.Sprintf("a batch of leader epoch %d before one of %d", h.LeaderEpoch, then.header.LeaderEpoch)
}
