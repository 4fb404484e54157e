package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
)

// walk reads one segment for Inspect.
type walk struct {
	n      *inspector
	s      *segment
	f      vfs.File
	offset int64 // at which the next batch must begin
	epochs []EpochEntry
	latest int64 // the latest timestamp so far

	damaged        int64 // the end of the last damaged range: entries before it can't be checked
	offsets, times entryReader
}

// through reads the batches from one position to another, where the offset next
// follows. A flaw there is damage; through continues behind it.
func (w *walk) through(from, to, next int64) error {
	for {
		sc := newScanner(w.f, from, to, w.offset, true)
		found, err := w.sound(sc, next)
		if err != nil {
			return err
		}
		if found == "" && w.offset == next {
			return nil
		}
		if found == "" {
			found = fmt.Sprintf("the end, and the offset that follows is %d", next)
		}
		if from, err = w.skip(sc.pos, to, next, found); err != nil || from == to {
			return err
		}
	}
}

// examiner returns an examiner of the bytes before a position, where the offset next
// follows; next is negative if it is unknown.
func (w *walk) examiner(end, next int64) *examiner {
	return &examiner{
		file: w.f, end: end, base: w.s.base, limit: next, next: next, gaps: w.n.last == nil,
		since:   epochAt(w.epochsAt(w.offset), w.offset),
		epochOf: w.filed,
	}
}

// skip reports damage at a position and returns where it ends: where the next sound
// batch begins, or to.
func (w *walk) skip(pos, to, next int64, found string) (int64, error) {
	x := w.examiner(to, next)
	if c := w.n.last; c != nil && w.s.base == c.segment && to < c.pos {
		x.next = -1 // the file is shorter than the checkpoint: next doesn't follow at its end
	}
	d, err := x.diagnose(pos, w.offset)
	if err != nil {
		return 0, err
	}
	return d.end, w.reportDamage(d, found)
}

// reportDamage reports a diagnosis and continues behind it.
func (w *walk) reportDamage(d diagnosis, found string) error {
	f := w.n.damage(w.s, d.offset, d.pos, d.end, d.next, found)
	f.header, f.fields = d.header, d.fields
	w.offset, w.damaged = max(w.offset, d.next), d.end
	return w.n.said(d.end - d.pos)
}

// tail reads the batches behind the synced position. The log ends at the first bytes
// there that are no sound batch, as for opening.recover, with the same exceptions: a
// header that is certain; and, without a checkpoint, a flaw that batches follow.
func (w *walk) tail(from, to int64) error {
	for {
		sc := newScanner(w.f, from, to, w.offset, true)
		found, err := w.sound(sc, -1)
		if err != nil || found == "" {
			return err
		}
		w.n.tailAt = sc.pos
		if w.n.how.Live {
			return nil // an append may be in progress
		}
		content, err := contentEnd(w.f, sc.pos, to)
		if err != nil || content == sc.pos {
			return err // zeros, written ahead of appends
		}
		if w.n.last == nil {
			if err := w.n.l.noOldMessage(w.s, w.f, sc.pos, w.offset); err != nil {
				return err
			}
		}
		d, err := w.examiner(to, -1).diagnose(sc.pos, w.offset)
		if err != nil {
			return err
		}
		switch {
		case w.n.last == nil && d.known():
			if err := w.reportDamage(d, d.explain(found)); err != nil {
				return err
			}
		case d.certain():
			f := w.n.report(Recoverable, w.s.logPath(), d.offset, d.pos, fmt.Sprintf("the batch of offset %d", d.offset), found,
				"opening the log restores it: the "+d.fields+" alone is damaged")
			f.End, f.Next, f.header, f.fields = d.end, d.next, d.header, d.fields
			w.offset, w.damaged = d.next, d.end
		default:
			f := w.n.report(Recoverable, w.s.logPath(), w.offset, sc.pos, "the end of the log, or a batch", fmt.Sprintf("a torn tail of %d bytes: %s", content-sc.pos, found),
				"opening the log cuts it off: it was never acknowledged as durable, or the disk has lost it since")
			f.End = to
			return nil
		}
		from, w.n.tailAt = d.end, -1
	}
}

