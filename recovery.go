package runnel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/internal/metadata"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Recovery says what opening a broker found and did. After a clean close, partitions
// are opened when they are first used, and appear here then.
type Recovery struct {
	Clean    bool          // the directory is new, or the last broker closed it
	Duration time.Duration // how long Open took

	Partitions []PartitionRecovery // those opened so far that existed before, and those that did not open, sorted

	// Missing are the partitions without a directory. After a clean close that is
	// damage, and they do not open. Otherwise their creation was interrupted, and they
	// were created empty.
	Missing []record.TopicPartition

	Removed []string // directories of deleted topics whose removal was finished
	Orphans []string // directories of partitions that no topic has, left as they are
}

// PartitionRecovery says what opening one partition found and did.
type PartitionRecovery struct {
	record.TopicPartition
	log.Recovery
	Err error // why it did not open, or nil; using it tries again
}

// String returns the result in one line, as in "orders-0: 12 batches, 3456
// bytes verified; 57 bytes cut: a batch of 80 bytes of which 57 are there".
func (r PartitionRecovery) String() string {
	switch {
	case r.Err != nil:
		return r.Err.Error() // which names the partition
	case r.Clean:
		return r.TopicPartition.String() + ": closed cleanly"
	}
	s := fmt.Sprintf("%s: %d batches, %d bytes verified", r.TopicPartition, r.Batches, r.Bytes)
	if r.Cut > 0 {
		s += fmt.Sprintf("; %d bytes cut: %s", r.Cut, r.Reason)
	}
	for _, err := range r.Restored {
		s += "; " + err.Error()
	}
	if r.Indexes > 0 {
		s += fmt.Sprintf("; indexes rebuilt: %d", r.Indexes)
	}
	for _, err := range r.Damage {
		s += "; " + err.Error()
	}
	return s
}

// Recovery returns what opening has found so far.
func (b *Broker) Recovery() Recovery {
	b.mu.Lock()
	r := b.recovery
	r.Partitions = slices.Clone(r.Partitions)
	b.mu.Unlock()
	r.Missing, r.Removed, r.Orphans = slices.Clone(r.Missing), slices.Clone(r.Removed), slices.Clone(r.Orphans)
	sort.SliceStable(r.Partitions, func(i, j int) bool { return r.Partitions[i].Compare(r.Partitions[j].TopicPartition) < 0 })
	return r
}

// addRecovery adds the result of opening a partition to the Recovery, and removes an
// earlier failure. known is false for a new partition, which is not listed. A failure
// that repeats is not logged again: a client may retry a broken partition often.
func (b *Broker) addRecovery(found PartitionRecovery, known bool) {
	again := false // the same failure as last time
	b.mu.Lock()
	b.recovery.Partitions = slices.DeleteFunc(b.recovery.Partitions, func(p PartitionRecovery) bool {
		before := p.Err != nil && p.TopicPartition == found.TopicPartition
		again = again || before && found.Err != nil && p.Err.Error() == found.Err.Error()
		return before
	})
	if known {
		b.recovery.Partitions = append(b.recovery.Partitions, found)
	}
	b.mu.Unlock()
	if known && !again {
		b.logRecovery(found)
	}
}

// partitionOpened adds the host's result of opening a partition to the Recovery.
func (b *Broker) partitionOpened(f host.Found) {
	b.addRecovery(PartitionRecovery{TopicPartition: f.TopicPartition, Recovery: f.Recovery, Err: f.Err}, !f.Made || f.Err != nil)
}

// keepsReplica reports whether a partition's directory is a replica's: then others have what
// it lost, and the Replication decides what becomes of it.
func (b *Broker) keepsReplica(tp record.TopicPartition) bool {
	_, err := b.fsys.Stat(filepath.Join(b.host.Path(tp), layout.ReplicaFile))
	return err == nil && b.replication != nil
}

// surveyAfter is how long after opening the cleaner checks topics that have not been
// used yet. A program that has just started needs its disk for other things.
const surveyAfter = time.Minute

