package datadir

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/catalogue"
	"github.com/runnel-go/runnel/internal/coordinator/group"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/internal/metadata"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// ImportOptions configures Import. The zero value imports everything.
type ImportOptions struct {
	// Topics names the topics to import; none means all.
	Topics []string

	// Progress, unless nil, is called from time to time, on Import's goroutine.
	Progress func(ImportProgress)
}

// ImportProgress is how far an Import has come.
type ImportProgress struct {
	Partition   record.TopicPartition // the one that is being imported
	Done, Total int64                 // bytes of segments
}

// Imported is what an Import has brought.
type Imported struct {
	Topics []ImportedTopic // sorted by name
	Groups int             // groups with offsets
	Notes  []string        // what was not imported, or not as it was, and why
}

// ImportedTopic is a topic of an Import.
type ImportedTopic struct {
	Name       string
	ID         topic.ID
	Partitions int
	Offsets    int64 // that its partitions cover, from where their logs start
	Bytes      int64 // of segments
}

// Import creates a data directory from log directories of Apache Kafka brokers that are
// not running: one for a single broker, several for a cluster whose partitions are spread
// over them. They are only read, and may be copies.
//
// Topics keep their IDs, settings, offsets, leader epochs, timestamps and transactions, and
// groups their committed offsets. Batches keep their bytes; what Kafka's compaction has
// left out becomes batches without records. Of several copies of a partition the one with
// the most is taken. Settings that do not exist here, and what Kafka keeps about brokers
// and access, are not imported; Imported.Notes names them. So is what a broker that was
// killed had not written completely.
//
// The directory must be empty or not exist. An Import that was interrupted, by ctx too,
// goes on when it is called again with the same directories; until it is complete, Open
// refuses the directory. Partitions that are complete are not copied again.
//
// Errors: fault.InvalidConfig for directories that are not Kafka's, or are several
// clusters'; fault.Storage if a broker runs on one; fault.UnknownTopic for a name in
// Topics, or if a partition has no copy; a *fault.Corruption for damage in a copy.
func Import(ctx context.Context, dir string, from []string, opts ImportOptions) (Imported, error) {
	n := importing{ctx: ctx, opts: opts}
	defer n.release()
	if err := n.openSources(from); err != nil {
		return Imported{}, err
	}
	if err := n.plan(); err != nil {
		return Imported{}, err
	}
	dir, err := filepath.Abs(dir) // because the names above it are synced, too
	if err != nil {
		return Imported{}, fault.Newf(fault.InvalidConfig, "data directory %s", dir).Because(err)
	}
	// Don't create even a lock in a directory that isn't empty.
	if entries, err := os.ReadDir(dir); err == nil && !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == layout.ImportingFile }) &&
		slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() != layout.LockFile }) {
		return Imported{}, notEmpty(dir, "importing")
	}
	lock, err := layout.LockDir(dir, layout.FileMode)
	if err != nil {
		return Imported{}, err
	}
	defer lock.Release()
	return n.into(lock.Disk(), dir)
}

// into imports into a directory, as planned.
func (n *importing) into(fsys vfs.FS, dir string) (Imported, error) {
	n.fsys, n.dir = fsys, dir
	if err := n.run(); err != nil {
		if fault.CodeOf(err) == fault.Unknown && n.ctx.Err() == nil {
			err = fault.Newf(fault.OfDisk(err), "importing to %s", dir).Because(err)
		}
		return Imported{}, err
	}
	return n.result, nil
}

// importing is the work of Import.
type importing struct {
	ctx     context.Context
	fsys    vfs.FS
	dir     string
	opts    ImportOptions
	sources []*kafkaSource
	topics  []importedTopic
	offsets importedTopic // Kafka's __consumer_offsets, of which the committed offsets are imported

	done, total int64 // bytes of segments
	result      Imported
}

// importedTopic is a topic to be imported.
type importedTopic struct {
	catalogue.KafkaTopic
	logs []importedLog // by partition
}

// importedLog is the copy of a partition that is imported.
type importedLog struct {
	record.TopicPartition
	source *kafkaSource
	bytes  int64 // of its segments
}

func (n *importing) release() {
	for _, s := range n.sources {
		s.release()
	}
}

func (n *importing) note(format string, args ...any) {
	n.result.Notes = append(n.result.Notes, fmt.Sprintf(format, args...))
}

