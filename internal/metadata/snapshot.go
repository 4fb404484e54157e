package metadata

import (
	"errors"
	"path/filepath"
	"slices"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/catalogue"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/topic"
)

// snapshotLimit is the largest size of a snapshot. A larger one is not written, and
// the log keeps all records.
const snapshotLimit = 1 << 30

// Snapshots are the catalogue's snapshots in a data directory.
type Snapshots struct {
	FS  vfs.FS
	Dir string // the data directory
}

// dir is the catalogue's directory.
func (s Snapshots) dir() string { return filepath.Join(s.Dir, layout.Catalogue.String()) }

// Path returns the name of a snapshot's file.
func (s Snapshots) Path(id catalogue.SnapshotID) string { return filepath.Join(s.dir(), id.FileName()) }

// List returns the catalogue's snapshots, the newest first.
func (s Snapshots) List() ([]catalogue.SnapshotID, error) {
	entries, err := s.FS.ReadDir(s.dir())
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

// Read reads one snapshot. A damaged one is a *fault.Corruption.
func (s Snapshots) Read(id catalogue.SnapshotID) (catalogue.Snapshot, error) {
	bytes, err := vfs.ReadFile(s.FS, s.Path(id), snapshotLimit)
	if err != nil {
		return catalogue.Snapshot{}, fault.At(fault.OfDisk(err), topic.ClusterMetadata, 0, -1).Because(err)
	}
	snap, pos, err := catalogue.DecodeSnapshot(id, bytes)
	if errors.Is(err, fault.CorruptMessage) || errors.Is(err, fault.UnsupportedCompression) || errors.Is(err, fault.ExpandsTooFar) {
		return snap, s.Damage(id, pos, "a batch of the snapshot", err.Error())
	}
	if err != nil {
		return snap, fault.At(fault.CodeOf(err), topic.ClusterMetadata, 0, -1).Detailf("%s", s.Path(id)).Because(err)
	}
	return snap, nil
}

// Damage returns the error for damage at a position in a snapshot's file.
func (s Snapshots) Damage(id catalogue.SnapshotID, pos int64, expected, found string) *fault.Corruption {
	return &fault.Corruption{
		Topic: topic.ClusterMetadata, Partition: 0, Offset: id.Offset, File: s.Path(id), Pos: pos,
		Expected: expected, Found: found,
		Hint: "restore the directory " + s.dir() + " from a backup: the records of all topics are where they were",
	}
}
