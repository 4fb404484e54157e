package runnel

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/catalogue"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/topic"
)

const (
	// snapshotEvery is how many records the catalogue's log gathers, at least,
	// before a snapshot is written that takes the place of those before it.
	snapshotEvery = 1000

	// snapshotLimit is how long a snapshot may be. A longer one is not written:
	// the log serves alone.
	snapshotLimit = 1 << 30

	// metadataSegment is how long a segment of the catalogue's log is, so that
	// what snapshots have made superfluous goes.
	metadataSegment = 1 << 20
)

// snapshots is what the catalogue's writer knows of the catalogue's snapshots.
//
// There are two, as a rule, and the log begins where the older one ends: with
// either of them damaged, the other one and the log give the whole catalogue.
type snapshots struct {
	every int64                // as snapshotEvery
	last  catalogue.SnapshotID // the newest whole one; its offset is 0 where there is none
	due   int64                // the offset at the log's end from which the next is wanted
	time  int64                // of the log's last record, in milliseconds
}

// release gives the writer's token back, once a snapshot is written where one is
// wanted. Whoever brought the last command does not wait for that; the next
// command does, and Close.
func (b *Broker) release() {
	if b.metadata.HighWatermark() < b.snapshots.due || b.isClosed() {
		<-b.writer
		return
	}
	go func() {
		defer func() { <-b.writer }()
		if err := b.writeSnapshot(); err != nil {
			b.journal.warn("a snapshot of the catalogue could not be written", "error", err)
			// The log has all that the snapshot would have had.
			b.snapshots.due = b.metadata.HighWatermark() + b.snapshots.every
		}
	}()
}

// writeSnapshot writes a snapshot of the catalogue, lets the log begin where the
// one before ends, and removes those before that. The writer calls it. In this
// order no crash, and no damage to one file, takes the catalogue.
func (b *Broker) writeSnapshot() error {
	if err := b.forgetRemoved(); err != nil {
		return err
	}
	end := b.metadata.HighWatermark()
	id := catalogue.SnapshotID{Offset: end, Epoch: b.metadata.EpochAt(end - 1)}
	values := b.catalogue.Records()
	bytes, err := catalogue.EncodeSnapshot(id, b.snapshots.time, time.Now().UnixMilli(), values)
	if err != nil {
		return err
	}
	if len(bytes) > snapshotLimit {
		return fault.At(fault.RecordListTooLarge, topic.ClusterMetadata, 0, end).Detailf("a snapshot of %d bytes", len(bytes))
	}
	if err := vfs.WriteFile(b.fsys, b.snapshotPath(id), bytes); err != nil {
		return err
	}
	before := b.snapshots.last
	b.snapshots.noted(id, int64(len(values)))
	if before.Offset > 0 {
		if _, err := b.metadata.DeleteRecords(before.Offset); err != nil {
			return err
		}
	}
	return b.removeSnapshots(before)
}

// noted makes id the newest snapshot, with so many records. The next one is
// wanted when as many have come again, so that writing snapshots is never most of
// the work.
func (s *snapshots) noted(id catalogue.SnapshotID, records int64) {
	s.last, s.due = id, id.Offset+max(s.every, records)
}

func (b *Broker) snapshotPath(id catalogue.SnapshotID) string {
	return filepath.Join(b.path(layout.Catalogue), id.FileName())
}

// forgetRemoved lets the catalogue forget the deleted topics of which the data
// directory, durably, has nothing left under the topic's name. It remembers
// topics whose files could not be moved or told apart: when they can, they are
// removed and not taken for strangers.
func (b *Broker) forgetRemoved() error {
	removed := b.catalogue.RemovedNames()
	if len(removed) == 0 {
		return nil
	}
	if err := b.fsys.SyncDir(b.dir); err != nil {
		return err
	}
	entries, err := b.fsys.ReadDir(b.dir)
	if err != nil {
		return err
	}
	ids, names := map[topic.ID]bool{}, map[string]bool{}
	for _, e := range entries {
		tp, suffix, ok := layout.Parse(e.Name)
		if !ok || suffix != "" || !removed[tp.Topic] {
			continue
		}
		if of, _, err := layout.ReadOwner(b.fsys, b.path(tp), tp); err == nil {
			ids[of.ID] = true
		} else {
			names[tp.Topic] = true
		}
	}
	b.catalogue.Forget(func(id topic.ID, name string) bool { return ids[id] || names[name] })
	return nil
}