func (n *importing) openSources(from []string) error {
	if len(from) == 0 {
		return fault.Newf(fault.InvalidConfig, "no directory of Kafka's to import from")
	}
	for _, dir := range from {
		s, err := openKafka(dir)
		if err != nil {
			return err
		}
		n.sources = append(n.sources, s)
		if first := n.sources[0]; s.cluster != first.cluster {
			return fault.Newf(fault.InvalidConfig, "%s is of cluster %s, and %s of %s", first.dir, first.cluster, s.dir, s.cluster).Try("import one cluster at a time")
		}
		if !s.clean {
			n.note("%s: its broker was not stopped in order; what it had not written completely is not imported", s.dir)
		}
	}
	return nil
}

// ownTopics are the topics in which Kafka keeps state that is of no use without its
// coordinators. The offsets in __consumer_offsets are imported.
var ownTopics = []string{topic.ClusterMetadata, topic.ConsumerOffsets, "__transaction_state", "__share_group_state", "__remote_log_metadata"}

// plan decides what is imported, and from where.
func (n *importing) plan() error {
	all, err := n.knownTopics()
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, name := range n.opts.Topics {
		wanted[name] = true
	}
	for _, t := range all {
		asked := len(n.opts.Topics) == 0 || wanted[t.Name]
		delete(wanted, t.Name)
		if t.Name != topic.ConsumerOffsets && (!asked || slices.Contains(ownTopics, t.Name)) {
			continue
		}
		logs, err := n.copies(t)
		if err != nil {
			return err
		}
		if t.Name == topic.ConsumerOffsets {
			n.offsets = importedTopic{t, logs}
		} else {
			n.topics = append(n.topics, importedTopic{t, logs})
		}
	}
	for name := range wanted {
		return fault.At(fault.UnknownTopic, name, -1, -1).Detailf("Kafka's directories have no topic of that name")
	}
	for _, t := range n.topics {
		for _, l := range t.logs {
			n.total += l.bytes
		}
	}
	return nil
}

// knownTopics returns the cluster's topics: from the newest metadata, or from the names
// of directories, as a cluster with ZooKeeper has them.
func (n *importing) knownTopics() ([]catalogue.KafkaTopic, error) {
	var newest *catalogue.KRaft
	epoch, end := int32(-1), int64(0)
	for _, s := range n.sources {
		k, kEpoch, kEnd, err := s.metadata()
		if err != nil {
			return nil, err
		}
		if k != nil && (newest == nil || kEpoch > epoch || kEpoch == epoch && kEnd > end) {
			newest, epoch, end = k, kEpoch, kEnd
		}
	}
	if newest != nil {
		return newest.Topics(), nil
	}
	n.note("no directory has the cluster's metadata, so all topics get the default settings")
	found := map[string]*catalogue.KafkaTopic{}
	for _, s := range n.sources {
		for tp, id := range s.copies {
			t := found[tp.Topic]
			if t == nil {
				t = &catalogue.KafkaTopic{Name: tp.Topic}
				found[tp.Topic] = t
			}
			t.ID = cmp.Or(t.ID, id)
			t.Partitions = max(t.Partitions, int(tp.Partition)+1)
		}
	}
	var all []catalogue.KafkaTopic
	for _, name := range slices.Sorted(maps.Keys(found)) {
		t := *found[name]
		if t.ID == (topic.ID{}) {
			t.ID = lackingID(n.sources[0].cluster, name)
		}
		all = append(all, t)
	}
	return all, nil
}

// lackingID is the ID of a topic of a Kafka that had none yet. It is the same one when an
// interrupted Import goes on.
func lackingID(cluster, name string) (id topic.ID) {
	sum := sha256.Sum256([]byte(cluster + "/" + name))
	copy(id[:], sum[:])
	return id
}

// copies returns the best copy of each partition of a topic.
func (n *importing) copies(t catalogue.KafkaTopic) ([]importedLog, error) {
	logs := make([]importedLog, t.Partitions)
	for number := range logs {
		tp := record.TopicPartition{Topic: t.Name, Partition: int32(number)}
		l, err := n.bestCopy(tp, t.ID)
		if err != nil {
			return nil, err
		}
		logs[number] = l
	}
	return logs, nil
}

