package log

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
)

// Grade says how grave a Finding is.
type Grade int

const (
	Note        Grade = iota // nothing is wrong, but there is something to know
	Opaque                   // a batch is as it was written, and its records cannot be decoded: it stays as it is
	Recoverable              // opening the log or repairing it makes this good; no record is affected
	Damage                   // records cannot be read, or the log cannot be opened
)

// String returns note, opaque, mend or damage.
func (g Grade) String() string { return [...]string{"note", "opaque", "mend", "damage"}[g] }

// Finding is something that Inspect found, with its place.
type Finding struct {
	Grade
	*fault.Corruption

	// End is the position after the bytes in question, and Next the offset that
	// follows them, where Grade is Damage or Opaque in a segment; otherwise both are -1.
	End, Next int64

	header []byte // what the header of the batch in question must be, if nothing else of it is damaged
	fields string // which of its fields are
}

// Inspection is what Inspect found.
type Inspection struct {
	Closed     bool      // the log was closed in order, or never had a record
	Segments   int       // how many it has
	Batches    int64     // sound ones
	Records    int64     // in them
	Bytes      int64     // length of the segments, as far as they were looked at
	Start, End int64     // the offsets between which the log has records
	Findings   []Finding // in the order of the files
	Unlisted   int       // findings of damage beyond those that are listed
}

// Worst returns the highest grade of the findings.
func (i Inspection) Worst() Grade {
	worst := Note
	for _, f := range i.Findings {
		worst = max(worst, f.Grade)
	}
	return worst
}

// maxFindings is how many findings of one log are kept.
const maxFindings = 10_000

// InspectOptions says how Inspect goes about it. The zero value will do.
type InspectOptions struct {
	// Live says that somebody appends meanwhile: only what the newest checkpoint
	// calls durable is looked at, and segments may be deleted under way.
	Live bool

	// Ahead says, of a log that is Live, that what lies behind the checkpoint is
	// looked at, too, as far as there are sound batches.
	Ahead bool

	// Progress is called now and then with how many bytes of segments have been
	// gone through since it was called last.
	Progress func(bytes int64)

	// Batch is called with each sound batch in order, whose bytes are valid until
	// it returns. Its error becomes a finding.
	Batch func(record.Batch) error
}

// Inspect reads a log through, every byte of its segments and indexes, and
// changes nothing. It finds what Open and reads of all offsets would find, and
// what they would repair; whoever finds no Damage can open the log and read every
// record of it, but for those in batches that are Opaque. Memory does not depend on the log's length.
//
// The log need not be closed; unless how says that it is in use, nobody may have
// it open. An error says that a file could not be read, that a newer version
// wrote it (fault.UnsupportedFormat), or that ctx has ended.
func Inspect(ctx context.Context, cfg Config, how InspectOptions) (Inspection, error) {
	n := inspector{ctx: ctx, how: how, l: &Log{cfg: cfg.withDefaults()}}
	if err := n.run(); err != nil {
		if ctx.Err() != nil {
			return n.Inspection, ctx.Err()
		}
		return n.Inspection, (&opening{l: n.l}).explain(err)
	}
	return n.Inspection, nil
}

// inspector is the work of Inspect.
type inspector struct {
	Inspection
	ctx context.Context
	how InspectOptions
	l   *Log // only to name things

	last     *checkpoint
	swapped  *manifest // of a swap that a crash interrupted, or nil
	segments []*segment
	names    map[string]int64 // the sizes of the other files
	epochs   []EpochEntry
	believed bool         // epochs are those of the file, as far as the checkpoint goes
	met      []EpochEntry // those of the batches so far

	tailAt int64  // where the last segment's batches end, if not with the file; or -1
	buf    []byte // for batches that are longer than what is read at once
	unsaid int64  // bytes that Progress has not heard of
}

func (n *inspector) run() error {
	n.tailAt = -1
	cfg := &n.l.cfg
	var err error
	if n.last, err = readCheckpoint(cfg.FS, cfg.Dir); err != nil {
		return err
	}
	if err := n.viewSwap(); err != nil {
		return err
	}
	if err := n.list(); err != nil {
		return err
	}
	if err := n.checkSlots(); err != nil {
		return err
	}
	if err := n.loadEpochs(); err != nil {
		return err
	}
	if err := n.checkProducers(); err != nil {
		return err
	}
	n.Closed = n.last == nil && len(n.segments) == 0
	if n.last != nil {
		n.Closed = n.last.clean
		n.Start, n.End = n.last.start, n.last.start
	} else if len(n.segments) > 0 {
		n.Start = n.segments[0].base
	}
	n.Segments = len(n.segments)
	for i, s := range n.segments {
		if err := n.segment(i, s); err != nil {
			return err
		}
	}
	n.checkExtent()
	return nil
}