// load opens the catalogue, replays it, and compares it with the directory. After a
// clean close that is all. Otherwise load opens every partition, too, because each may
// need recovery.
func (b *Broker) load() error {
	if err := b.fsys.MkdirAll(b.dir); err != nil {
		return fault.Newf(fault.OfDisk(err), "data directory %s", b.dir).Because(err)
	}
	entries, err := b.fsys.ReadDir(b.dir)
	if err != nil {
		return fault.Newf(fault.OfDisk(err), "data directory %s", b.dir).Because(err)
	}
	if _, err := b.fsys.Stat(filepath.Join(b.dir, strings.ToUpper(layout.LockFile))); err == nil {
		b.folds = true
	}
	if what, hint := layout.Unfinished(entries); what != "" {
		return fault.Newf(fault.Storage, "data directory %s holds %s", b.dir, what).Try(hint)
	}
	if found, err := layout.CatalogueLost(b.fsys, b.dir, entries); err != nil {
		return err
	} else if found != "" && !b.keepsReplica(layout.Catalogue) {
		return &fault.Corruption{
			Topic: topic.ClusterMetadata, Partition: 0, Offset: -1, File: b.host.Path(layout.Catalogue),
			Expected: layout.ExpectedCatalogue, Found: found, Hint: layout.HintCatalogue,
		}
	}
	fresh := !layout.Has(entries, layout.Catalogue.String())
	wasClosed := layout.Has(entries, layout.CleanFile)
	b.recovery.Clean = fresh || wasClosed
	if wasClosed {
		if err := b.unmarkClean(); err != nil {
			return err
		}
	} else if err := layout.SyncNames(b.fsys, b.dir); err != nil {
		return err
	}
	m, found, err := metadata.Open(metadata.Config{
		FS: b.fsys, Dir: b.dir, Fsync: b.disk, Codec: b.host.Codec(), SnapshotEvery: b.snapshotEvery,
		Failed: func(err error) { b.logFailed(layout.Catalogue, err) },
		Open:   b.openCatalogue(), Node: b.node(),
	})
	if err != nil {
		return err
	}
	b.metadata = m
	b.addRecovery(PartitionRecovery{TopicPartition: layout.Catalogue, Recovery: found}, !fresh)
	if err := b.survey(entries); err != nil {
		return err
	}
	b.publish(b.metadata.Catalogue.Names()...)
	if b.recovery.Clean && b.replication == nil { // a replica that is missing is the others' to bring back
		b.host.SetLoaded()
	}
	if !b.recovery.Clean || b.replication != nil { // a replica is of use to the others from the beginning
		b.openAll()
	}
	for t := range b.host.All() {
		if !t.IsOpen() {
			b.cleaner.Schedule(t, nil, time.Now().Add(surveyAfter))
		}
	}
	return nil
}

// unmarkClean removes the clean-shutdown mark, durably, before anything is written.
func (b *Broker) unmarkClean() error {
	err := b.fsys.Remove(filepath.Join(b.dir, layout.CleanFile))
	if err == nil {
		err = b.fsys.SyncDir(b.dir)
	}
	if err != nil {
		return fault.Newf(fault.OfDisk(err), "data directory %s", b.dir).Because(err)
	}
	return nil
}

// markClean writes the clean-shutdown mark. It does not if the creation of a partition
// is unfinished: the next Open would take the missing directory for lost instead of
// creating it.
func (b *Broker) markClean() error {
	if !b.disk || b.unfinished() {
		return nil
	}
	if err := b.lock.Check(); err != nil {
		return err
	}
	// Only Kafka reads the start offsets, so closing succeeds without them.
	_ = layout.UpdateStarts(b.fsys, b.dir, b.fileStarts)
	f, err := b.fsys.OpenFile(filepath.Join(b.dir, layout.CleanFile), os.O_RDWR|os.O_CREATE)
	if err == nil {
		err = errors.Join(f.Sync(), f.Close(), b.fsys.SyncDir(b.dir))
	}
	if err != nil {
		return fault.Newf(fault.OfDisk(err), "data directory %s", b.dir).Because(err)
	}
	return nil
}