// sound reads batches as long as they are sound, and describes the flaw of the next
// one, if there is one. They must end at or before the offset next, unless it is
// negative.
func (w *walk) sound(sc *scanner, next int64) (found string, err error) {
	for sc.next() {
		h := sc.header
		if next >= 0 && h.NextOffset() > next {
			return fmt.Sprintf("a batch of the offsets %d to %d, and %d is not this segment's any more", h.BaseOffset, h.LastOffset(), next), nil
		}
		if found := w.misplaced(sc); found != "" {
			return found, nil
		}
		pos := sc.pos
		b, err := sc.batch(&w.n.buf)
		if err != nil {
			return "", err
		}
		if found, err := w.records(b); err != nil {
			w.n.damage(w.s, h.BaseOffset, pos, pos+int64(h.Size()), h.NextOffset(), err.Error())
		} else if found != nil {
			w.n.opaque(w.s, &h, pos, found)
		}
		w.n.Batches++
		if err := errors.Join(w.confirmOffset(pos, &h), w.confirmTime(&h)); err != nil {
			return "", err
		}
		if !w.n.believed || h.NextOffset() > w.n.last.start { // the epochs' file says nothing of what was deleted
			w.epochs = withEpoch(w.epochs, h.LeaderEpoch, h.BaseOffset)
		}
		w.n.met = withEpoch(w.n.met, h.LeaderEpoch, h.BaseOffset)
		w.offset = h.NextOffset()
		if err := w.n.said(int64(h.Size())); err != nil {
			return "", err
		}
	}
	return sc.bad, sc.err
}

// misplaced checks a batch's leader epoch, which no checksum covers, against the
// epochs' file and the other batches, as reading and opening do.
func (w *walk) misplaced(sc *scanner) string {
	h := &sc.header
	epoch := w.filed(h.BaseOffset, h.NextOffset())
	if epoch != h.LeaderEpoch && epoch != record.NoLeaderEpoch && !w.disproved(sc, epoch) {
		return fmt.Sprintf("one of leader epoch %d instead of %d", h.LeaderEpoch, epoch)
	}
	if w.n.believed && h.BaseOffset < w.n.last.offset && (epoch != record.NoLeaderEpoch || !w.deleted(h.BaseOffset)) {
		return ""
	}
	if w.deleted(h.BaseOffset) && len(w.epochs) > 0 && h.LeaderEpoch > w.epochs[0].Epoch {
		return fmt.Sprintf("a batch of leader epoch %d before one of %d", h.LeaderEpoch, w.epochs[0].Epoch)
	}
	o := opening{epochs: w.epochsAt(h.BaseOffset)}
	if latest := latestEpoch(o.epochs); h.LeaderEpoch < latest && !o.ofEpoch(h) {
		return fmt.Sprintf("a batch of leader epoch %d after one of %d", h.LeaderEpoch, latest)
	}
	return outran(sc, w.f, o.epochs)
}

// filed returns the leader epoch of the offsets from first to before next according
// to the epochs' file, or record.NoLeaderEpoch. The file may begin at the log's
// start, which may lie within a batch.
func (w *walk) filed(first, next int64) int32 {
	if !w.n.believed || first >= w.n.last.offset {
		return record.NoLeaderEpoch
	}
	if start := w.n.last.start; next > start {
		first = max(first, start)
	}
	return epochAt(w.epochs, first)
}

// deleted reports whether an offset lies before the log's start, where the epochs'
// file may have no entry.
func (w *walk) deleted(offset int64) bool { return w.n.believed && offset < w.n.last.start }

// epochsAt returns the leader epochs to compare a batch at an offset with. Before
// the log's start these are the epochs of the batches so far: if the checkpoint is
// lost, Open reads the log from there.
func (w *walk) epochsAt(offset int64) []EpochEntry {
	if w.deleted(offset) {
		return w.n.met
	}
	return w.epochs
}

// disproved reports whether the epochs' file is wrong about the batch that sc is at,
// and not the batch. That is so if the next batch contradicts the file with the same
// epoch, and the epochs of the batches before and behind never fall. From then on
// the inspector uses the epochs of the batches.
func (w *walk) disproved(sc *scanner, epoch int32) bool {
	h := &sc.header
	if h.LeaderEpoch < latestEpoch(w.n.met) {
		return false
	}
	then := newScanner(w.f, sc.pos+int64(h.Size()), w.s.size.Load(), h.NextOffset(), true)
	if !then.next() || then.header.LeaderEpoch != h.LeaderEpoch || then.header.BaseOffset >= w.n.last.offset ||
		epochAt(w.epochs, then.header.BaseOffset) == h.LeaderEpoch {
		return false
	}
	for n := 0; n < mostWitnesses && then.next(); n++ {
		if then.header.LeaderEpoch < h.LeaderEpoch {
			return false
		}
	}
	if w.beginsLower(h.LeaderEpoch) {
		return false
	}
	w.n.report(Damage, filepath.Join(w.n.l.cfg.Dir, epochName), h.BaseOffset, 0,
		fmt.Sprintf("leader epoch %d, which the batches have", h.LeaderEpoch), fmt.Sprint(epoch), hintDerived)
	w.n.believed, w.epochs = false, w.n.met
	return true
}

