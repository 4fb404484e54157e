package replica

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"sync/atomic"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
)

const (
	joinBytes     = 64 << 10 // batches up to this are written together
	commitRecords = 64       // the commit index is recorded after so many batches, at the latest
)

// DiskConfig configures a Disk.
type DiskConfig struct {
	Log   log.Config
	ID    ID
	Group GroupID // the directory is not opened for another one

	// Fsync makes a write count only when it is durable. Without it what a machine
	// loses with its power is lost, and the replica has to be replaced then.
	Fsync bool

	// Boot tells starts of the machine apart: within one, what was written is there.
	// It counts without Fsync.
	Boot uint32

	Keyed  bool // compaction may change a batch, but neither its offsets nor its leader epoch
	mended bool // where the log and the marks differ, the log is right
}

// Disk is a replica's directory: its log and what it has to remember beside it. One
// goroutine at a time may call its methods, but Load and Log, which any may call.
type Disk struct {
	cfg      DiskConfig
	log      *log.Log
	state    *stateFile
	base     *base
	marks    *marks
	end      ending                 // of the log
	attested atomic.Pointer[ending] // state.synced, for any goroutine
	commit   uint64                 // the last index of which the log's writer knows that it is committed
	done     uint64                 // the sequence number of the last write that was done
	full     bool                   // the one behind it had no room
}

// Log returns the log, for reading. It is another one after a DiskWrite with a Start.
func (d *Disk) Log() *log.Log { return d.log }

// Do does these writes, in order, with one sync for all of them. Where the disk is
// full, it does what it can, and the writes from the one that had no room on are to
// be tried again, in the same order: the core hands them out again. Any other error
// is final.
func (d *Disk) Do(writes []DiskWrite) DiskResult {
	r := DiskResult{Through: d.done}
	sync := false
	for i := range writes {
		w := &writes[i]
		if w.Sequence <= d.done {
			continue // it was tried again, and done, before this copy of it
		}
		if w.Sequence > d.done+1 && d.full {
			break // the one before it had no room
		}
		if w.Sequence > d.done+1 {
			r.Err = d.place().Detailf("write %d of replica %v came after %d", w.Sequence, d.cfg.ID, d.done)
			break
		}
		if r.Err = d.do(w); r.Err == nil && w.LogStart > 0 {
			r.LogStart, r.Err = d.SetStart(w.LogStart)
		}
		if r.Err != nil {
			break
		}
		d.full = false
		d.done, sync = w.Sequence, sync || w.Sync
		if w.Producers {
			r.Producers = new(d.log.CopyProducers())
		}
	}
	if d.full = d.full || fault.CodeOf(r.Err) == fault.DiskFull; r.Err != nil && !d.full {
		return r // what was done before may lack its sync
	}
	if sync && d.cfg.Fsync {
		if err := d.log.Sync(); err != nil {
			return DiskResult{Through: r.Through, Err: err}
		}
	}
	if err := errors.Join(d.attest(), d.note(writes)); err != nil && fault.OfDisk(err) != fault.DiskFull {
		return DiskResult{Through: r.Through, Err: d.failed(err)}
	}
	if err := d.marks.flush(min(d.commit, d.end.index)); err != nil && fault.OfDisk(err) != fault.DiskFull {
		return DiskResult{Through: r.Through, Err: d.failed(err)}
	}
	r.Through = d.done
	if d.full && r.Err == nil {
		r.Err = d.failed(fault.DiskFull)
	}
	return r
}

func (d *Disk) do(w *DiskWrite) error {
	if w.HasState {
		if err := d.remember(w); err != nil {
			return d.failed(err)
		}
	}
	if w.Start != nil {
		if err := d.reset(*w.Start); err != nil {
			return d.failed(err)
		}
	}
	if len(w.Batches) > 0 {
		if err := d.append(w); err != nil {
			return err
		}
	}
	if w.Members != nil {
		next := *d.base
		next.changes = append(slices.Clip(next.changes), *w.Members)
		if err := next.write(d.cfg.Log.FS, d.cfg.Log.Dir); err != nil {
			return d.failed(err)
		}
		d.base = &next
		d.commit = max(d.commit, w.Members.Index)
	}
	if w.HasState {
		d.commit = max(d.commit, w.State.Commit) // the log has now what was committed
	}
	return nil
}