// fileStarts updates starts: it has the start offsets of logs that start within a
// segment.
func (b *Broker) fileStarts(starts map[record.TopicPartition]int64) {
	for tp := range starts {
		if t := b.metadata.Catalogue.Topic(tp.Topic); t == nil || int(tp.Partition) >= len(t.Partitions) {
			delete(starts, tp)
		}
	}
	for t := range b.host.All() { // a topic that was not opened keeps its entries
		for n, p := range t.Partitions() {
			tp := record.TopicPartition{Topic: t.Name, Partition: int32(n)}
			delete(starts, tp)
			if c := p.Copy(); c != nil && !host.IsBroken(p) && c.StartOffset() > c.FirstSegment() {
				starts[tp] = c.StartOffset()
			}
		}
	}
}

// unfinished reports whether the directory of a new partition could not be created.
func (b *Broker) unfinished() bool {
	for t := range b.host.All() {
		for n, p := range t.Partitions() {
			if !host.IsBroken(p) || t.MustBe(int32(n)) || !b.host.Keeps(t.Placement()[n].Replicas) {
				continue
			}
			_, err := b.fsys.Stat(filepath.Join(b.host.Path(record.TopicPartition{Topic: t.Name, Partition: int32(n)}), layout.MetadataFile))
			if errors.Is(err, fs.ErrNotExist) {
				return true
			}
		}
	}
	return false
}

// survey compares the directory with the catalogue. It finishes deletions that a crash
// interrupted, and only reports directories that it cannot explain.
func (b *Broker) survey(entries []vfs.Entry) error {
	removed := b.metadata.Catalogue.RemovedNames()
	present := make(map[record.TopicPartition]bool, len(entries))
	var doomed []string
	for _, e := range entries {
		if !e.Dir {
			continue
		}
		tp, suffix, ok := layout.Parse(e.Name)
		if !ok || tp == layout.Catalogue && suffix == "" {
			continue
		}
		t := b.metadata.Catalogue.Topic(tp.Topic)
		known := t != nil && int(tp.Partition) < len(t.Partitions)
		switch {
		case suffix == layout.SuffixDelete || suffix == "" && removed[tp.Topic] && b.metadata.OfRemoved(tp):
			doomed = append(doomed, e.Name)
		case suffix == "" && known:
			present[tp] = true
		case b.replication == nil: // otherwise the catalogue may still learn of it
			b.recovery.Orphans = append(b.recovery.Orphans, filepath.Join(b.dir, e.Name))
		}
	}
	for _, name := range b.metadata.Catalogue.Names() {
		for n, at := range b.metadata.Catalogue.Topic(name).Partitions {
			tp := record.TopicPartition{Topic: name, Partition: int32(n)}
			if !present[tp] && b.host.Keeps(at.Replicas) {
				b.recovery.Missing = append(b.recovery.Missing, tp)
			}
		}
	}
	return b.finishRemoval(doomed)
}

// finishRemoval removes the directories of deleted partitions. It first renames one
// that still has its partition's name: what a crash leaves of it must not be taken for
// a partition.
func (b *Broker) finishRemoval(names []string) error {
	for _, name := range names {
		path := filepath.Join(b.dir, name)
		var err error
		if !strings.HasSuffix(name, layout.SuffixDelete) {
			path, err = layout.SetAside(b.fsys, path, layout.SuffixDelete)
		}
		if err == nil {
			err = b.fsys.RemoveAll(path)
		}
		if err != nil {
			return fault.Newf(fault.OfDisk(err), "remove %s", path).Because(err)
		}
		b.recovery.Removed = append(b.recovery.Removed, filepath.Join(b.dir, name))
	}
	if len(names) > 0 {
		if err := b.fsys.SyncDir(b.dir); err != nil {
			return fault.Newf(fault.OfDisk(err), "data directory %s", b.dir).Because(err)
		}
	}
	return nil
}

// openAll opens the partitions of all topics. One that does not open is broken, and
// appears in the Recovery.
func (b *Broker) openAll() {
	_ = b.host.OpenTopics(slices.Collect(b.host.All())) // fails only if the broker is closed or a topic deleted meanwhile
}
