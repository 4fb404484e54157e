package datadir

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator/group"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
)

// groupOffsets are the committed offsets of groups.
type groupOffsets map[string]*group.Coordinator

// groups reads the offsets that groups have committed for the imported topics. They are
// spread over Kafka's partitions as Kafka has them.
func (n *importing) groups() (groupOffsets, error) {
	all := groupOffsets{}
	topics := n.groupTopics()
	for _, l := range n.offsets.logs {
		c := group.New(group.Limits{})
		fold := foldOffsets{into: c, open: map[int64][]group.Record{}}
		if _, err := l.source.batches(l.TopicPartition, func(int64) error { return n.ctx.Err() }, fold.add); err != nil {
			return nil, err
		}
		if _, err := c.SetTopics(topics); err != nil {
			return nil, err
		}
		for _, g := range c.Groups() {
			if len(c.Offsets(g.Name)) > 0 {
				all[g.Name] = c
			}
		}
	}
	n.result.Groups = len(all)
	return all, nil
}

func (n *importing) groupTopics() *group.Topics {
	all := make([]group.Topic, len(n.topics))
	for i, t := range n.topics {
		all[i] = group.Topic{Name: t.Name, ID: t.ID, Partitions: int32(len(t.logs))}
	}
	return group.NewTopics(all)
}

// foldOffsets folds __consumer_offsets as a reader of committed records does: what a
// transaction has written counts from its end, or not at all.
type foldOffsets struct {
	into *group.Coordinator
	open map[int64][]group.Record // by producer
}

func (f *foldOffsets) add(b record.Batch) error {
	if b.Control() {
		return f.end(b)
	}
	return eachRecord(b, func(r *record.Record) error {
		if b.Transactional() {
			f.open[b.ProducerID] = append(f.open[b.ProducerID], group.Record{Key: slices.Clone(r.Key), Value: slices.Clone(r.Value)})
			return nil
		}
		return f.apply(group.Record{Key: r.Key, Value: r.Value})
	})
}

// apply applies a record, if it is an offset: members of a cluster that is not running
// are gone.
func (f *foldOffsets) apply(r group.Record) error {
	if !group.IsOffset(r.Key) {
		return nil
	}
	return f.into.Apply(r.Key, r.Value)
}

// end ends the transaction of a marker's producer. A marker's key has its version and its
// type, 1 for a commit, as two int16.
func (f *foldOffsets) end(b record.Batch) error {
	it, err := b.Records(record.NewCodec(0))
	if err != nil {
		return err
	}
	for r := (record.Record{}); it.Next(&r); {
		if len(r.Key) >= 4 && r.Key[2] == 0 && r.Key[3] == 1 {
			for _, one := range f.open[b.ProducerID] {
				if err := f.apply(one); err != nil {
					return err
				}
			}
		}
		delete(f.open, b.ProducerID)
	}
	return it.Err()
}

// writeGroups writes the partitions of __consumer_offsets, if groups have any offset.
func (n *importing) writeGroups(groups groupOffsets) error {
	if len(groups) == 0 {
		return nil
	}
	shards := make([][]group.Record, group.OffsetsTopic.Partitions)
	topics := n.groupTopics()
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		c := group.New(group.Limits{})
		if _, err := c.SetTopics(topics); err != nil {
			return err
		}
		made, err := c.Commit(name, "", groups[name].Offsets(name), time.Now())
		if err != nil {
			return fmt.Errorf("group %s: %w", name, err)
		}
		i := group.PartitionOf(name, len(shards))
		shards[i] = append(shards[i], made.Records...)
	}
	for i, records := range shards {
		if err := n.writeShard(record.TopicPartition{Topic: group.OffsetsTopic.Name, Partition: int32(i)}, records); err != nil {
			return err
		}
	}
	return nil
}

// shardBatch is how large a batch of offsets gets, in bytes.
const shardBatch = 1 << 20

func (n *importing) writeShard(tp record.TopicPartition, records []group.Record) error {
	w := logWriter{fsys: n.fsys, dir: filepath.Join(n.dir, tp.String())}
	if err := w.begin(0); err != nil {
		return err
	}
	if err := w.nextFile(); err != nil {
		return err
	}
	batch := record.NewBuilder(shardBatch)
	write := func() error {
		b, err := batch.Batch(nil, record.None, 0)
		if err != nil {
			return err
		}
		record.Stamp(b.Bytes, w.end, 0)
		if b, err = record.Parse(b.Bytes); err != nil {
			return err
		}
		err = w.append(b)
		batch.Reset()
		return err
	}
	at := time.Now().UnixMilli()
	for i, r := range records {
		if batch.Add(at, r.Key, r.Value, nil) {
			continue
		}
		if err := write(); err != nil {
			return err
		}
		if !batch.Add(at, r.Key, r.Value, nil) {
			return fault.At(fault.RecordTooLarge, tp.Topic, tp.Partition, -1).Detailf("record %d of a group's offsets", i)
		}
	}
	if len(records) > 0 {
		if err := write(); err != nil {
			return err
		}
	}
	if err := w.close(); err != nil {
		return err
	}
	if _, err := log.Adopt(n.logConfig(tp, w.dir), 0); err != nil {
		return err
	}
	return vfs.WriteFile(n.fsys, filepath.Join(w.dir, layout.MetadataFile), layout.MetadataText(n.offsets.ID, tp.Partition))
}
