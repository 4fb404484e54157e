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

// Recovery is what opening a broker found, and what it did about it. After a
// clean close partitions are opened, and appear here, when they are first used.
type Recovery struct {
	Clean    bool          // the directory is new, or was closed by the last broker that had it
	Duration time.Duration // of opening

	Partitions []PartitionRecovery // those opened so far that were there before, and those that did not open, sorted
	// Missing are those whose directory was gone. After a clean close that is
	// damage, and they do not open; otherwise their creation was interrupted,
	// and they began anew, empty.
	Missing []record.TopicPartition
	Removed []string // directories of deleted topics, whose removal was finished
	Orphans []string // directories of partitions that no topic has, left as they are
}

// PartitionRecovery is what opening one partition found.
type PartitionRecovery struct {
	record.TopicPartition
	log.Recovery
	Err error // why it did not open, or nil; using it tries again
}

// String returns what was found in one line, as in "orders-0: 12 batches, 3456
// bytes verified; 57 bytes cut: a batch of 80 bytes of which 57 are there".
func (r PartitionRecovery) String() string {
	switch {
	case r.Err != nil:
		return r.Err.Error() // which names the partition
	case r.Clean:
		return r.TopicPartition.String() + ": closed in order"
	}
	s := fmt.Sprintf("%s: %d batches, %d bytes verified", r.TopicPartition, r.Batches, r.Bytes)
	if r.Cut > 0 {
		s += fmt.Sprintf("; %d bytes cut: %s", r.Cut, r.Reason)
	}
	for _, err := range r.Restored {
		s += "; " + err.Error()
	}
	if r.Indexes > 0 {
		s += fmt.Sprintf("; indexes built anew: %d", r.Indexes)
	}
	for _, err := range r.Damage {
		s += "; " + err.Error()
	}
	return s
}

// Recovery returns what opening found so far.
func (b *Broker) Recovery() Recovery {
	b.mu.Lock()
	r := b.recovery
	r.Partitions = slices.Clone(r.Partitions)
	b.mu.Unlock()
	r.Missing, r.Removed, r.Orphans = slices.Clone(r.Missing), slices.Clone(r.Removed), slices.Clone(r.Orphans)
	sort.SliceStable(r.Partitions, func(i, j int) bool { return r.Partitions[i].Compare(r.Partitions[j].TopicPartition) < 0 })
	return r
}

// recovered notes what opening a partition found, if that is to be known, in place
// of why it did not open before.
func (b *Broker) recovered(found PartitionRecovery, known bool) {
	again := false // the same as last time
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
		b.noteRecovery(found)
	}
}

// noteFound notes what opening a topic's partition found.
func (b *Broker) noteFound(f host.Found) {
	b.recovered(PartitionRecovery{TopicPartition: f.TopicPartition, Recovery: f.Recovery, Err: f.Err}, !f.Made || f.Err != nil)
}

// surveyAfter is how long after opening the cleaner looks at topics that have not
// been used yet: a program that begins has better things for its disk to do.
const surveyAfter = time.Minute

// load opens the catalogue, replays it, and compares it with the directory.
// After a clean close that is all; otherwise it opens every partition too.
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
	if layout.Restoring(entries) != "" {
		return fault.Newf(fault.Storage, "data directory %s holds part of a backup, whose restoring did not end", b.dir).
			Try("delete the directory, and restore the backup again")
	}
	if found, err := layout.CatalogueLost(b.fsys, b.dir, entries); err != nil {
		return err
	} else if found != "" {
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
		Failed: func(err error) { b.noteFailed(layout.Catalogue, err) },
	})
	if err != nil {
		return err
	}
	b.metadata = m
	b.recovered(PartitionRecovery{TopicPartition: layout.Catalogue, Recovery: found}, !fresh)
	if err := b.survey(entries); err != nil {
		return err
	}
	b.publish(b.metadata.Catalogue.Names()...)
	if !b.recovery.Clean {
		b.openAll()
	} else {
		b.host.SetLoaded()
	}
	for t := range b.host.All() {
		if !t.IsOpen() {
			b.cleaner.LookAt(t, nil, time.Now().Add(surveyAfter))
		}
	}
	return nil
}

// unmarkClean makes sure that the directory does not look closed any more.
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

// markClean notes that everything in the directory was closed, unless the creation
// of a partition could not be finished: the next opening is to finish it, and not
// to take it for lost.
func (b *Broker) markClean() error {
	if !b.disk || b.unfinished() {
		return nil
	}
	if err := b.lock.Keeps(); err != nil {
		return err
	}
	// Nothing here reads them, so a file that cannot be written keeps nobody from
	// closing.
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

// fileStarts makes starts those of logs that do not begin with a segment.
func (b *Broker) fileStarts(starts map[record.TopicPartition]int64) {
	for tp := range starts {
		if t := b.metadata.Catalogue.Topic(tp.Topic); t == nil || int(tp.Partition) >= len(t.Partitions) {
			delete(starts, tp)
		}
	}
	for t := range b.host.All() { // those that were not opened start where they did
		for n, p := range t.Open() {
			tp := record.TopicPartition{Topic: t.Name, Partition: int32(n)}
			delete(starts, tp)
			if !host.IsBroken(p) && p.StartOffset() > p.FirstSegment() {
				starts[tp] = p.StartOffset()
			}
		}
	}
}

// unfinished reports whether the directory of a partition could not be made.
func (b *Broker) unfinished() bool {
	for t := range b.host.All() {
		for n, p := range t.Open() {
			if !host.IsBroken(p) || t.MustBe(int32(n)) {
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

// survey compares the directory with the catalogue. It finishes deletions that
// a crash interrupted and leaves alone everything that it cannot explain.
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
		default:
			b.recovery.Orphans = append(b.recovery.Orphans, filepath.Join(b.dir, e.Name))
		}
	}
	for _, name := range b.metadata.Catalogue.Names() {
		for n := range b.metadata.Catalogue.Topic(name).Partitions {
			if tp := (record.TopicPartition{Topic: name, Partition: int32(n)}); !present[tp] {
				b.recovery.Missing = append(b.recovery.Missing, tp)
			}
		}
	}
	return b.finishRemoval(doomed)
}

// finishRemoval removes the directories of deleted partitions. One that still
// has its partition's name is renamed first: what a crash leaves of it must not
// be taken for a partition.
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

// openAll opens the partitions of all topics. What does not open is broken, and does
// not keep the rest from opening.
func (b *Broker) openAll() {
	_ = b.host.OpenTopics(slices.Collect(b.host.All())) // nobody closes the broker yet, or deletes a topic
}