// removeSnapshots removes the snapshots before one, and what crashes have left of
// others. One that comes back after a power loss lies before the log's start, and
// is not used.
func (b *Broker) removeSnapshots(before catalogue.SnapshotID) error {
	dir := b.path(layout.Catalogue)
	entries, err := b.fsys.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, unfinished := strings.CutSuffix(e.Name, ".tmp")
		id, ok := catalogue.ParseSnapshotName(name)
		if !ok || !unfinished && id.Offset >= before.Offset {
			continue
		}
		if err := b.fsys.Remove(filepath.Join(dir, e.Name)); err != nil {
			return err
		}
	}
	return nil
}

// loadSnapshot makes the newest whole snapshot the catalogue. It returns the
// offset from which the log is to be replayed, and which snapshots are damaged:
// they are passed over as long as the log reaches back to one that is not.
func (b *Broker) loadSnapshot() (next int64, damage []error, err error) {
	start, end := b.metadata.StartOffset(), b.metadata.HighWatermark()
	b.snapshots.due = start + b.snapshots.every
	ids, err := b.listSnapshots()
	if err != nil {
		return 0, nil, fault.At(fault.OfDisk(err), topic.ClusterMetadata, 0, -1).Because(err)
	}
	for _, id := range ids {
		if id.Offset < start {
			break
		}
		if id.Offset > end {
			// It was written when the log was durable up to there.
			return 0, nil, b.snapshotDamage(id, 0, fmt.Sprintf("a log that reaches to offset %d", id.Offset), fmt.Sprintf("one that ends at %d", end))
		}
		s, err := b.readSnapshot(id)
		var broken *fault.Corruption
		if errors.As(err, &broken) {
			damage = append(damage, broken)
			continue
		}
		if err != nil {
			return 0, nil, err
		}
		b.catalogue = s.Catalogue
		b.snapshots.time = s.Time
		b.snapshots.noted(id, s.Records)
		return id.Offset, damage, nil
	}
	if start == 0 {
		return 0, damage, nil
	}
	if len(damage) > 0 {
		return 0, nil, errors.Join(damage...)
	}
	lost := b.snapshotDamage(catalogue.SnapshotID{}, 0, fmt.Sprintf("a snapshot of the catalogue up to offset %d or later, where its log begins", start), "none")
	lost.File = b.path(layout.Catalogue)
	return 0, nil, lost
}

// listSnapshots returns the catalogue's snapshots, the newest first.
func (b *Broker) listSnapshots() ([]catalogue.SnapshotID, error) {
	entries, err := b.fsys.ReadDir(b.path(layout.Catalogue))
	if err != nil {
		return nil, err
	}
	var ids []catalogue.SnapshotID
	for _, e := range entries {
		if id, ok := catalogue.ParseSnapshotName(e.Name); ok && !e.Dir {
			ids = append(ids, id)
		}
	}
	slices.Reverse(ids) // they were sorted by name
	return ids, nil
}

// readSnapshot reads one snapshot. A *fault.Corruption says that it is not what
// was written.
func (b *Broker) readSnapshot(id catalogue.SnapshotID) (catalogue.Snapshot, error) {
	bytes, err := vfs.ReadFile(b.fsys, b.snapshotPath(id), snapshotLimit)
	if err != nil {
		return catalogue.Snapshot{}, fault.At(fault.OfDisk(err), topic.ClusterMetadata, 0, -1).Because(err)
	}
	s, pos, err := catalogue.DecodeSnapshot(id, bytes)
	if errors.Is(err, fault.CorruptMessage) || errors.Is(err, fault.UnsupportedCompression) || errors.Is(err, fault.ExpandsTooFar) {
		return s, b.snapshotDamage(id, pos, "a batch of the snapshot", err.Error())
	}
	if err != nil {
		return s, fault.At(fault.CodeOf(err), topic.ClusterMetadata, 0, -1).Detailf("%s", b.snapshotPath(id)).Because(err)
	}
	return s, nil
}

// verifySnapshots reads the snapshots that opening may need.
func (b *Broker) verifySnapshots() error {
	ids, err := b.listSnapshots()
	if err != nil {
		return fault.At(fault.OfDisk(err), topic.ClusterMetadata, 0, -1).Because(err)
	}
	var errs []error
	for _, id := range ids {
		if id.Offset >= b.metadata.StartOffset() {
			_, err := b.readSnapshot(id)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (b *Broker) snapshotDamage(id catalogue.SnapshotID, pos int64, expected, found string) *fault.Corruption {
	return &fault.Corruption{
		Topic: topic.ClusterMetadata, Partition: 0, Offset: id.Offset, File: b.snapshotPath(id), Pos: pos,
		Expected: expected, Found: found,
		Hint: "restore the directory " + b.path(layout.Catalogue) + " from a backup: the records of all topics are where they were",
	}
}
