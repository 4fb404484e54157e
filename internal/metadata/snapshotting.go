package metadata

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/catalogue"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/topic"
)

// Written and read, there are two snapshots, as a rule, and the log begins where the
// older one ends: with either of them damaged, the other one and the log give the
// whole catalogue.

// SnapshotEvery is how many records the log gathers, at least, before a snapshot is
// due that takes the place of those before it.
const SnapshotEvery = 1000

// Due reports whether a snapshot is to be written.
func (l *Log) Due() bool { return l.part.HighWatermark() >= l.due }

// Request makes a snapshot due.
func (l *Log) Request() { l.due = 0 }

// Newest returns the newest whole snapshot, whose offset is 0 where there is none.
func (l *Log) Newest() catalogue.SnapshotID { return l.last }

// Time returns that of the log's last record, in milliseconds.
func (l *Log) Time() int64 { return l.time }

// Postpone has the next snapshot written when as many records have come as usual:
// the log has all that one that failed would have had.
func (l *Log) Postpone() { l.due = l.part.HighWatermark() + l.cfg.SnapshotEvery }

// WriteSnapshot writes a snapshot of the catalogue, lets the log begin where the
// one before ends, and removes those before that. In this
// order no crash, and no damage to one file, takes the catalogue.
func (l *Log) WriteSnapshot() error {
	if err := l.forgetRemoved(); err != nil {
		return err
	}
	end := l.part.HighWatermark()
	id := catalogue.SnapshotID{Offset: end, Epoch: l.part.EpochAt(end - 1)}
	values := l.Catalogue.Records()
	bytes, err := catalogue.EncodeSnapshot(id, l.time, time.Now().UnixMilli(), values)
	if err != nil {
		return err
	}
	if len(bytes) > snapshotLimit {
		return fault.At(fault.RecordListTooLarge, topic.ClusterMetadata, 0, end).Detailf("a snapshot of %d bytes", len(bytes))
	}
	if err := vfs.WriteFile(l.cfg.FS, l.Path(id), bytes); err != nil {
		return err
	}
	before := l.last
	l.noted(id, int64(len(values)))
	if before.Offset > 0 {
		if _, err := l.part.DeleteRecords(before.Offset); err != nil {
			return err
		}
	}
	return l.removeSnapshots(before)
}

// noted makes id the newest snapshot, with so many records. The next one is
// wanted when as many have come again, so that writing snapshots is never most of
// the work.
func (l *Log) noted(id catalogue.SnapshotID, records int64) {
	l.last, l.due = id, id.Offset+max(l.cfg.SnapshotEvery, records)
}

// forgetRemoved lets the catalogue forget the deleted topics of which the data
// directory, durably, has nothing left under the topic's name. It remembers
// topics whose files could not be moved or told apart: when they can, they are
// removed and not taken for strangers.
func (l *Log) forgetRemoved() error {
	removed := l.Catalogue.RemovedNames()
	if len(removed) == 0 {
		return nil
	}
	if err := l.cfg.FS.SyncDir(l.cfg.Dir); err != nil {
		return err
	}
	entries, err := l.cfg.FS.ReadDir(l.cfg.Dir)
	if err != nil {
		return err
	}
	ids, names := map[topic.ID]bool{}, map[string]bool{}
	for _, e := range entries {
		tp, suffix, ok := layout.Parse(e.Name)
		if !ok || suffix != "" || !removed[tp.Topic] {
			continue
		}
		if of, _, err := layout.ReadOwner(l.cfg.FS, filepath.Join(l.cfg.Dir, tp.String()), tp); err == nil {
			ids[of.ID] = true
		} else {
			names[tp.Topic] = true
		}
	}
	l.Catalogue.Forget(func(id topic.ID, name string) bool { return ids[id] || names[name] })
	return nil
}

// removeSnapshots removes the snapshots before one, and what crashes have left of
// others. One that comes back after a power loss lies before the log's start, and
// is not used.
func (l *Log) removeSnapshots(before catalogue.SnapshotID) error {
	dir := l.dir()
	entries, err := l.cfg.FS.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, unfinished := strings.CutSuffix(e.Name, ".tmp")
		id, ok := catalogue.ParseSnapshotName(name)
		if !ok || !unfinished && id.Offset >= before.Offset {
			continue
		}
		if err := l.cfg.FS.Remove(filepath.Join(dir, e.Name)); err != nil {
			return err
		}
	}
	return nil
}

// loadSnapshot makes the newest whole snapshot the catalogue. It returns the
// offset from which the log is to be replayed, and which snapshots are damaged:
// they are passed over as long as the log reaches back to one that is not.
func (l *Log) loadSnapshot() (next int64, damage []error, err error) {
	start, end := l.part.StartOffset(), l.part.HighWatermark()
	l.due = start + l.cfg.SnapshotEvery
	ids, err := l.List()
	if err != nil {
		return 0, nil, fault.At(fault.OfDisk(err), topic.ClusterMetadata, 0, -1).Because(err)
	}
	for _, id := range ids {
		if id.Offset < start {
			break
		}
		if id.Offset > end {
			// It was written when the log was durable up to there.
			return 0, nil, l.Damage(id, 0, fmt.Sprintf("a log that reaches to offset %d", id.Offset), fmt.Sprintf("one that ends at %d", end))
		}
		s, err := l.Read(id)
		var broken *fault.Corruption
		if errors.As(err, &broken) {
			damage = append(damage, broken)
			continue
		}
		if err != nil {
			return 0, nil, err
		}
		l.Catalogue = s.Catalogue
		l.time = s.Time
		l.noted(id, s.Records)
		return id.Offset, damage, nil
	}
	if start == 0 {
		return 0, damage, nil
	}
	if len(damage) > 0 {
		return 0, nil, errors.Join(damage...)
	}
	lost := l.Damage(catalogue.SnapshotID{}, 0, fmt.Sprintf("a snapshot of the catalogue up to offset %d or later, where its log begins", start), "none")
	lost.File = l.dir()
	return 0, nil, lost
}

// Verify reads the snapshots that opening may need.
func (l *Log) Verify() error {
	ids, err := l.List()
	if err != nil {
		return fault.At(fault.OfDisk(err), topic.ClusterMetadata, 0, -1).Because(err)
	}
	var errs []error
	for _, id := range ids {
		if id.Offset >= l.part.StartOffset() {
			_, err := l.Read(id)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
