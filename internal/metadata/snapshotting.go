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

// SnapshotEvery is how many records the log gathers, at least, before the next
// snapshot is due.
const SnapshotEvery = 1000

// Due reports whether a snapshot is due.
func (l *Log) Due() bool { return l.next >= l.due }

// Request makes a snapshot due.
func (l *Log) Request() { l.due = 0 }

// Newest returns the newest sound snapshot, whose offset is 0 if there is none.
func (l *Log) Newest() catalogue.SnapshotID { return l.last }

// Time returns the time of the log's last record, in milliseconds.
func (l *Log) Time() int64 { return l.time }

// Postpone makes the next snapshot due after SnapshotEvery more records, although the
// last one failed: nothing is lost, because the log still has all records.
func (l *Log) Postpone() { l.due = l.next + l.cfg.SnapshotEvery }

// WriteSnapshot writes a snapshot of the catalogue, deletes the log's records before
// the previous snapshot's end, and removes older snapshots. In this order, neither a
// crash nor damage to one file loses the catalogue.
func (l *Log) WriteSnapshot() error {
	if err := l.forgetRemoved(); err != nil {
		return err
	}
	end := l.next
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
	l.setNewest(id, int64(len(values)))
	// A node whose disk is new learns the catalogue from the log, so that keeps all of it.
	if local := l.part.Copy(); local != nil && before.Offset > 0 && l.cfg.alone {
		if _, err := local.Trim(before.Offset); err != nil { // other nodes may not have such a snapshot yet
			return err
		}
	}
	return l.removeSnapshots(before)
}

// setNewest makes id, with this many records, the newest snapshot. The next one is due
// after at least as many new records, so that writing snapshots takes a bounded share
// of the work also for a large catalogue.
func (l *Log) setNewest(id catalogue.SnapshotID, records int64) {
	l.last, l.due = id, id.Offset+max(l.cfg.SnapshotEvery, records)
}

// forgetRemoved removes deleted topics from the catalogue once the data directory,
// durably, has nothing left under their names. It keeps topics whose directories
// could not be renamed, or whose owner can't be read: a later Open must recognize and
// remove them, and not report them as orphans.
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

// removeSnapshots removes the snapshots before one, and unfinished files of crashes. A
// snapshot that comes back after a power loss lies before the log's start, and is
// ignored.
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

// loadSnapshot loads the newest sound snapshot. It returns the offset from which to
// replay the log, and the damaged snapshots: it skips them as long as the log reaches
// back to an older one.
func (l *Log) loadSnapshot() (next int64, damage []error, err error) {
	start, end := l.part.StartOffset(), l.part.HighWatermark()
	if local := l.part.Copy(); local != nil {
		end = local.EndOffset() // a replica's watermark begins at the start
	}
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
			// The log was durable up to there when the snapshot was written.
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
		l.setNewest(id, s.Records)
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

// Verify reads the snapshots that Open may need.
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