// add enters a finding.
func (n *inspector) add(g Grade, path string, offset, pos int64, expected, found, hint string) *Finding {
	if len(n.Findings) == maxFindings {
		n.Unlisted++
		return &Finding{}
	}
	n.Findings = append(n.Findings, Finding{Grade: g, Corruption: &fault.Corruption{
		Topic: n.l.cfg.Topic, Partition: n.l.cfg.Partition, Offset: offset,
		File: path, Pos: pos, Expected: expected, Found: found, Hint: hint,
	}, End: -1, Next: -1})
	return &n.Findings[len(n.Findings)-1]
}

// damage enters bytes of a segment that are not what was written.
func (n *inspector) damage(s *segment, offset, pos, end, next int64, found string) *Finding {
	f := n.add(Damage, s.logPath(), offset, pos, fmt.Sprintf("the batch of offset %d", offset), found, hintDamage)
	f.End, f.Next = end, next
	return f
}

// opaque enters a batch whose checksum holds, and whose records say nothing.
func (n *inspector) opaque(s *segment, h *record.BatchHeader, pos int64, why error) {
	f := n.add(Opaque, s.logPath(), h.BaseOffset, pos, fmt.Sprintf("%d records in the batch of offset %d", h.Count, h.BaseOffset), "bytes with the right checksum, and "+why.Error(), hintOpaque)
	f.End, f.Next = pos+int64(h.Size()), h.NextOffset()
}

// Hints.
const (
	hintDamage   = "the file is left as it is; restore it from a copy, or see what runnel repair --dry-run would do"
	hintOpaque   = "nothing drops or changes it, and compaction passes over it; what wrote it, or a program that allows larger batches, may be able to read it"
	hintDerived  = "runnel repair makes it anew from the log"
	hintOpening  = "opening the log does it"
	hintForeign  = "the segment was hardly written here: put the right one back, or runnel repair --accept-loss takes it as it is"
	hintNoExtent = "nobody knows which offsets were given away; restore the file from a copy, or see what runnel repair --dry-run offers"
)

