package log

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
)

// Names of the files that a repair creates. docs/format.md has the order of its
// steps.
const (
	journalName    = "runnel-repair"
	repairedSuffix = ".repaired"
	damagedSuffix  = ".damaged-" // and the time
)

// RepairOptions configures Repair.
type RepairOptions struct {
	DryRun bool // change nothing

	// AcceptLoss lets a log whose end is lost continue at the lowest possible offset.
	// Records with higher offsets may have existed, and their offsets will be assigned
	// again.
	AcceptLoss bool

	// Stamp ends the names under which damaged files are kept: a time, for instance.
	Stamp string

	// Progress is that of InspectOptions.
	Progress func(bytes int64)
}

// Step is one thing that Repair has done or would do.
type Step struct {
	File string // the file that it changes
	What string // a description

	// Lost are the offsets whose records are lost, from the first to before the
	// second. They are not assigned again.
	Lost [2]int64

	// Refused means that Repair won't do it, and What says why.
	Refused bool
}

// Repair makes a damaged log readable and appendable again. It keeps damaged files
// under another name and replaces them by files with all sound batches. A run of
// lost offsets becomes a batch without records, so that no record changes its
// offset. Wrong indexes, leader epochs and checkpoints are rebuilt.
//
// No process may have the log open. Repairing a sound log does nothing. The next
// Repair finishes an interrupted one; until then, Open refuses the log. Repair
// returns the steps that it did or, with DryRun, would do.
func Repair(ctx context.Context, cfg Config, how RepairOptions) ([]Step, error) {
	cfg = cfg.withDefaults()
	r := repair{ctx: ctx, cfg: cfg, how: how}
	if err := r.run(); err != nil {
		if ctx.Err() != nil {
			return r.steps, ctx.Err()
		}
		return r.steps, (&opening{l: &Log{cfg: cfg}}).wrapDisk(err)
	}
	return r.steps, nil
}

// repair is a running Repair.
//
//	inspect ─▶ plan the journal ─▶ write *.repaired and copies of the damaged files
//	  ─▶ journal durable ─▶ carry out: rename, truncate, remove ─▶ Adopt ─▶ remove the journal
//
// Until the journal is durable, nothing of the log has changed. From then on, every
// step can be repeated: the next Repair continues with carryOut.
type repair struct {
	ctx   context.Context
	cfg   Config
	how   RepairOptions
	steps []Step

	n       *inspector          // has the findings
	rewrite map[int64][]Finding // the damage of each segment to rewrite, by base offset
	journal journal
}