// beginsLower reports whether the next segment begins with a batch of a lower leader
// epoch.
func (w *walk) beginsLower(epoch int32) bool {
	i := slices.Index(w.n.segments, w.s) + 1
	if i == 0 || i == len(w.n.segments) {
		return false
	}
	next := w.n.segments[i]
	f, err := w.n.l.cfg.FS.OpenFile(next.logPath(), os.O_RDONLY)
	if err != nil {
		return false // inspecting that segment will report it
	}
	defer f.Close()
	sc := newScanner(f, 0, next.size.Load(), next.base, true)
	return sc.next() && sc.header.LeaderEpoch < epoch
}

// records decodes a batch's records, and returns why they cannot be decoded, or the
// error of how.Batch.
func (w *walk) records(b record.Batch) (opaque, err error) {
	opaque = w.decode(b)
	if w.n.how.Batch != nil {
		if err := w.n.how.Batch(b); err != nil {
			return nil, err
		}
	}
	return opaque, nil
}

func (w *walk) decode(b record.Batch) error {
	it, err := b.Records(w.n.l.cfg.Codec)
	if err != nil {
		return err
	}
	for r := (record.Record{}); it.Next(&r); {
		w.n.Records++
	}
	return it.Err()
}

// entryReader reads the entries of an index file in order.
type entryReader struct {
	path  string
	file  vfs.File // nil: there are no entries to compare
	pos   int64    // of the next chunk to read
	end   int64
	len   int64  // of an entry
	entry []byte // the next entry; nil at the end
	last  []byte // the entry before it
	buf   []byte
	rest  []byte // of buf: entries behind entry
}

// next moves to the next entry.
func (r *entryReader) next() error {
	if r.file == nil {
		return nil
	}
	r.last = append(r.last[:0], r.entry...)
	r.entry = nil
	if len(r.rest) == 0 {
		n := min(r.end-r.pos, r.len*(64<<10/r.len))
		if n <= 0 {
			return nil
		}
		if r.buf == nil {
			r.buf = make([]byte, n)
		}
		r.rest = r.buf[:n]
		if got, err := r.file.ReadAt(r.rest, r.pos); got < len(r.rest) {
			return err
		}
		r.pos += n
	}
	r.entry, r.rest = r.rest[:r.len], r.rest[r.len:]
	return nil
}

func (r *entryReader) close() {
	if r.file != nil {
		_ = r.file.Close()
		r.file = nil
	}
}

// openIndexes opens the segment's index files. Those of the active segment are
// compared up to the checkpoint.
func (w *walk) openIndexes(active bool) error {
	var filed indexFiled
	if active {
		c := w.n.last
		if c == nil || c.segment != w.s.base || c.pos == 0 {
			return nil
		}
		filed = c.filed
	}
	w.offsets = entryReader{path: w.s.indexPath(), len: offsetEntryLen, end: int64(filed.offsets) * offsetEntryLen}
	w.times = entryReader{path: w.s.timeIndexPath(), len: timeEntryLen, end: int64(filed.times) * timeEntryLen}
	return errors.Join(
		w.openIndex(&w.offsets, active, filed.offsetsCRC),
		w.openIndex(&w.times, active, filed.timesCRC))
}

