package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
)

// RefillOptions configures Refill.
type RefillOptions struct {
	// From and To are the offsets between which the log must have every batch. A batch
	// begins at From, and one ends at To.
	From, To int64

	// Epoch is the leader epoch of the batch that ends at To.
	Epoch int32

	// EpochAt, unless nil, returns the leader epoch of the batch that begins at an offset,
	// or record.NoLeaderEpoch if it is not known.
	EpochAt func(offset int64) int32

	// Fetch gets the batches of the offsets from one to before another, and calls write
	// with some whole batches at a time, in order. It must not change them afterwards.
	// An error of write is Fetch's.
	Fetch func(from, to int64, write func(batches []byte) error) error

	// Headers, unless nil, gets the headers of such batches, and calls each with one after
	// the other. A segment whose batches are sound and have others is another log's, and
	// fetched. An error of each is that of Headers.
	Headers func(from, to int64, each func(header []byte) error) error
}

// Refill repairs a log of which there are copies elsewhere: it reads all batches, and
// where one is damaged or missing, gets that segment by Fetch. What lies
// behind To stays up to the first flaw. It returns how many bytes came from Fetch; with
// none, the log's batches are all there.
//
// What Fetch gives must have the right checksums and offsets, and leader epochs that do
// not fall: otherwise it is fault.InvalidRecord, and nothing has changed. No process may
// have the log open. The next Refill finishes an interrupted one; until then, Open refuses
// the log.
func Refill(ctx context.Context, cfg Config, how RefillOptions) (fetched int64, err error) {
	r := refill{repair: repair{ctx: ctx, cfg: cfg.withDefaults()}, how: how, next: how.From}
	if err := r.run(); err != nil {
		if ctx.Err() != nil {
			return r.fetched, context.Cause(ctx)
		}
		return r.fetched, (&opening{l: &Log{cfg: r.cfg}}).wrapDisk(err)
	}
	return r.fetched, nil
}

// refill is a running Refill. It shares the journal with repair, and the way in which that
// carries a journal out.
//
//	finish what was interrupted ─▶ read segments, write *.repaired ─▶ journal durable
//	  ─▶ carry out: rename, truncate, remove ─▶ Adopt ─▶ remove the journal
type refill struct {
	repair
	how     RefillOptions
	next    int64        // the log is there up to this offset, in its files or in *.repaired
	epoch   int32        // of the batch before
	met     []EpochEntry // the leader epochs of all batches
	filed   []EpochEntry // the leader epochs before an offset, as the log's file has them
	before  int64
	fetched int64

	out     vfs.File // of the segment that is written, or nil
	base    int64    // its first offset
	written int64    // its bytes
}

