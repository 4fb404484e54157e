package replica

import (
	"errors"
	"fmt"
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
	Origin        uint32       // of the group, or 0
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
	if !members.Has(cfg.ID) || !members.sound() {
		return (&Disk{cfg: cfg}).place().Detailf("replica %v is none of %d voters and %d learners", cfg.ID, len(members.Voters), len(members.Learners))
	}
	return createDisk(cfg, members)
}

// createDisk is CreateDisk for a replica that may be none of its group's first members.
func createDisk(cfg DiskConfig, members Membership) error {
	d := &Disk{cfg: cfg}
	fsys, dir := cfg.Log.FS, cfg.Log.Dir
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
	if err := createState(fsys, dir, slotRecord{id: cfg.ID, group: cfg.Group.sum(), boot: cfg.Boot}); err != nil {
		return d.failed(err)
	}
	if err := fsys.SyncDir(dir); err != nil {
		return d.failed(err)
	}
	b := base{id: cfg.ID, group: cfg.Group, start: Start{Membership: members}}
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
		return s, d.foreign("is replica %v's and not %v's", d.base.id, d.cfg.ID)
	}
	if d.base.group != d.cfg.Group {
		return s, d.foreign("is a replica of group %v and not of %v", d.base.group, d.cfg.Group)
	}
	if d.state, err = openState(fsys, dir); err != nil {
		return s, err
	}
	if d.state == nil || d.state.id != d.cfg.ID || d.state.group != d.cfg.Group.sum() {
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
	state, err := openState(d.cfg.Log.FS, d.cfg.Log.Dir)
	if err != nil {
		return err
	}
	if state != nil {
		_ = state.file.Close()
	}
	if state != nil && (state.running || state.Term > 0) { // CreateDisk was not just interrupted
		return d.lost("%s is gone", baseName)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name, ".log") && e.Size > 0 {
			return d.lost("%s is gone", baseName)
		}
	}
	return d.place().Detailf("%s", d.cfg.Log.Dir).Because(ErrAbsent)
}

// find opens the marks. What they say of batches has to be what the log has; otherwise they
// are another log's, and made again.
func (d *Disk) find(s *DiskState) error {
	if len(s.Recovery.Damage) > 0 {
		return s.Recovery.Damage[0]
	}
	if s.Recovery.Replaced && !d.cfg.mended {
		return d.place().Detailf("%s has other segments than its checkpoint counts", d.cfg.Log.Dir).Because(errLog)
	}
	m, err := openMarks(d.cfg.Log.FS, d.cfg.Log.Dir, d.base.generation, d.base.start)
	if err != nil {
		return err
	}
	d.marks = m
	if last := m.list[len(m.list)-1]; last.term != 0 && last.offset >= d.log.EndOffset() && last.offset > d.state.synced.offset {
		return d.lost("the batch of index %d at offset %d was committed, and the log ends at %d", last.index, last.offset, d.log.EndOffset())
	}
	contradicts := "leader epochs"
	if m.agree(d.log) {
		if contradicts, err = d.exchanged(); contradicts == "" {
			return err
		}
	}
	if d.cfg.mended {
		return m.forget(d.base.start)
	}
	return d.place().Detailf("%s has %s that %s contradicts", d.cfg.Log.Dir, contradicts, marksName).Because(errLog)
}

// exchanged returns which segment does not end with the batch on record, if there is one: then it is another log's.
func (d *Disk) exchanged() (segment string, err error) {
	for i, k := range d.marks.list {
		if i == 0 || k.before == 0 || d.cfg.Keyed || k.offset <= d.log.StartOffset() {
			continue // compaction changes batches
		}
		switch ok, err := d.has(ending{offset: k.offset, term: d.marks.list[i-1].term, sum: k.before}); {
		case fault.CodeOf(err) == fault.CorruptMessage: // a reader finds it
		case err != nil:
			return "", err
		case !ok:
			return fmt.Sprintf("a segment before offset %d", k.offset), nil
		}
	}
	return "", nil
}

// errMarks says that the marks are not this log's.
var errMarks = errors.New("the marks are another log's")

