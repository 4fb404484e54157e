package metadata

import (
	"path/filepath"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/catalogue"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// NodeID is the broker's number in the catalogue's records and in descriptions, where
// there is one broker.
const NodeID = 1

// segmentBytes is the size of the log's segments. They are small, because only whole
// segments before a snapshot can be deleted.
const segmentBytes = 1 << 20

// Config configures a Log.
type Config struct {
	FS     vfs.FS
	Dir    string // the data directory
	Fsync  bool   // a command is durable when it returns
	Codec  *record.Codec
	Failed func(error) // as log.Config.Failed

	SnapshotEvery int64 // records between snapshots; SnapshotEvery if 0
}

// Log is a catalogue with the log and the snapshots of which it is a fold. The owner
// ensures that one goroutine at a time uses it, except methods that say otherwise.
type Log struct {
	Snapshots
	Catalogue *catalogue.Catalogue // only Commit changes it

	cfg  Config
	part *partition.Partition
	ids  producerIDs

	last catalogue.SnapshotID // the newest sound one; its offset is 0 if there is none
	due  int64                // a snapshot is due when the log's end reaches this offset
	time int64                // of the log's last record, in milliseconds
}

// Open opens a catalogue's log and folds it, beginning with the newest sound
// snapshot. In a new directory it begins a log. The Recovery's Damage includes damaged
// snapshots that were not needed.
func Open(cfg Config) (*Log, log.Recovery, error) {
	if cfg.SnapshotEvery == 0 {
		cfg.SnapshotEvery = SnapshotEvery
	}
	l := &Log{Snapshots: Snapshots{cfg.FS, cfg.Dir}, Catalogue: catalogue.New(), cfg: cfg}
	p, found, err := partition.Open(partition.Config{
		Log: log.Config{
			FS: cfg.FS, Dir: l.dir(), Topic: topic.ClusterMetadata, SegmentBytes: segmentBytes,
			SegmentAge: topic.Config{}.WithDefaults().SegmentAge, Failed: cfg.Failed, Codec: cfg.Codec,
		},
		Settings: partition.Settings{Fsync: cfg.Fsync},
	})
	if err != nil {
		return nil, found, err
	}
	l.part = p
	damage, err := l.load()
	found.Damage = append(found.Damage, damage...)
	if err != nil {
		_ = p.Close()
		return nil, found, err
	}
	return l, found, nil
}

// load folds the newest sound snapshot and the log behind it, and returns which
// snapshots are damaged.
func (l *Log) load() (damage []error, err error) {
	next, damage, err := l.loadSnapshot()
	if err != nil {
		return damage, err
	}
	for offset := next; offset < l.part.HighWatermark(); {
		s, err := l.part.Read(offset, 1<<20, nil)
		if err != nil {
			return damage, err
		}
		if offset, err = l.replay(s.Bytes); err != nil {
			return damage, err
		}
	}
	if values := l.Catalogue.Bootstrap(); values != nil {
		return damage, l.allotProducerIDs(values) // in the same write, so that the first producer need not wait
	}
	return damage, nil
}

// replay folds a run of the catalogue's batches and returns the offset after
// them.
func (l *Log) replay(batches []byte) (next int64, err error) {
	for len(batches) > 0 {
		batch, err := record.Parse(batches)
		if err != nil {
			return 0, faultAt(next, err)
		}
		batches, next = batches[batch.Size():], batch.NextOffset()
		l.time = batch.MaxTimestamp
		if batch.Control() {
			continue
		}
		it, err := batch.Records(l.cfg.Codec)
		if err != nil {
			return 0, faultAt(batch.BaseOffset, err)
		}
		var r record.Record
		for it.Next(&r) {
			if err := l.Catalogue.Apply(r.Value); err != nil {
				return 0, faultAt(r.Offset, err)
			}
		}
		if err := it.Err(); err != nil {
			return 0, faultAt(batch.BaseOffset, err)
		}
	}
	return next, nil
}

// faultAt names the place in the catalogue where err happened.
func faultAt(offset int64, err error) error {
	return fault.At(fault.CodeOf(err), topic.ClusterMetadata, 0, offset).Because(err)
}

// maxCommand is the most that the records of one command may take in bytes: they
// are one batch, so that a crash leaves all of them or none.
const maxCommand = 1 << 30

// Commit appends records to the log as one batch, waits until it is committed, and
// folds them. The catalogue is never ahead of its log.
func (l *Log) Commit(values [][]byte) error {
	if len(values) == 0 {
		return nil
	}
	builder := record.NewBuilder(maxCommand)
	now := time.Now().UnixMilli()
	for _, v := range values {
		if !builder.Add(now, nil, v, nil) {
			return fault.Newf(fault.RecordListTooLarge, "a command of more than %d bytes", maxCommand)
		}
	}
	batch, err := builder.Batch(nil, record.None, 0)
	if err != nil {
		return err
	}
	if err := l.part.AppendAwait(batch.Bytes); err != nil {
		return err
	}
	l.time = now
	for _, v := range values {
		if err := l.Catalogue.Apply(v); err != nil {
			return err
		}
	}
	return nil
}

// Partition returns the log, for tools that read it. It may be called at any time.
func (l *Log) Partition() *partition.Partition { return l.part }

// Close closes the log.
func (l *Log) Close() error { return l.part.Close() }

// OfRemoved reports whether a partition's directory belongs to a topic that was
// deleted.
func (l *Log) OfRemoved(tp record.TopicPartition) bool {
	of, known, err := layout.ReadOwner(l.cfg.FS, filepath.Join(l.cfg.Dir, tp.String()), tp)
	if err != nil || !known {
		return false
	}
	_, removed := l.Catalogue.Removed(of.ID)
	return removed
}