func (r *repair) run() error {
	text, err := vfs.ReadFile(r.cfg.FS, r.path(journalName), maxEpochFile)
	switch {
	case err == nil:
		if r.journal, err = decodeJournal(text); err != nil {
			return err
		}
		r.step(r.path(journalName), "finish the repair that was interrupted")
		if r.how.DryRun {
			return nil
		}
		return r.carryOut()
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := r.inspect(); err != nil {
		return err
	}
	if r.n.swapped != nil && r.n.Worst() == Damage && !r.how.DryRun {
		if err := r.finishSwap(); err != nil {
			return err
		}
	}
	if r.n.Unlisted > 0 {
		r.refuseStep(r.cfg.Dir, fmt.Sprintf("there are more than %d places of damage: restore the log from a copy", maxFindings))
		return nil
	}
	return r.fix()
}

func (r *repair) inspect() error {
	r.n = &inspector{ctx: r.ctx, how: InspectOptions{Progress: r.how.Progress}, l: &Log{cfg: r.cfg}}
	return r.n.inspect()
}

// finishSwap finishes an interrupted swap, as Open would, so that the damage can be
// repaired in files that have their final names.
func (r *repair) finishSwap() error {
	entries, err := r.cfg.FS.ReadDir(r.cfg.Dir)
	if err != nil {
		return err
	}
	o := opening{l: &Log{cfg: r.cfg}}
	if err := o.finishSwap(entries); err != nil {
		return err
	}
	if err := r.cfg.FS.SyncDir(r.cfg.Dir); err != nil {
		return err
	}
	return r.inspect()
}

func (r *repair) path(name string) string { return filepath.Join(r.cfg.Dir, name) }

func (r *repair) step(file, what string) { r.steps = append(r.steps, Step{File: file, What: what}) }

func (r *repair) refuseStep(file, what string) {
	r.steps = append(r.steps, Step{File: file, What: what, Refused: true})
}

// fix repairs what was found.
func (r *repair) fix() error {
	switch r.n.Worst() {
	case Note, Opaque:
		return nil
	case Recoverable:
		return r.derive()
	}
	r.plan()
	if slices.ContainsFunc(r.steps, func(s Step) bool { return s.Refused }) {
		// The segments of a log are repaired together or not at all, so nothing is done
		// and only the refusals are reported.
		r.steps = slices.DeleteFunc(r.steps, func(s Step) bool { return !s.Refused })
		return nil
	}
	if r.how.DryRun {
		return nil
	}
	for _, base := range slices.Sorted(maps.Keys(r.rewrite)) {
		if err := r.writeSegment(base); err != nil {
			return err
		}
	}
	if err := r.cfg.FS.SyncDir(r.cfg.Dir); err != nil {
		return err
	}
	if err := vfs.WriteFile(r.cfg.FS, r.path(journalName), r.journal.encode()); err != nil {
		return err
	}
	return r.carryOut()
}

// derive removes wrong derived files, and opens the log, which rebuilds them.
func (r *repair) derive() error {
	for _, f := range r.n.Findings {
		if f.Grade == Recoverable {
			r.planDerived(f)
		}
	}
	if r.how.DryRun {
		return nil
	}
	for _, name := range r.journal.removed {
		if name == swapName {
			continue // Open finishes the swap
		}
		if err := r.cfg.FS.Remove(r.path(name)); err != nil {
			return err
		}
	}
	if err := r.cfg.FS.SyncDir(r.cfg.Dir); err != nil {
		return err
	}
	l, _, err := Open(r.cfg)
	if err != nil {
		return err
	}
	err = l.refresh()
	return errors.Join(err, l.Close())
}

// refresh writes a new checkpoint, even if the one in the file is current.
func (l *Log) refresh() error {
	if l.active == nil {
		return nil
	}
	return l.writeCheckpoint(false)
}

// plan turns damage into a journal.
func (r *repair) plan() {
	r.rewrite = map[int64][]Finding{}
	r.journal.start = r.n.Start
	for _, f := range r.n.Findings {
		name := filepath.Base(f.File)
		base, _ := parseName(name, logSuffix)
		switch {
		case f.Grade == Recoverable && f.header != nil:
			r.planRewrite(f, base)
		case f.Grade == Recoverable:
			r.planDerived(f)
		case f.Grade == Damage && f.Hint == hintForeign && !r.how.AcceptLoss:
			r.refuseStep(f.File, "by its timestamps, the segment is not the one that was written here: put that one back, or accept the loss to keep this one in its place")
		case f.Grade == Damage && (name == epochName || name == checkpointName):
			r.step(f.File, "rebuild it from the log")
			r.journal.remove(name)
		case f.Grade == Damage && filepath.Ext(name) != logSuffix:
			r.refuseStep(f.File, f.Found+": "+f.Hint)
		case f.Grade == Damage && r.n.segmentAt(base) == nil && f.Next > 0 && base < r.n.firstBase():
			r.lose(f, fmt.Sprintf("let the log start at offset %d, where its files do", f.Next))
			r.journal.start = f.Next
		case f.Grade == Damage && r.lostEnd(f, base):
			r.planLostEnd(f, base)
		case f.Grade == Damage:
			r.planRewrite(f, base)
		}
	}
	for _, base := range slices.Sorted(maps.Keys(r.rewrite)) {
		s := r.n.l.newSegment(base, 0)
		r.journal.replace(filepath.Base(s.logPath()))
		r.journal.remove(filepath.Base(s.indexPath()))
		r.journal.remove(filepath.Base(s.timeIndexPath()))
	}
	// A rewritten segment has no torn tail, and its end elsewhere.
	r.journal.cuts = slices.DeleteFunc(r.journal.cuts, func(c journalCut) bool { return slices.Contains(r.journal.replaced, c.name) })
}

// planDerived plans the repair of something that affects no record.
func (r *repair) planDerived(f Finding) {
	name := filepath.Base(f.File)
	ext := filepath.Ext(name)
	base, _ := parseName(name, ext)
	_, there := r.n.names[name]
	switch {
	case name == swapName:
		r.step(f.File, "finish replacing segments, where a compaction was interrupted")
		r.journal.remove(name)
	case ext == cleanedSuffix:
		r.step(f.File, "delete it: the compaction that wrote it was interrupted")
		r.journal.remove(name)
	case ext == logSuffix && f.header != nil:
		r.step(f.File, f.restored())
	case ext == logSuffix && f.End > f.Pos:
		r.step(f.File, fmt.Sprintf("cut off a torn tail of %d bytes at byte %d", f.End-f.Pos, f.Pos))
		r.journal.cut(name, f.Pos)
	case ext == logSuffix:
		r.step(f.File, "delete it: it lies before the log's start")
		r.journal.remove(name)
	case (ext == indexSuffix || ext == timeIndexSuffix) && r.n.segmentAt(base) == nil:
		r.step(f.File, "delete it: it has no segment")
		r.journal.remove(name)
	case there && name != checkpointName:
		r.step(f.File, "rebuild it from the log")
		r.journal.remove(name)
	default:
		r.step(f.File, "rebuild it from the log")
	}
}

// lose adds a step that loses the finding's offsets.
func (r *repair) lose(f Finding, what string) {
	r.steps = append(r.steps, Step{File: f.File, What: what, Lost: [2]int64{f.Offset, f.Next}})
}

// planRewrite plans to rewrite a segment without a damaged range.
func (r *repair) planRewrite(f Finding, base int64) {
	if len(r.rewrite[base]) == 0 {
		r.step(f.File, "keep it as "+filepath.Base(f.File)+damagedSuffix+r.how.Stamp+" and rewrite it from its sound batches")
	}
	r.rewrite[base] = append(r.rewrite[base], f)
	what := fmt.Sprintf("%d bytes at byte %d: %s", f.End-f.Pos, f.Pos, f.Found)
	switch {
	case f.header != nil:
		r.step(f.File, f.restored())
	case f.Next > f.Offset:
		r.lose(f, what)
	default:
		r.step(f.File, what)
	}
}

// restored describes the step that restores a batch's header.
func (f *Finding) restored() string {
	found, _, _ := strings.Cut(f.Found, "; nothing but its ")
	what := fmt.Sprintf("%d bytes at byte %d: %s; nothing else is wrong with it, and ", f.End-f.Pos, f.Pos, found)
	if f.fields == "leader epoch" {
		return what + "it gets the right one"
	}
	return fmt.Sprintf("%sits %s is restored: it is the batch of offset %d", what, f.fields, f.Offset)
}

// lostEnd reports whether a finding is that the end of the log is missing.
func (r *repair) lostEnd(f Finding, base int64) bool {
	c := r.n.last
	if c == nil || base != c.segment {
		return false
	}
	s := r.n.segmentAt(base)
	return s == nil || s.size.Load() < c.pos && f.End >= s.size.Load()
}

// planLostEnd plans to continue the log at the lowest possible offset, if the user
// accepts the loss.
func (r *repair) planLostEnd(f Finding, base int64) {
	if !r.how.AcceptLoss {
		r.refuseStep(f.File, fmt.Sprintf("the log's end is lost: everything before offset %d was durable, and how many records followed is unknown. "+
			"Restore the file from a copy, or accept the loss: then the log continues at offset %d", f.Next, f.Next))
		return
	}
	f.Offset = max(f.Offset, base)
	if f.End < 0 || r.n.segmentAt(base) == nil {
		f.Pos, f.End = 0, 0
	}
	if len(r.rewrite[base]) == 0 && r.n.segmentAt(base) != nil {
		r.step(f.File, "keep it as "+filepath.Base(f.File)+damagedSuffix+r.how.Stamp+" and rewrite it from its sound batches")
	}
	r.rewrite[base] = append(r.rewrite[base], f)
	r.lose(f, fmt.Sprintf("let the log continue at offset %d; records with higher offsets are lost, too", f.Next))
}

// writeSegment writes a copy of a damaged segment and, beside it, the segment that will
// replace it.
func (r *repair) writeSegment(base int64) error {
	s := r.n.segmentAt(base)
	if s != nil {
		kept := s.logPath() + damagedSuffix + r.how.Stamp
		if err := r.copyFile(s.logPath(), kept); err != nil {
			return err
		}
	} else {
		s = r.n.l.newSegment(base, 0)
	}
	out, err := r.cfg.FS.OpenFile(s.logPath()+repairedSuffix, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	w := rewriting{r: r, s: s, out: out}
	return errors.Join(w.rewrite(r.rewrite[base]), out.Sync(), out.Close())
}

// copyFile copies a file and makes the copy durable. The copy gets its name when it
// is complete.
func (r *repair) copyFile(from, to string) error {
	in, err := r.cfg.FS.OpenFile(from, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := r.cfg.FS.OpenFile(to+".tmp", os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	size, err := in.Size()
	if err == nil {
		_, err = io.Copy(io.NewOffsetWriter(out, 0), io.NewSectionReader(in, 0, size))
	}
	if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
		return err
	}
	return r.cfg.FS.Rename(to+".tmp", to)
}

// carryOut does what the journal says. An interrupted repair may have done any of the
// steps already.
func (r *repair) carryOut() error {
	fsys := r.cfg.FS
	for _, name := range r.journal.replaced {
		err := fsys.Rename(r.path(name)+repairedSuffix, r.path(name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, c := range r.journal.cuts {
		if err := cutFile(fsys, r.path(c.name), c.size); err != nil {
			return err
		}
	}
	for _, name := range append(r.journal.removed, checkpointName) {
		if err := fsys.Remove(r.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := fsys.SyncDir(r.cfg.Dir); err != nil {
		return err
	}
	cfg := r.cfg
	cfg.repairing = true
	end, err := Adopt(cfg, r.journal.start)
	if err != nil {
		return fmt.Errorf("the log as it was repaired, to offset %d: %w", end, err)
	}
	if err := fsys.Remove(r.path(journalName)); err != nil {
		return err
	}
	return fsys.SyncDir(r.cfg.Dir)
}

// cutFile truncates a file to at most size.
func cutFile(fsys vfs.FS, path string, size int64) error {
	f, err := fsys.OpenFile(path, os.O_RDWR)
	if err != nil {
		return err
	}
	now, err := f.Size()
	if err == nil && now > size {
		err = f.Truncate(size)
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// unfinished is the error for a log whose repair was interrupted.
func (l *Log) unfinished() error {
	return l.errorAt(fault.Storage, -1).Detailf("%s: a repair was interrupted", l.cfg.Dir).Try("finish it: runnel repair")
}
