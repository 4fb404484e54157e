package log

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
)

// Grade is the severity of a Finding.
type Grade int

const (
	Note        Grade = iota // nothing is wrong: information
	Opaque                   // a batch is as it was written, but its records cannot be decoded; it stays as it is
	Recoverable              // opening the log or repairing it fixes this; no record is affected
	Damage                   // records cannot be read, or the log cannot be opened
)

// String returns note, opaque, recoverable or damage.
func (g Grade) String() string { return [...]string{"note", "opaque", "recoverable", "damage"}[g] }

// Finding is something that Inspect found, with its place.
type Finding struct {
	Grade
	*fault.Corruption

	// End is the position after the bytes in question, and Next the offset that
	// follows them, where Grade is Damage or Opaque in a segment; otherwise both are -1.
	End, Next int64

	header []byte // the correct header of the batch in question, if only its header is damaged
	fields string // names the damaged fields
}

// Inspection is the result of Inspect.
type Inspection struct {
	Closed     bool      // the log was closed cleanly, or never had a record
	Segments   int       // the number of segments
	Batches    int64     // sound batches
	Records    int64     // records in them
	Bytes      int64     // bytes of segments that were read
	Start, End int64     // the offsets between which the log has records
	Findings   []Finding // in the order of the files
	Unlisted   int       // how many findings Findings lacks, beyond its limit
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

// InspectOptions configures Inspect. The zero value is valid.
type InspectOptions struct {
	// Live means that another process has the log open and may append to it or delete
	// segments. Inspect then reads only what the newest checkpoint covers.
	Live bool

	// Ahead makes Inspect of a Live log continue behind the checkpoint, up to the
	// first bytes that are not a sound batch.
	Ahead bool

	// Progress is called from time to time with the number of bytes of segments that
	// were read since the last call.
	Progress func(bytes int64)

	// Batch is called with each sound batch in order. The batch's bytes are valid
	// until it returns. Its error becomes a finding.
	Batch func(record.Batch) error
}

// Inspect reads every byte of a log's segments and indexes and changes nothing. It
// finds what Open and reads of all offsets would find and repair. If there is no
// Damage, the log can be opened and every record read, except those in Opaque
// batches. Its memory does not depend on the log's length.
//
// The log need not have been closed. No process may have it open, unless how.Live is
// set. An error means that a file could not be read, that a newer version wrote it
// (fault.UnsupportedFormat), or that ctx has ended.
func Inspect(ctx context.Context, cfg Config, how InspectOptions) (Inspection, error) {
	n := inspector{ctx: ctx, how: how, l: &Log{cfg: cfg.withDefaults()}}
	if err := n.inspect(); err != nil {
		if ctx.Err() != nil {
			return n.Inspection, ctx.Err()
		}
		return n.Inspection, (&opening{l: n.l}).wrapDisk(err)
	}
	return n.Inspection, nil
}

// inspector is a running Inspect. It follows Open step by step, with the difference
// that it reads everything and changes nothing.
type inspector struct {
	Inspection
	ctx context.Context
	how InspectOptions
	l   *Log // not open: only for its configuration, paths and errors

	last     *checkpoint
	swapped  *manifest // of an interrupted swap, or nil
	segments []*segment
	names    map[string]int64 // the sizes of the other files
	epochs   []EpochEntry
	believed bool         // epochs are the file's, up to the checkpoint
	met      []EpochEntry // the epochs of the batches so far

	tailAt int64  // where the last segment's batches end, if not at the file's end; or -1
	buf    []byte // for batches that are longer than a scanner's window
	unsaid int64  // bytes read since the last call of Progress
}

func (n *inspector) inspect() error {
	n.tailAt = -1
	cfg := &n.l.cfg
	var err error
	if n.last, err = readCheckpoint(cfg.FS, cfg.Dir); err != nil {
		return err
	}
	if err := n.viewSwap(); err != nil {
		return err
	}
	if err := n.listFiles(); err != nil {
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

// report adds a finding.
func (n *inspector) report(g Grade, path string, offset, pos int64, expected, found, hint string) *Finding {
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

// damage reports bytes of a segment that are not what was written.
func (n *inspector) damage(s *segment, offset, pos, end, next int64, found string) *Finding {
	f := n.report(Damage, s.logPath(), offset, pos, fmt.Sprintf("the batch of offset %d", offset), found, hintDamage)
	f.End, f.Next = end, next
	return f
}

// opaque reports a batch whose checksum matches and whose records cannot be decoded.
func (n *inspector) opaque(s *segment, h *record.BatchHeader, pos int64, why error) {
	f := n.report(Opaque, s.logPath(), h.BaseOffset, pos, fmt.Sprintf("%d records in the batch of offset %d", h.Count, h.BaseOffset), "bytes with the right checksum, and "+why.Error(), hintOpaque)
	f.End, f.Next = pos+int64(h.Size()), h.NextOffset()
}

// Hints.
const (
	hintDamage   = "the file is left as it is; restore it from a copy, or see what runnel repair --dry-run would do"
	hintOpaque   = "it is kept as it is, and compaction skips it; the program that wrote it, or one that allows larger batches, may be able to read it"
	hintDerived  = "runnel repair rebuilds it from the log"
	hintOpening  = "opening the log does it"
	hintForeign  = "the segment was hardly written here: put the right one back, or runnel repair --accept-loss takes it as it is"
	hintNoExtent = "it is unknown which offsets were assigned; restore the file from a copy, or see what runnel repair --dry-run offers"
)

// listFiles finds the segments and explains the other files.
func (n *inspector) listFiles() error {
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
			n.report(Note, filepath.Join(cfg.Dir, e.Name), -1, 0, "files", "a directory", "it is left alone")
		case ok:
			n.segments = append(n.segments, n.l.newSegment(base, e.Size))
		default:
			n.names[e.Name] = e.Size
		}
	}
	for c := n.last; c != nil && len(n.segments) > 1 && n.segments[1].base <= min(c.start, c.segment); {
		n.report(Recoverable, n.segments[0].logPath(), n.segments[0].base, 0,
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

// explainName reports a file that does not belong to a log, or to this one.
func (n *inspector) explainName(name string) {
	path := filepath.Join(n.l.cfg.Dir, name)
	switch {
	case name == journalName:
		n.report(Damage, path, -1, 0, "no unfinished repair", "the journal of an interrupted repair", "finish it: runnel repair")
		return
	case strings.Contains(name, logSuffix+damagedSuffix):
		n.report(Note, path, -1, 0, "a log's files", "what was damaged before a repair", "it is left alone")
		return
	}
	for _, suffix := range []string{indexSuffix, timeIndexSuffix} {
		base, ok := parseName(name, suffix)
		switch {
		case !ok || len(n.segments) == 0:
		case base < n.segments[0].base:
			n.report(Recoverable, path, base, 0, "no segment of this name", "its index", hintOpening)
		case n.segmentAt(base) == nil:
			n.report(Note, path, base, 0, "no segment of this name", "its index", "it is left alone")
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
	case ".keyindex": // runs of internal/keyindex, which are made again where they are wrong
		return
	case ".checkpoint": // the catalogue's snapshots
		return
	case cleanedSuffix: // viewSwap has reported it
		return
	case ".tmp", repairedSuffix:
		n.report(Note, path, -1, 0, "nothing", "what a crash left of replacing a file", "it is replaced or left alone")
		return
	}
	n.report(Note, path, -1, 0, "a log's files", "one that is none of them", "it is left alone")
}

func (n *inspector) segmentAt(base int64) *segment {
	for _, s := range n.segments {
		if s.base == base {
			return s
		}
	}
	return nil
}

// firstBase returns the offset at which the log's files begin, or would begin if a
// repair created the checkpoint's segment.
func (n *inspector) firstBase() int64 {
	switch {
	case len(n.segments) > 0:
		return n.segments[0].base
	case n.last != nil:
		return n.last.segment
	}
	return 0
}

// onlyDurable drops the segments and bytes that the checkpoint does not cover.
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

// checkSlots checks both slots of the checkpoint.
func (n *inspector) checkSlots() error {
	size, there := n.names[checkpointName]
	if !there {
		if len(n.segments) > 0 && !n.how.Live {
			n.report(Note, filepath.Join(n.l.cfg.Dir, checkpointName), -1, 0, "a checkpoint", "none",
				"the log's extent is not known: one that lost its end in whole batches looks complete")
		}
		return nil
	}
	path := filepath.Join(n.l.cfg.Dir, checkpointName)
	if n.last == nil {
		if len(n.segments) > 0 {
			n.report(Recoverable, path, -1, 0, "two slots of which at least one is whole", fmt.Sprintf("%d bytes without a whole one", size),
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
		b := make([]byte, longSlotLen)
		got, err := f.ReadAt(b, slot*slotStride)
		if got < len(b) && !errors.Is(err, io.EOF) {
			return err
		}
		b = b[:got]
		if _, ok, _ := decodeCheckpoint(b); !ok && strings.Trim(string(b), "\x00") != "" {
			n.report(Note, path, -1, slot*slotStride, "a checkpoint", "a torn one", "the other slot is used, and this one is written next")
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
			n.report(Recoverable, path, -1, 0, "a version, a count and lines of epoch and offset", fmt.Sprintf("%.60q", b), hintOpening)
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
		n.report(Recoverable, path, -1, 0, "the leader epochs", "no file", hintOpening)
	}
	return nil
}

// checkProducers checks the snapshot of the producers that the checkpoint names.
func (n *inspector) checkProducers() error {
	if n.last == nil || !n.last.producers || n.how.Live {
		return nil
	}
	ps, err := n.l.readSnapshot(n.last.offset)
	if ps == nil && err == nil {
		n.report(Recoverable, n.l.cfg.snapshotPath(n.last.offset), n.last.offset, 0, "the producers at this offset", "none that are whole", hintOpening)
	}
	return err
}

// segment reads the i-th segment with its indexes. The checkpoint divides it: a flaw
// before it is damage, one behind it a torn tail.
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

// said counts bytes that were read, calls Progress when enough have gathered, and
// returns the context's error. math.MaxInt64 flushes the count.
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

// checkExtent compares the checkpoint with the segments: whether the first, the last
// or one in between is missing.
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
			n.report(Damage, filepath.Join(n.l.cfg.Dir, checkpointName), c.segment, 0, "the checkpoint of this log",
				fmt.Sprintf("one that counts on a segment of offset %d, and there is none", c.segment), hintDerived)
		}
	default:
		f := n.report(Damage, n.l.newSegment(c.segment, 0).logPath(), c.segment, 0, fmt.Sprintf("a file of at least %d bytes", c.pos), "none", hintNoExtent)
		f.End, f.Next = 0, c.offset
	}
	if s != nil && s.size.Load() < c.pos && n.Worst() < Damage {
		size := s.size.Load()
		f := n.report(Damage, s.logPath(), -1, size, fmt.Sprintf("%d bytes that were durable", c.pos), fmt.Sprint(size), hintNoExtent)
		f.End, f.Next = size, c.offset
	}
	if first := n.firstBase(); first > c.start {
		s := n.l.newSegment(c.start, 0)
		f := n.report(Damage, s.logPath(), c.start, 0, fmt.Sprintf("the offsets %d to %d", c.start, first-1), "no file",
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
			if e, err := n.l.cfg.FS.Stat(s.abortedPath()); err == nil {
				_ = s.describeAborted(e.Size) // what cannot be read differs
			}
			count, sum = count+1, sum+s.digest()
		}
	}
	if n.swapped != nil && (count != c.sealed || sum != c.digest) {
		after := *c
		n.swapped.apply(&after)
		c = &after
	}
	if count != c.sealed || sum != c.digest {
		n.report(Recoverable, filepath.Join(n.l.cfg.Dir, checkpointName), -1, 0,
			fmt.Sprintf("%d sealed segments with the digest %016x", count, sum), fmt.Sprintf("%d with %016x", c.sealed, c.digest),
			"all of them were read and are sound; runnel repair notes it")
	}
}
