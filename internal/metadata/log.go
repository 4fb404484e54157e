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

// NodeID is the broker's number in the catalogue's records and in descriptions.
const NodeID = 1

// segmentBytes is how long a segment of the log is, so that what snapshots have made
// superfluous goes.
const segmentBytes = 1 << 20

// Config says where a catalogue is kept, and how.
type Config struct {
	FS     vfs.FS
	Dir    string // the data directory
	Fsync  bool   // a command is durable when it returns
	Codec  *record.Codec
	Failed func(error) // as log.Config.Failed

	SnapshotEvery int64 // records between snapshots; SnapshotEvery if 0
}

// Log is a catalogue with the log and the snapshots that it is a fold of. One
// goroutine at a time uses it, which its owner sees to; what may be called at any
// time says so.
type Log struct {
	Snapshots
	Catalogue *catalogue.Catalogue // changes by Commit alone

	cfg  Config
	part *partition.Partition
	ids  producerIDs

	last catalogue.SnapshotID // the newest whole one; its offset is 0 where there is none
	due  int64                // the offset at the log's end from which the next snapshot is due
	time int64                // of the log's last record, in milliseconds
}

// Open opens a catalogue's log and folds it, from the newest whole snapshot on. In a
// fresh directory it begins one. Snapshots that are damaged and not needed are among
// the damage that it found.
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

// load folds what is there, and returns which snapshots are damaged.
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
		return damage, l.allotProducerIDs(values) // with what is written anyway, so that the first producer need not wait
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

// Commit appends records to the catalogue's log as one batch, waits until they
// count, and folds them.
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