// remember writes a hard state: durably if it has another term or vote, and not at
// all if only the commit index has moved a little. What is committed may be what this
// very write puts in the place of other batches, which must never count as committed:
// so only what lies before is recorded as such.
func (d *Disk) remember(w *DiskWrite) error {
	s := w.State
	switch {
	case w.Start != nil:
		s.Commit = d.state.Commit
	case len(w.Batches) > 0:
		s.Commit = max(d.state.Commit, min(s.Commit, w.First-1))
	}
	vote := s.Term != d.state.Term || s.Vote != d.state.Vote
	if !vote && s.Commit < d.state.Commit+commitRecords {
		return nil
	}
	d.state.HardState = s
	d.state.synced = d.synced()
	if err := d.state.write(); err != nil {
		return err
	}
	if !vote {
		return nil
	}
	return d.state.sync()
}

// append writes batches where the log ends, or ends it there first.
func (d *Disk) append(w *DiskWrite) error {
	if w.Offset < d.log.EndOffset() {
		if err := d.cut(w.First, w.Offset); err != nil {
			return err
		}
	}
	if w.Offset != d.log.EndOffset() || w.First != d.end.index+1 {
		return d.place().Detailf("index %d was to be written at offset %d, and the log ends with %d at %d", w.First, w.Offset, d.end.index, d.log.EndOffset())
	}
	for rest := w.Batches; len(rest) > 0; {
		n, size := 1, len(rest[0])
		for n < len(rest) && size+len(rest[n]) <= joinBytes {
			size += len(rest[n])
			n++
		}
		if err := d.log.Append(join(rest[:n], size), nil); err != nil {
			return err
		}
		for _, b := range rest[:n] {
			h, err := record.ParseHeader(b)
			if err != nil {
				return err
			}
			d.follow(&h)
		}
		rest = rest[n:]
	}
	return nil
}

// join returns the batches as one slice.
func join(batches [][]byte, size int) []byte {
	if len(batches) == 1 {
		return batches[0]
	}
	joined := make([]byte, 0, size)
	for _, b := range batches {
		joined = append(joined, b...)
	}
	return joined
}

// Load reads batches for Core.Loaded.
func (d *Disk) Load(l Load) LoadResult {
	r := LoadResult{Load: l}
	from := d.marks.floor(l.Index)
	index, offset, bytes := from.index, from.offset, 0
	if index > l.Index { // dropped meanwhile
		r.Err = d.place().Detailf("index %d was dropped, and the log begins with %d", l.Index, index)
		return r
	}
	for bytes < l.MaxBytes {
		s, err := d.read(offset, l.MaxBytes)
		if err != nil || len(s.Bytes) == 0 {
			r.Err = err
			return r
		}
		for b := s.Bytes; len(b) > 0; index++ {
			h, err := record.ParseHeader(b)
			if err != nil {
				r.Err = err
				return r
			}
			if index >= l.Index && bytes < l.MaxBytes {
				r.Batches = append(r.Batches, b[:h.Size():h.Size()])
				bytes += h.Size()
			}
			offset = h.NextOffset()
			b = b[h.Size():]
		}
	}
	return r
}

// read reads whole batches from the one at an offset on. Of that one the log may have
// deleted the first records: their offsets cannot be read any more, and their bytes are
// there as long as the batch.
func (d *Disk) read(offset int64, bytes int) (log.Slice, error) {
	s, err := d.log.Read(max(offset, d.log.StartOffset()), math.MaxInt64, bytes, nil)
	if err != nil || len(s.Bytes) == 0 {
		return s, err
	}
	if h, err := record.ParseHeader(s.Bytes); err == nil && h.BaseOffset > offset {
		return log.Slice{}, d.place().Detailf("the batch at offset %d was dropped, and the log begins with the one at %d", offset, h.BaseOffset)
	}
	return s, nil
}