func (w *walk) openIndex(r *entryReader, active bool, sum uint32) error {
	if active && r.end == 0 {
		return nil
	}
	f, err := w.n.l.cfg.FS.OpenFile(r.path, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		if !w.n.how.Live {
			w.n.report(Recoverable, r.path, -1, 0, "the segment's index", "no file", hintDerived)
		}
		return nil
	}
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	r.file = f
	switch {
	case active && size < r.end:
		w.contradict(r, size, fmt.Sprintf("%d bytes", r.end), fmt.Sprint(size))
		return nil
	case active:
		got, err := checksumOf(f, r.end)
		if err != nil {
			return err
		}
		if got != sum {
			w.contradict(r, 0, fmt.Sprintf("%d bytes with checksum %08x", r.end, sum), fmt.Sprintf("%08x", got))
			return nil
		}
	case size%r.len != 0:
		w.contradict(r, size-size%r.len, fmt.Sprintf("entries of %d bytes", r.len), fmt.Sprintf("%d bytes left over", size%r.len))
		return nil
	default:
		r.end = size
	}
	return r.next()
}

// checksumOf returns the CRC-32C of a file's first n bytes.
func checksumOf(f vfs.File, n int64) (uint32, error) {
	h := crc32.New(castagnoli)
	_, err := io.Copy(h, io.NewSectionReader(f, 0, n))
	return h.Sum32(), err
}

// contradict reports an index that the log contradicts and stops comparing it.
func (w *walk) contradict(r *entryReader, pos int64, expected, found string) {
	w.n.report(Recoverable, r.path, -1, pos, expected, found, hintDerived)
	r.close()
	r.entry = nil
}

// entryPos is the position of entry.
func (r *entryReader) entryPos() int64 { return r.pos - int64(len(r.rest)) - r.len }

// confirmOffset compares the entries of the offset index up to the batch at pos.
func (w *walk) confirmOffset(pos int64, h *record.BatchHeader) error {
	r := &w.offsets
	for r.entry != nil {
		e := offsetEntry(binary.BigEndian.Uint64(r.entry))
		switch {
		case e.pos() > pos:
			return nil
		case e.pos() == pos && e.rel() == h.LastOffset()-w.s.base, e.pos() < w.damaged:
			if err := r.next(); err != nil {
				return err
			}
		default:
			w.contradict(r, r.entryPos(), "the last offset and position of a batch", fmt.Sprintf("offset %d at byte %d", w.s.base+e.rel(), e.pos()))
		}
	}
	return nil
}

// confirmTime compares the entries of the time index up to a batch.
func (w *walk) confirmTime(h *record.BatchHeader) error {
	w.latest = max(w.latest, h.MaxTimestamp)
	r := &w.times
	for r.entry != nil {
		e := decodeTimeEntry(r.entry)
		switch rel := h.LastOffset() - w.s.base; {
		case e.rel > rel:
			return nil
		case e.rel == rel && e.timestamp == h.MaxTimestamp && e.timestamp == w.latest, w.damaged > 0:
			if err := r.next(); err != nil {
				return err
			}
		default:
			w.contradict(r, r.entryPos(), "the largest timestamp so far and the last offset of its batch", fmt.Sprintf("time %d at offset %d", e.timestamp, w.s.base+e.rel))
		}
	}
	return nil
}

// confirmCheckpoint compares the active segment's latest timestamp with the
// checkpoint's. A segment of another log may have the same offsets and length, for
// instance after files were mixed up, but hardly the same timestamps.
func (w *walk) confirmCheckpoint() {
	c := w.n.last
	if w.damaged > 0 || w.latest == c.maxTimestamp {
		return
	}
	w.n.report(Damage, filepath.Join(w.n.l.cfg.Dir, checkpointName), -1, 0,
		fmt.Sprintf("%d as the largest timestamp of %s, as its batches have it", w.latest, filepath.Base(w.s.logPath())), fmt.Sprint(c.maxTimestamp), hintForeign)
}

// finishIndexes reports entries behind the last batch, and a sealed segment whose
// latest timestamp is missing from its time index: a search by time would skip the
// segment.
func (w *walk) finishIndexes(active bool) error {
	for _, r := range []*entryReader{&w.offsets, &w.times} {
		if r.entry != nil && w.damaged == 0 {
			w.contradict(r, r.entryPos(), "the end of the index", "entries beyond the segment's end")
		}
	}
	r := &w.times
	if active || r.file == nil || w.damaged > 0 || w.latest == record.NoTimestamp {
		return nil
	}
	if len(r.last) == 0 || decodeTimeEntry(r.last).timestamp != w.latest {
		w.contradict(r, r.end, fmt.Sprintf("an entry for the segment's largest timestamp, %d", w.latest), "none")
	}
	return nil
}

func (w *walk) closeIndexes() {
	w.offsets.close()
	w.times.close()
}
