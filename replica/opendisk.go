package replica

import (
	"errors"
	"math"
	"path/filepath"
	"strings"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
)

// Place is a place in a log: an index, and the offset after its batch.
type Place struct {
	Index  uint64
	Offset int64
}

// DiskState is what a Disk knows when it was opened, for New.
type DiskState struct {
	Start         // where the log begins
	Members       Membership
	State         HardState // its Commit counts as applied
	HighWatermark int64
	Tail          Place        // where the batches begin that may not be committed
	Recovery      log.Recovery // what the log found

	slots []slot
	terms []termStart
}

// ErrAbsent says that a directory has no replica.
var ErrAbsent = errors.New("there is no replica")

// CreateDisk makes a directory the home of a new replica of a group that begins with
// these members. A directory that has one already is an error.
func CreateDisk(cfg DiskConfig, members Membership) error {
	d := &Disk{cfg: cfg}
	fsys, dir := cfg.Log.FS, cfg.Log.Dir
	if !members.Has(cfg.ID) || !members.sound() {
		return d.place().Detailf("replica %v is none of %d voters and %d learners", cfg.ID, len(members.Voters), len(members.Learners))
	}
	if b, err := readBase(fsys, dir); err != nil || b != nil {
		return d.place().Detailf("%s has a replica already", dir).Because(err)
	}
	l, _, err := log.Open(cfg.Log) // makes the directory, durably
	if err != nil {
		return err
	}
	if l.EndOffset() > 0 {
		_ = l.Close()
		return d.place().Detailf("%s has records already", dir)
	}
	if err := l.Close(); err != nil {
		return err
	}
	// The file that makes it a replica's comes last.
	if err := createState(fsys, dir, slotRecord{id: cfg.ID, boot: cfg.Boot}); err != nil {
		return d.failed(err)
	}
	if err := fsys.SyncDir(dir); err != nil {
		return d.failed(err)
	}
	b := base{id: cfg.ID, start: Start{Membership: members}}
	if err := b.write(fsys, dir); err != nil {
		return d.failed(err)
	}
	return nil
}

// OpenDisk opens a replica's directory, after a crash at any point, too. ErrAbsent
// means that it has none; ErrLost that the replica may have lost what it had
// acknowledged, and must not start. Damage within the log is a *fault.Corruption.
func OpenDisk(cfg DiskConfig) (*Disk, DiskState, error) {
	d := &Disk{cfg: cfg}
	s, err := d.open()
	if err != nil {
		d.discard()
		if d.log != nil {
			_ = d.log.Close()
		}
		return nil, s, d.failed(err)
	}
	return d, s, nil
}

func (d *Disk) open() (s DiskState, err error) {
	fsys, dir := d.cfg.Log.FS, d.cfg.Log.Dir
	if d.base, err = readBase(fsys, dir); err != nil && fault.CodeOf(err) == fault.InvalidRequest {
		return s, d.lost("%v", err)
	}
	if err != nil {
		return s, err
	}
	if d.base == nil {
		return s, d.absent()
	}
	if d.base.id != d.cfg.ID {
		return s, d.place().Detailf("%s is replica %v's and not %v's", dir, d.base.id, d.cfg.ID).ForGood()
	}
	if d.state, err = openState(fsys, dir); err != nil {
		return s, err
	}
	if d.state == nil || d.state.id != d.cfg.ID {
		return s, d.lost("what it voted is not on record")
	}
	if !d.cfg.Fsync && d.state.running && d.state.boot != d.cfg.Boot {
		return s, d.lost("the machine stopped, and what was written was not synced")
	}
	if d.base.resetting {
		err = d.begin()
	} else if d.log, s.Recovery, err = log.Open(d.logConfig()); err == nil {
		err = d.find(&s)
	}
	if err != nil {
		return s, err
	}
	if d.log.StartOffset() < d.base.start.Offset {
		if err := d.log.SetStart(d.base.start.Offset); err != nil {
			return s, err
		}
	}
	return s, d.recover(&s)
}