func (n *importing) bestCopy(tp record.TopicPartition, id topic.ID) (best importedLog, err error) {
	best.TopicPartition = tp
	bestEpoch, bestEnd := int32(-1), int64(-1)
	for _, s := range n.sources {
		of, ok := s.copies[tp]
		if !ok || of != id && of != (topic.ID{}) {
			continue // a topic of that name that was deleted
		}
		epoch, end, err := s.tail(tp)
		if err != nil {
			return best, err
		}
		if epoch > bestEpoch || epoch == bestEpoch && end > bestEnd {
			best.source, bestEpoch, bestEnd = s, epoch, end
		}
	}
	if best.source == nil {
		return best, fault.At(fault.UnknownTopic, tp.Topic, tp.Partition, -1).
			Detailf("none of the directories has a copy").Try("name the directories of all brokers, and of all their log.dirs")
	}
	best.bytes, err = best.source.size(tp)
	return best, err
}

// marker is what the file says that marks an Import which is not complete.
func (n *importing) marker() string {
	var text strings.Builder
	fmt.Fprintf(&text, "import 1\n")
	for _, s := range n.sources {
		fmt.Fprintf(&text, "from %q\n", s.dir)
	}
	for _, name := range slices.Sorted(slices.Values(n.opts.Topics)) {
		fmt.Fprintf(&text, "topic %q\n", name)
	}
	return text.String()
}

// begin marks the directory, which is empty, or makes sure that the mark there is this
// Import's.
func (n *importing) begin() error {
	if err := n.fsys.MkdirAll(n.dir); err != nil {
		return err
	}
	entries, err := n.fsys.ReadDir(n.dir)
	if err != nil {
		return err
	}
	path := filepath.Join(n.dir, layout.ImportingFile)
	if !layout.Has(entries, layout.ImportingFile) {
		for _, e := range entries {
			if e.Name != layout.LockFile && e.Name != layout.ImportingFile+".tmp" {
				return notEmpty(n.dir, "importing")
			}
		}
		if err := vfs.WriteFile(n.fsys, path, []byte(n.marker())); err != nil {
			return err
		}
		return layout.SyncNames(n.fsys, n.dir)
	}
	there, err := vfs.ReadFile(n.fsys, path, 1<<20)
	if err != nil {
		return err
	}
	if string(there) != n.marker() {
		return fault.Newf(fault.InvalidRequest, "importing to %s, which holds a part of another import:\n%s", n.dir, there).
			Try("finish that one, or delete the directory")
	}
	return nil
}

func (n *importing) run() error {
	if err := n.begin(); err != nil {
		return err
	}
	for _, t := range n.topics {
		done := ImportedTopic{Name: t.Name, ID: t.ID, Partitions: len(t.logs)}
		for _, l := range t.logs {
			offsets, err := n.importLog(l, t.ID)
			if err != nil {
				return err
			}
			done.Offsets += offsets
			done.Bytes += l.bytes
		}
		n.result.Topics = append(n.result.Topics, done)
	}
	groups, err := n.groups()
	if err != nil {
		return err
	}
	if err := n.writeCatalogue(len(groups) > 0); err != nil {
		return err
	}
	if err := n.writeGroups(groups); err != nil {
		return err
	}
	return n.finish()
}

// writeCatalogue makes the catalogue, again if an interrupted Import has left one.
func (n *importing) writeCatalogue(groups bool) error {
	if err := n.fsys.RemoveAll(filepath.Join(n.dir, layout.Catalogue.String())); err != nil {
		return err
	}
	specs, ids := make([]topic.Spec, 0, len(n.topics)+1), map[string]topic.ID{}
	for _, t := range n.topics {
		cfg, others := t.Config()
		if len(others) > 0 {
			n.note("%s: without the settings %s", t.Name, strings.Join(others, ", "))
		}
		specs = append(specs, topic.Spec{Name: t.Name, Partitions: t.Partitions, Replicas: 1, Config: cfg})
		ids[t.Name] = t.ID
	}
	if groups {
		offsets := group.OffsetsTopic
		offsets.Replicas = 1
		specs = append(specs, offsets)
		ids[offsets.Name] = n.offsets.ID
	}
	m, _, err := metadata.Open(metadata.Config{FS: n.fsys, Dir: n.dir, Fsync: true, Codec: record.NewCodec(0)})
	if err != nil {
		return err
	}
	return errors.Join(recreate(m, specs, ids), m.Close())
}

// finish takes the mark away.
func (n *importing) finish() error {
	f, err := n.fsys.OpenFile(filepath.Join(n.dir, layout.CleanFile), os.O_RDWR|os.O_CREATE)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close(), layout.SyncNames(n.fsys, n.dir)); err != nil {
		return err
	}
	if err := n.fsys.Remove(filepath.Join(n.dir, layout.ImportingFile)); err != nil {
		return err
	}
	return n.fsys.SyncDir(n.dir)
}