// recover reads the log from the last committed batch that is known, and finds the
// state that a Core begins with.
func (d *Disk) recover(s *DiskState) error {
	marked := d.marks.last()
	if on := d.state.synced; on.offset <= marked.offset && on.offset > d.base.start.Offset {
		if ok, err := d.has(on); !ok {
			return errors.Join(err, d.otherLog())
		}
	}
	slots, err := d.scan(marked)
	if errors.Is(err, errMarks) {
		if err := d.marks.forget(d.base.start); err != nil {
			return err
		}
		marked = d.marks.last()
		slots, err = d.scan(marked)
	}
	if errors.Is(err, errMarks) {
		return d.mixed("has no batch at offset %d, where its log begins", marked.offset)
	}
	if err != nil {
		return err
	}
	changes := d.base.latest(math.MaxUint64)
	commit := max(d.state.Commit, changes.Index, marked.index-1)
	if marked.term != 0 {
		commit = max(commit, marked.index) // only a committed batch has a mark
	}
	s.terms = d.marks.terms(d.base.start, marked.index)
	s.Tail = Place{marked.index - 1, marked.offset}
	if d.end.index < d.state.synced.index {
		return d.lost("the log had index %d once, and ends with %d", d.state.synced.index, d.end.index)
	}
	if d.end.index < changes.Index {
		return d.lost("index %d was committed, and the log ends with %d", changes.Index, d.end.index)
	}
	if last := s.terms[len(s.terms)-1].term; d.state.Term < max(last, d.end.term) {
		return d.lost("the log has term %d, and what it voted in is on record up to %d", max(last, d.end.term), d.state.Term)
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
	d.commit = min(commit, d.end.index)
	s.Start, s.Members = d.base.start, d.base.latest(d.commit).Membership
	s.State = d.state.HardState
	s.State.Commit = d.commit
	s.HighWatermark = s.Tail.Offset
	if err := d.findOrigin(); err != nil {
		return err
	}
	s.Origin = d.state.origin
	return d.start()
}

// start notes that the replica runs.
func (d *Disk) start() error {
	d.state.running, d.state.boot = true, d.cfg.Boot
	d.state.Commit = d.commit
	d.state.synced = d.synced()
	d.attested.Store(new(d.state.synced))
	if err := d.state.write(); err != nil {
		return err
	}
	return d.state.sync()
}

// scan reads the batches from a mark to the log's end, and adds what they say to the
// marks.
func (d *Disk) scan(from mark) (slots []slot, err error) {
	d.end = ending{index: from.index - 1, offset: from.offset}
	if from.index == d.base.start.Index+1 {
		d.end = d.base.start.ending()
	}
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
			before := d.end.offset
			d.follow(&h)
			if err := d.confirm(from, before, &h); err != nil {
				return nil, err
			}
			slots = append(slots, s)
			offset = h.NextOffset()
			b = b[h.Size():]
		}
	}
}

// confirm checks that the last batch, which was to begin at an offset, is in its place,
// and that it is the one on record if that ends there.
func (d *Disk) confirm(from mark, begins int64, h *record.BatchHeader) error {
	on := d.state.synced
	if d.cfg.Keyed {
		on.sum = d.end.sum
	}
	switch {
	case h.BaseOffset != begins, begins == from.offset && from.term != 0 && from.term != d.end.term:
		return errMarks
	case d.end == on, d.end.offset < on.offset, begins >= on.offset:
		return nil
	case d.end.index != on.index && d.end.offset == on.offset && d.end.term == on.term && d.end.sum == on.sum && from.index > d.base.start.Index+1:
		return errMarks
	}
	return d.otherLog()
}

// has reports whether the log has the batch that an ending names, whatever its index, and its term if that is 0.
func (d *Disk) has(e ending) (bool, error) {
	s, err := d.log.Read(e.offset-1, math.MaxInt64, 1, nil)
	if err != nil {
		return false, err
	}
	h, err := record.ParseHeader(s.Bytes)
	return err == nil && h.NextOffset() == e.offset && (uint64(h.LeaderEpoch) == e.term || e.term == 0) && (h.CRC == e.sum || d.cfg.Keyed), err
}

func (d *Disk) otherLog() error {
	on := d.state.synced
	return d.mixed("has another log than the one on record, which had index %d of epoch %d before offset %d", on.index, on.term, on.offset)
}

// ErrForeign says that a directory, or its log, is not the replica's.
var ErrForeign = errors.New("the files are not this replica's")

// errLog says that the log is not what is on record beside it.
var errLog = errors.New("the log is not the one on record")

func (d *Disk) mixed(format string, args ...any) error {
	return d.place().Detailf("%s %s", d.cfg.Log.Dir, fmt.Sprintf(format, args...)).Because(errors.Join(ErrForeign, errLog)).ForGood().
		Try("put back the files that were there, or replace the replica by one of a new incarnation")
}

func (d *Disk) foreign(format string, args ...any) error {
	return d.place().Detailf("%s %s", d.cfg.Log.Dir, fmt.Sprintf(format, args...)).Because(ErrForeign).ForGood().
		Try("put back the files that were there, or replace the replica by one of a new incarnation")
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