// SetStart drops what lies before an offset, which may not lie above the high watermark.
// It returns where the group's log begins here now, for Core.Rebase: with the whole batch
// that has the offset. With an error, too, a Start that is not zero counts: what lies
// before it is dropped later, at the latest when the Disk is opened again.
func (d *Disk) SetStart(offset int64) (Start, error) {
	from := d.marks.floorOffset(offset)
	start := Start{Index: from.index - 1, Offset: from.offset}
	for start.Offset < offset {
		s, err := d.read(start.Offset, 1)
		if err != nil {
			return Start{}, err
		}
		h, err := record.ParseHeader(s.Bytes)
		if err != nil || h.NextOffset() > offset {
			break
		}
		start.Index, start.Offset = start.Index+1, h.NextOffset()
	}
	if start.Index <= d.base.start.Index {
		return d.base.start, d.log.SetStart(max(offset, d.base.start.Offset)) // it may have failed before
	}
	d.commit = max(d.commit, start.Index) // it is below the high watermark
	start.Term = d.termBefore(start.Offset)
	start.Membership = d.base.latest(start.Index).Membership
	next := *d.base
	next.start, next.changes = start, nil
	for _, c := range d.base.changes {
		if c.Index > start.Index {
			next.changes = append(next.changes, c)
		}
	}
	if err := next.write(d.cfg.Log.FS, d.cfg.Log.Dir); err != nil {
		return Start{}, d.failed(err)
	}
	d.base = &next
	d.marks.rise(start)
	return start, d.log.SetStart(offset)
}

// termBefore returns the term of the batch that ends at an offset.
func (d *Disk) termBefore(offset int64) uint64 {
	term := d.base.start.Term
	for _, e := range d.log.Epochs() {
		if e.Start < offset {
			term = uint64(e.Epoch)
		}
	}
	return term
}

// reset makes the log empty, to begin at s. If it is interrupted, OpenDisk does it.
func (d *Disk) reset(s Start) error {
	next := &base{resetting: true, generation: d.base.generation + 1, id: d.base.id, group: d.base.group, start: s}
	if err := next.write(d.cfg.Log.FS, d.cfg.Log.Dir); err != nil {
		return err
	}
	_ = d.log.Close() // its readers find it closed; its files go
	_ = d.marks.file.Close()
	d.base = next
	return d.begin()
}

// begin makes the log of a directory whose base says that it is to be empty.
func (d *Disk) begin() error {
	if err := clearLog(d.cfg.Log.FS, d.cfg.Log.Dir); err != nil {
		return err
	}
	l, _, err := log.Open(d.logConfig())
	if err != nil {
		return err
	}
	m, err := openMarks(d.cfg.Log.FS, d.cfg.Log.Dir, d.base.generation, d.base.start)
	if err != nil {
		return err
	}
	d.log, d.marks, d.end, d.commit = l, m, d.base.start.ending(), d.base.start.Index
	if err := d.unsync(d.end); err != nil {
		return err
	}
	d.base.resetting = false
	return d.base.write(d.cfg.Log.FS, d.cfg.Log.Dir)
}

func (d *Disk) logConfig() log.Config {
	cfg := d.cfg.Log
	cfg.Begin = d.base.start.Offset
	if !d.base.resetting {
		cfg.Durable = d.state.synced.offset
	}
	return cfg
}

// Close makes everything durable, and notes that nothing is lost. The Core must
// write nothing any more.
func (d *Disk) Close() error {
	err := d.log.Close()
	if err == nil {
		err = d.marks.sync()
	}
	if err == nil && d.log.SyncedOffset() == d.log.EndOffset() {
		d.state.running, d.state.synced = false, d.end
		d.state.Commit = max(d.state.Commit, min(d.commit, d.end.index))
		if err = d.state.write(); err == nil {
			err = d.state.sync()
		}
	}
	_ = d.marks.file.Close()
	_ = d.state.file.Close()
	return err
}

// discard closes files without writing.
func (d *Disk) discard() {
	if d.marks != nil {
		_ = d.marks.file.Close()
	}
	if d.state != nil {
		_ = d.state.file.Close()
	}
}

func (d *Disk) place() *fault.Error {
	return fault.At(fault.Storage, d.cfg.Log.Topic, d.cfg.Log.Partition, -1)
}

// failed is the error for what the disk refused.
func (d *Disk) failed(err error) error {
	if fault.CodeOf(err) != fault.Unknown {
		return err
	}
	return fault.At(fault.OfDisk(err), d.cfg.Log.Topic, d.cfg.Log.Partition, -1).
		Detailf("replica %v in %s", d.cfg.ID, filepath.Clean(d.cfg.Log.Dir)).Because(err)
}

func (d *Disk) lost(format string, args ...any) error {
	return d.place().Detailf("%s: %s", d.cfg.Log.Dir, fmt.Sprintf(format, args...)).Because(ErrLost).ForGood().
		Try("replace the replica by one of a new incarnation, which learns from the others")
}