// list finds the segments and sorts out what else there is.
func (n *inspector) list() error {
	cfg := &n.l.cfg
	entries, err := cfg.FS.ReadDir(cfg.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	n.names = make(map[string]int64)
	for _, e := range entries {
		base, ok := parseName(e.Name, logSuffix)
		switch {
		case e.Dir:
			n.add(Note, filepath.Join(cfg.Dir, e.Name), -1, 0, "files", "a directory", "it is left alone")
		case ok:
			n.segments = append(n.segments, n.l.newSegment(base, e.Size))
		default:
			n.names[e.Name] = e.Size
		}
	}
	for c := n.last; c != nil && len(n.segments) > 1 && n.segments[1].base <= min(c.start, c.segment); {
		n.add(Recoverable, n.segments[0].logPath(), n.segments[0].base, 0,
			fmt.Sprintf("no records before offset %d, the log's start", c.start), "a segment that was about to be deleted", hintOpening)
		n.segments = n.segments[1:]
	}
	for _, e := range entries {
		if !e.Dir {
			n.explainName(e.Name)
		}
	}
	if n.how.Live && !n.how.Ahead {
		n.onlyDurable()
	}
	return nil
}

// explainName makes a note of a file that is none of a log's.
func (n *inspector) explainName(name string) {
	path := filepath.Join(n.l.cfg.Dir, name)
	switch {
	case name == journalName:
		n.add(Damage, path, -1, 0, "no repair under way", "the journal of one that was interrupted", "finish it: runnel repair")
		return
	case strings.Contains(name, logSuffix+damagedSuffix):
		n.add(Note, path, -1, 0, "a log's files", "what was damaged before a repair", "it is left alone")
		return
	}
	for _, suffix := range []string{indexSuffix, timeIndexSuffix} {
		base, ok := parseName(name, suffix)
		switch {
		case !ok || len(n.segments) == 0:
		case base < n.segments[0].base:
			n.add(Recoverable, path, base, 0, "no segment of this name", "its index", hintOpening)
		case n.segmentAt(base) == nil:
			n.add(Note, path, base, 0, "no segment of this name", "its index", "it is left alone")
		}
	}
	switch name {
	case checkpointName, epochName, swapName, "partition.metadata":
		return
	}
	switch filepath.Ext(name) {
	case logSuffix, indexSuffix, timeIndexSuffix, snapshotSuffix, ".txnindex":
		if digits := strings.TrimSuffix(name, filepath.Ext(name)); len(digits) == 20 && strings.Trim(digits, "0123456789") == "" {
			return
		}
	case ".checkpoint": // the catalogue's snapshots
		return
	case cleanedSuffix: // viewSwap has said it
		return
	case ".tmp", repairedSuffix:
		n.add(Note, path, -1, 0, "nothing", "what a crash left of replacing a file", "it is replaced or left alone")
		return
	}
	n.add(Note, path, -1, 0, "a log's files", "one that is none of them", "it is left alone")
}

func (n *inspector) segmentAt(base int64) *segment {
	for _, s := range n.segments {
		if s.base == base {
			return s
		}
	}
	return nil
}

// firstBase returns the offset at which the log's files begin, or should if none
// is left but the one that is to be made.
func (n *inspector) firstBase() int64 {
	switch {
	case len(n.segments) > 0:
		return n.segments[0].base
	case n.last != nil:
		return n.last.segment
	}
	return 0
}

// onlyDurable shortens what was found to what the checkpoint calls durable.
func (n *inspector) onlyDurable() {
	if n.last == nil {
		n.segments = nil
		return
	}
	for i, s := range n.segments {
		if s.base == n.last.segment && s.size.Load() >= n.last.pos {
			s.size.Store(n.last.pos)
			n.segments = n.segments[:i+1]
			return
		}
	}
}

// checkSlots looks at both slots of the checkpoint.
func (n *inspector) checkSlots() error {
	size, there := n.names[checkpointName]
	if !there {
		if len(n.segments) > 0 && !n.how.Live {
			n.add(Note, filepath.Join(n.l.cfg.Dir, checkpointName), -1, 0, "a checkpoint", "none",
				"the log's extent is not known: one that lost its end in whole batches looks complete")
		}
		return nil
	}
	path := filepath.Join(n.l.cfg.Dir, checkpointName)
	if n.last == nil {
		if len(n.segments) > 0 {
			n.add(Recoverable, path, -1, 0, "two slots of which at least one is whole", fmt.Sprintf("%d bytes without a whole one", size),
				"the whole log is verified when it is opened, and starts with its first file; records that were deleted from that may come back")
		}
		return nil
	}
	if n.how.Live {
		return nil
	}
	f, err := n.l.cfg.FS.OpenFile(path, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	for slot := range int64(2) {
		b := make([]byte, slotLen)
		got, err := f.ReadAt(b, slot*slotStride)
		if got < len(b) && size >= slot*slotStride+slotLen {
			return err
		}
		if _, ok, _ := decodeCheckpoint(b); !ok && strings.Trim(string(b), "\x00") != "" {
			n.add(Note, path, -1, slot*slotStride, "a checkpoint", "a torn one", "the other slot serves, and this one is written next")
		}
	}
	return nil
}

// loadEpochs reads the leader epochs, as Open does.
func (n *inspector) loadEpochs() error {
	cfg := &n.l.cfg
	path := filepath.Join(cfg.Dir, epochName)
	b, err := vfs.ReadFile(cfg.FS, path, maxEpochFile)
	switch {
	case err == nil:
		entries, ok := decodeEpochs(b)
		if !ok {
			n.add(Recoverable, path, -1, 0, "a version, a count and lines of epoch and offset", fmt.Sprintf("%.60q", b), hintOpening)
			return nil
		}
		if n.last != nil {
			n.epochs, n.believed = epochsBelow(entries, n.last.offset), true
		} else {
			n.epochs = entries
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	case n.last != nil && n.last.offset > n.last.segment:
		n.add(Recoverable, path, -1, 0, "the leader epochs", "no file", hintOpening)
	}
	return nil
}

// checkProducers looks at the snapshot of the producers that the checkpoint
// names.
func (n *inspector) checkProducers() error {
	if n.last == nil || !n.last.producers || n.how.Live {
		return nil
	}
	ps, err := n.l.readSnapshot(n.last.offset)
	if ps == nil && err == nil {
		n.add(Recoverable, n.l.cfg.snapshotPath(n.last.offset), n.last.offset, 0, "the producers at this offset", "none that are whole", hintOpening)
	}
	return err
}

// segment reads the i-th segment through, with its indexes.
func (n *inspector) segment(i int, s *segment) error {
	f, err := n.l.cfg.FS.OpenFile(s.logPath(), os.O_RDONLY)
	if err != nil {
		if n.how.Live && errors.Is(err, fs.ErrNotExist) {
			return nil // deleted meanwhile
		}
		return err
	}
	defer f.Close()
	last := i == len(n.segments)-1
	w := &walk{n: n, s: s, f: f, offset: s.base, epochs: n.epochs, latest: record.NoTimestamp}
	if err := w.openIndexes(last); err != nil {
		return err
	}
	defer w.closeIndexes()
	switch size := s.size.Load(); {
	case !last:
		err = w.through(0, size, n.segments[i+1].base)
	case n.last != nil && n.last.segment == s.base:
		if err = w.through(0, min(n.last.pos, size), n.last.offset); err == nil && size >= n.last.pos {
			w.confirmCheckpoint()
			err = w.tail(n.last.pos, size)
		}
	case n.last != nil && s.base < n.last.segment: // the segments behind it are missing
		err = w.through(0, size, n.last.segment)
	default:
		err = w.tail(0, size)
	}
	if err != nil {
		return err
	}
	n.epochs, n.End = w.epochs, w.offset
	if err := w.finishIndexes(last); err != nil {
		return err
	}
	return n.said(math.MaxInt64)
}

// said counts bytes that were gone through, tells Progress, and returns why to
// stop.
func (n *inspector) said(bytes int64) error {
	flush := bytes == math.MaxInt64
	if !flush {
		n.Bytes += bytes
		n.unsaid += bytes
	}
	if n.unsaid < scanBytes && !flush {
		return nil
	}
	if n.how.Progress != nil && n.unsaid > 0 {
		n.how.Progress(n.unsaid)
	}
	n.unsaid = 0
	return n.ctx.Err()
}

// checkExtent holds the checkpoint against the segments that are there.
func (n *inspector) checkExtent() {
	c := n.last
	if c == nil {
		return
	}
	s := n.segmentAt(c.segment)
	switch {
	case s != nil:
	case len(n.segments) > 0 && n.segments[len(n.segments)-1].base > c.segment: // the end is there
		if n.Worst() < Damage {
			n.add(Damage, filepath.Join(n.l.cfg.Dir, checkpointName), c.segment, 0, "the checkpoint of this log",
				fmt.Sprintf("one that counts on a segment of offset %d, and there is none", c.segment), hintDerived)
		}
	default:
		f := n.add(Damage, n.l.newSegment(c.segment, 0).logPath(), c.segment, 0, fmt.Sprintf("a file of at least %d bytes", c.pos), "none", hintNoExtent)
		f.End, f.Next = 0, c.offset
	}
	if s != nil && s.size.Load() < c.pos && n.Worst() < Damage {
		size := s.size.Load()
		f := n.add(Damage, s.logPath(), -1, size, fmt.Sprintf("%d bytes that were durable", c.pos), fmt.Sprint(size), hintNoExtent)
		f.End, f.Next = size, c.offset
	}
	if first := n.firstBase(); first > c.start {
		s := n.l.newSegment(c.start, 0)
		f := n.add(Damage, s.logPath(), c.start, 0, fmt.Sprintf("the offsets %d to %d", c.start, first-1), "no file",
			"restore the file from a copy; runnel repair lets the log start where its files do")
		f.End, f.Next = 0, first
		return
	}
	if n.how.Live || n.Worst() == Damage {
		return
	}
	var count int
	var sum uint64
	for _, s := range n.segments {
		if s.base < c.segment {
			count, sum = count+1, sum+digest(s.base, s.size.Load())
		}
	}
	if n.swapped != nil && (count != c.sealed || sum != c.digest) {
		after := *c
		n.swapped.apply(&after)
		c = &after
	}
	if count != c.sealed || sum != c.digest {
		n.add(Recoverable, filepath.Join(n.l.cfg.Dir, checkpointName), -1, 0,
			fmt.Sprintf("%d sealed segments with the digest %016x", count, sum), fmt.Sprintf("%d with %016x", c.sealed, c.digest),
			"all of them were read and are sound; runnel repair notes it")
	}
}