func (r *refill) run() error {
	text, err := vfs.ReadFile(r.cfg.FS, r.path(journalName), maxEpochFile)
	if err == nil {
		if r.journal, err = decodeJournal(text); err != nil {
			return err
		}
		return r.carryOut()
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeDir(r.cfg.FS, r.cfg.Dir); err != nil {
		return err
	}
	segments, err := r.list()
	if err == nil {
		err = errors.Join(r.segments(segments), r.closeOut())
	}
	if err != nil {
		return err
	}
	if len(r.journal.replaced)+len(r.journal.removed)+len(r.journal.cuts) == 0 && r.epochsAgree() && r.opens() {
		return nil
	}
	r.journal.remove(epochName)
	if err := r.cfg.FS.SyncDir(r.cfg.Dir); err != nil {
		return err
	}
	if err := vfs.WriteFile(r.cfg.FS, r.path(journalName), r.journal.encode()); err != nil {
		return err
	}
	return r.carryOut()
}

// epochsAgree reports whether the file of the leader epochs says what the batches say.
func (r *refill) epochsAgree() bool {
	within := func(entries []EpochEntry) []EpochEntry {
		return epochsFrom(epochsBelow(slices.Clone(entries), r.before), r.journal.start)
	}
	return slices.Equal(within(r.met), within(r.filed))
}

// opens reports whether the log opens as it is.
func (r *refill) opens() bool {
	l, found, err := Open(r.cfg)
	if err != nil {
		return false
	}
	l.discard()
	return len(found.Damage) == 0
}

// list finishes an interrupted swap, decides where the log starts, and returns its
// segments but those that lie wholly before From, which go.
func (r *refill) list() ([]*segment, error) {
	entries, err := r.cfg.FS.ReadDir(r.cfg.Dir)
	if err != nil {
		return nil, err
	}
	o := opening{l: &Log{cfg: r.cfg}}
	if err := o.finishSwap(entries); err != nil {
		return nil, err
	}
	if entries, err = r.cfg.FS.ReadDir(r.cfg.Dir); err != nil {
		return nil, err
	}
	last, err := readCheckpoint(r.cfg.FS, r.cfg.Dir)
	if err != nil {
		return nil, err
	}
	if b, err := vfs.ReadFile(r.cfg.FS, r.path(epochName), maxEpochFile); err == nil && last != nil {
		if entries, ok := decodeEpochs(b); ok {
			r.filed, r.before = epochsBelow(entries, last.offset), last.offset
		}
	}
	r.journal.start = r.how.From
	if last != nil && last.start > r.how.From && last.start <= r.how.To {
		r.journal.start = last.start
	}
	var segments []*segment
	for _, e := range entries { // in the order of their names
		if base, ok := parseName(e.Name, logSuffix); ok && !e.Dir {
			segments = append(segments, o.l.newSegment(base, e.Size))
		}
	}
	slices.SortFunc(segments, func(a, b *segment) int { return int(min(1, max(-1, a.base-b.base))) })
	for len(segments) > 1 && segments[1].base <= r.how.From {
		r.drop(segments[0])
		segments = segments[1:]
	}
	return segments, nil
}

// drop has a segment's files removed.
func (r *refill) drop(s *segment) {
	for _, path := range s.paths() {
		r.journal.remove(filepath.Base(path))
	}
}

// segments goes through the segments, and gets what is missing in them and between them.
func (r *refill) segments(segments []*segment) error {
	for i, s := range segments {
		limit := int64(math.MaxInt64) // at which the next segment begins
		if i+1 < len(segments) {
			limit = segments[i+1].base
		}
		if s.base < r.next && (i > 0 || limit <= r.next) || s.base > r.how.To {
			r.drop(s)
			continue
		}
		if err := r.fetch(min(s.base, r.how.To)); err != nil {
			return err
		}
		if err := r.segment(s, limit); err != nil {
			return err
		}
	}
	return r.fetch(r.how.To)
}

// segment reads one segment, behind which the next one begins at limit.
func (r *refill) segment(s *segment, limit int64) error {
	f, err := r.cfg.FS.OpenFile(s.logPath(), os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	pos, end, epoch, met, err := r.scan(f, s, limit)
	if err != nil {
		return err
	}
	last := limit == math.MaxInt64
	same := !(last && end < r.how.To || !last && (end < limit || pos < s.size.Load()))
	if same {
		if same, err = r.same(f, s, min(limit, r.how.To)); err != nil {
			return err
		}
	}
	if !same {
		r.drop(s) // not even what seems sound: it may be another log's
		return r.fetch(min(limit, r.how.To))
	}
	r.next, r.epoch, r.met = end, epoch, met
	if pos < s.size.Load() {
		r.journal.cut(filepath.Base(s.logPath()), pos)
	}
	return nil
}

// errDiffers says that a batch is not the other copy's.
var errDiffers = errors.New("another batch")

// same reports whether a sound segment's batches, up to an offset, are the other copy's.
func (r *refill) same(f vfs.File, s *segment, to int64) (bool, error) {
	from := max(s.base, r.how.From)
	if r.how.Headers == nil || from >= to {
		return true, nil
	}
	sc := newScanner(f, 0, s.size.Load(), s.base, false)
	own := make([]byte, record.HeaderLen)
	err := r.how.Headers(from, to, func(header []byte) error {
		for sc.next() && sc.header.BaseOffset < from {
		}
		if _, err := f.ReadAt(own, sc.pos); err != nil {
			return err
		}
		if !bytes.Equal(own, header) {
			return errDiffers
		}
		from = sc.header.NextOffset()
		return r.ctx.Err()
	})
	if errors.Is(err, errDiffers) {
		return false, nil
	}
	return from == to, err
}

// contradicted reports whether a batch has another leader epoch than it must have, as far
// as that is known. The field is not covered by a checksum.
func (r *refill) contradicted(h *record.BatchHeader) bool {
	if h.BaseOffset < r.how.To && h.LeaderEpoch > r.how.Epoch {
		return true
	}
	known := int32(record.NoLeaderEpoch)
	if r.how.EpochAt != nil {
		known = r.how.EpochAt(h.BaseOffset)
	}
	if known == record.NoLeaderEpoch && h.BaseOffset < r.before {
		known = epochAt(r.filed, h.BaseOffset)
	}
	return known != record.NoLeaderEpoch && known != h.LeaderEpoch
}

// scan returns where the first flaw of a segment is, or its end, and which offset is to
// follow there, behind which leader epoch.
func (r *refill) scan(f vfs.File, s *segment, limit int64) (pos, end int64, epoch int32, met []EpochEntry, err error) {
	epoch, met = r.epoch, slices.Clone(r.met)
	sc := newScanner(f, 0, s.size.Load(), s.base, true)
	for sc.next() {
		h := &sc.header
		if h.NextOffset() > limit || h.LeaderEpoch < epoch || r.contradicted(h) {
			return sc.pos, sc.offset, epoch, met, nil
		}
		epoch = h.LeaderEpoch
		met = withEpoch(met, epoch, h.BaseOffset)
		if err := r.ctx.Err(); err != nil {
			return 0, 0, 0, nil, err
		}
	}
	return sc.pos, sc.offset, epoch, met, sc.err
}

// fetch gets the batches up to an offset, in segments of their own.
func (r *refill) fetch(to int64) error {
	if r.next >= to {
		return nil
	}
	if err := r.closeOut(); err != nil {
		return err
	}
	err := r.how.Fetch(r.next, to, func(batches []byte) error { return r.add(batches, to) })
	if err == nil && r.next < to {
		err = r.refuse("they end at offset %d instead of %d", r.next, to)
	}
	return err
}

func (r *refill) refuse(format string, args ...any) error {
	return fault.At(fault.InvalidRecord, r.cfg.Topic, r.cfg.Partition, r.next).Detailf("batches from another copy: "+format, args...)
}

// add checks batches and writes them.
func (r *refill) add(batches []byte, to int64) error {
	for rest := batches; len(rest) > 0; {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		b, err := record.Parse(rest)
		if err != nil {
			return r.refuse("%v", err)
		}
		switch {
		case b.BaseOffset != r.next || b.NextOffset() > to:
			return r.refuse("one of the offsets %d to %d, before %d", b.BaseOffset, b.LastOffset(), to)
		case b.LeaderEpoch < r.epoch:
			return r.refuse("one of leader epoch %d after one of %d", b.LeaderEpoch, r.epoch)
		case b.LeaderEpoch > r.how.Epoch:
			return r.refuse("one of leader epoch %d, where the last one has %d", b.LeaderEpoch, r.how.Epoch)
		}
		if err := r.write(b); err != nil {
			return err
		}
		rest = rest[b.Size():]
	}
	return nil
}

// write writes a batch, in a new segment if the present one is full.
func (r *refill) write(b record.Batch) error {
	size := int64(b.Size())
	if r.out != nil && (r.written+size > r.cfg.SegmentBytes || b.LastOffset()-r.base > math.MaxInt32) {
		if err := r.closeOut(); err != nil {
			return err
		}
	}
	if r.out == nil {
		if err := r.create(b.BaseOffset); err != nil {
			return err
		}
	}
	if _, err := r.out.WriteAt(b.Bytes[:size], r.written); err != nil {
		return err
	}
	r.written += size
	r.fetched += size
	r.next, r.epoch = b.NextOffset(), b.LeaderEpoch
	r.met = withEpoch(r.met, b.LeaderEpoch, b.BaseOffset)
	return nil
}

// create begins a segment that replaces the one of the same name, if there is one.
func (r *refill) create(base int64) (err error) {
	s := (&Log{cfg: r.cfg}).newSegment(base, 0)
	name := filepath.Base(s.logPath())
	r.out, err = r.cfg.FS.OpenFile(s.logPath()+repairedSuffix, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	r.base, r.written = base, 0
	r.journal.removed = slices.DeleteFunc(r.journal.removed, func(n string) bool { return n == name })
	r.journal.replace(name)
	r.journal.remove(filepath.Base(s.indexPath()))
	r.journal.remove(filepath.Base(s.timeIndexPath()))
	return nil
}

// closeOut makes the segment that is written durable.
func (r *refill) closeOut() error {
	if r.out == nil {
		return nil
	}
	out := r.out
	r.out = nil
	if err := errors.Join(out.Sync(), out.Close()); err != nil {
		return fmt.Errorf("%020d%s%s: %w", r.base, logSuffix, repairedSuffix, err)
	}
	return nil
}