// absent tells a directory without a replica from one that lost the file that says so.
func (d *Disk) absent() error {
	entries, err := d.cfg.Log.FS.ReadDir(d.cfg.Log.Dir)
	if err != nil {
		return d.place().Detailf("%s", d.cfg.Log.Dir).Because(ErrAbsent)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name, ".log") && e.Size > 0 {
			return d.lost("%s is gone", baseName)
		}
	}
	return d.place().Detailf("%s", d.cfg.Log.Dir).Because(ErrAbsent)
}

// find opens the marks and drops those of batches that the log doesn't have.
func (d *Disk) find(s *DiskState) error {
	if len(s.Recovery.Damage) > 0 {
		return s.Recovery.Damage[0]
	}
	m, err := openMarks(d.cfg.Log.FS, d.cfg.Log.Dir, d.base.generation, d.base.start)
	if err != nil {
		return err
	}
	d.marks = m
	if last := m.list[len(m.list)-1]; last.term != 0 && last.offset >= d.log.EndOffset() {
		return d.lost("the batch of index %d at offset %d was committed, and the log ends at %d", last.index, last.offset, d.log.EndOffset())
	}
	return nil
}

// recover reads the log from the last committed batch that is known, and finds the
// state that a Core begins with.
func (d *Disk) recover(s *DiskState) error {
	marked := d.marks.list[len(d.marks.list)-1]
	changes := d.base.latest(math.MaxUint64)
	commit := max(d.state.Commit, changes.Index, marked.index-1)
	if marked.term != 0 {
		commit = max(commit, marked.index) // only a committed batch has a mark
	}
	s.terms = d.marks.terms(d.base.start, marked.index)
	d.last = marked.index - 1
	s.Tail = Place{d.last, marked.offset}
	slots, err := d.scan(marked)
	if err != nil {
		return err
	}
	if d.last < d.state.synced {
		return d.lost("the log had index %d once, and ends with %d", d.state.synced, d.last)
	}
	if d.last < changes.Index {
		return d.lost("index %d was committed, and the log ends with %d", changes.Index, d.last)
	}
	for _, b := range slots {
		if last := s.terms[len(s.terms)-1]; b.term != last.term {
			s.terms = append(s.terms, termStart{b.term, s.Tail.Index + uint64(len(s.slots)) + 1})
		}
		s.slots = append(s.slots, b)
		if index := s.Tail.Index + uint64(len(s.slots)); index <= commit {
			s.Tail, s.slots = Place{index, b.next}, s.slots[:0]
		}
	}
	d.commit = min(commit, d.last)
	s.Start, s.Members = d.base.start, d.base.latest(d.commit).Membership
	s.State = d.state.HardState
	s.State.Commit = d.commit
	s.HighWatermark = s.Tail.Offset
	return d.start()
}

// start notes that the replica runs.
func (d *Disk) start() error {
	d.state.running, d.state.boot = true, d.cfg.Boot
	d.state.Commit = d.commit
	d.state.synced = d.synced()
	if err := d.state.write(); err != nil {
		return err
	}
	return d.state.sync()
}

// scan reads the batches from a mark to the log's end, and adds what they say to the
// marks.
func (d *Disk) scan(from mark) (slots []slot, err error) {
	for offset := from.offset; ; {
		r, err := d.read(offset, 1<<20)
		if err != nil {
			return nil, err
		}
		if len(r.Bytes) == 0 {
			return slots, nil
		}
		for b := r.Bytes; len(b) > 0; {
			h, err := record.ParseHeader(b)
			if err != nil {
				return nil, err
			}
			s, err := slotOf(record.Batch{BatchHeader: h, Bytes: b[:h.Size()]})
			if err != nil {
				return nil, err
			}
			if s.data = nil; s.members {
				s.data = append([]byte(nil), b[:h.Size()]...)
			}
			d.last++
			d.marks.add(mark{d.last, uint64(h.LeaderEpoch), h.BaseOffset}, h.Size())
			slots = append(slots, s)
			offset = h.NextOffset()
			b = b[h.Size():]
		}
	}
}

// clearLog removes a log's files, and the marks.
func clearLog(fsys vfs.FS, dir string) error {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name == stateName || e.Name == baseName || e.Name == "partition.metadata" || e.Dir {
			continue
		}
		if err := fsys.Remove(filepath.Join(dir, e.Name)); err != nil {
			return err
		}
	}
	return fsys.SyncDir(dir)
}
