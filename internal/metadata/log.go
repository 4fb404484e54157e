package metadata

import (
	"errors"
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

	// Open, unless nil, opens the partition, which may be a replica then, and Node is
	// this node's number. Without it there is one copy, and the node is NodeID.
	Open func(partition.Config) (partition.Opened, log.Recovery, error)
	Node int32

	alone bool // there is one copy

	SnapshotEvery int64 // records between snapshots; SnapshotEvery if 0
}

// Log is a catalogue with the log and the snapshots of which it is a fold. The owner
// ensures that one goroutine at a time uses it, except methods that say otherwise.
type Log struct {
	Snapshots
	Catalogue *catalogue.Catalogue // only CatchUp changes it

	cfg  Config
	part partition.Opened
	ids  producerIDs

	next    int64    // the offset behind what the catalogue has
	changed []string // the topics that were changed since TakeChanged

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
	if cfg.Open == nil {
		cfg.alone = true
		cfg.Node = NodeID
		cfg.Open = func(c partition.Config) (partition.Opened, log.Recovery, error) {
			p, found, err := partition.Open(c)
			return p, found, err
		}
	}
	l := &Log{Snapshots: Snapshots{cfg.FS, cfg.Dir}, Catalogue: catalogue.New(), cfg: cfg}
	p, found, err := cfg.Open(partition.Config{
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

// load folds the newest sound snapshot and the log behind it, as far as it is
// committed, and returns which snapshots are damaged.
func (l *Log) load() (damage []error, err error) {
	next, damage, err := l.loadSnapshot()
	if err != nil {
		return damage, err
	}
	l.next = next
	if err := l.CatchUp(); err != nil {
		return damage, err
	}
	l.changed = nil // the caller has seen nothing yet
	if _, leads := l.part.Leadership(); leads && l.Catalogue.Bootstrap() != nil {
		first, err := l.AllotProducerIDs() // in the same write, so that the first producer need not wait
		switch {
		case err == nil:
			l.ids.refill(first, producerIDBlock)
		case !isUncertain(err):
			return damage, err
		}
	}
	return damage, nil
}

// isUncertain reports whether a commit failed because of who leads at the moment, or how
// much of the log it has read. The first command then does what opening could not.
func isUncertain(err error) bool {
	return errors.Is(err, fault.NotLeader) || errors.Is(err, fault.LeaderNotAvailable) || errors.Is(err, fault.UnknownOutcome)
}

// CatchUp folds what was committed since the last call, whichever node appended it. So
// a running catalogue is what a replay of its log gives.
func (l *Log) CatchUp() error {
	for l.next < l.part.HighWatermark() {
		s, err := l.part.Read(l.next, 1<<20, nil)
		if err != nil {
			return err
		}
		next, err := l.replay(s.Bytes)
		if err != nil {
			return err
		}
		l.next = next
	}
	return nil
}

// TakeChanged returns the topics that CatchUp has created, changed or deleted since the
// last call, in no order and each at least once.
func (l *Log) TakeChanged() []string {
	changed := l.changed
	l.changed = nil
	return changed
}

// Next returns the offset behind what the catalogue has.
func (l *Log) Next() int64 { return l.next }

// Await calls w once when CatchUp has something to fold, or the log is closed; false
// where that is so already.
func (l *Log) Await(w partition.Waker) bool { return l.part.Wait(l.next, w) }

// CancelAwait cancels w's Awaits.
func (l *Log) CancelAwait(w partition.Waker) { l.part.CancelWait(w) }

// replay folds a run of the catalogue's batches and returns the offset after them. A
// first batch may begin before next.
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
			if r.Offset < l.next {
				continue
			}
			if err := l.apply(r.Value); err != nil {
				return 0, faultAt(r.Offset, err)
			}
		}
		if err := it.Err(); err != nil {
			return 0, faultAt(batch.BaseOffset, err)
		}
	}
	return next, nil
}

// apply folds one record.
func (l *Log) apply(value []byte) error {
	name, about := l.Catalogue.Subject(value)
	if err := l.Catalogue.Apply(value); err != nil {
		return err
	}
	if about && (len(l.changed) == 0 || l.changed[len(l.changed)-1] != name) {
		l.changed = append(l.changed, name)
	}
	return nil
}

// faultAt names the place in the catalogue where err happened.
func faultAt(offset int64, err error) error {
	return fault.At(fault.CodeOf(err), topic.ClusterMetadata, 0, offset).Because(err)
}

// maxCommand is the most that the records of one command may take in bytes: they
// are one batch, so that a crash leaves all of them or none.
const maxCommand = 1 << 30

// Commit appends records to the log as one batch, waits until it is committed, and
// folds it. The catalogue is never ahead of its log. The first batch has the records
// with which a catalogue begins, too.
//
// Only the node that leads the log can commit; on another one the error is a NotLeader.
// The records were made of the catalogue as it is, so Commit refuses them, with
// fault.LeaderNotAvailable, where the log has more than the catalogue: call CatchUp.
func (l *Log) Commit(values [][]byte) error {
	if len(values) == 0 {
		return nil
	}
	epoch, err := l.lead()
	if err != nil {
		return err
	}
	values = append(l.Catalogue.Bootstrap(), values...)
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
	if err := l.part.AppendIn(epoch, batch.Bytes); err != nil {
		return err
	}
	return l.CatchUp()
}

// lead returns the epoch in which this node leads the log, or why it may not commit. A
// leader has everything that was committed before in its log, and nothing is appended
// behind it in its epoch but by Commit: so a catalogue that has the whole log stays
// complete until AppendIn.
func (l *Log) lead() (epoch int32, err error) {
	epoch, leads := l.part.Leadership()
	local := l.part.Copy()
	if !leads || local == nil {
		return 0, &NotLeader{Leader: l.Leader()}
	}
	if end := local.EndOffset(); l.next < end {
		return 0, fault.At(fault.LeaderNotAvailable, topic.ClusterMetadata, 0, l.next).
			Detailf("its leader has not read all of it, up to %d", end)
	}
	return epoch, nil
}

// Leader returns the node that leads the catalogue, as this one knows it; -1 where none is
// known. It may be called at any time.
func (l *Log) Leader() int32 {
	if g, ok := l.part.Group(); ok {
		return g.Leader
	}
	return l.cfg.Node
}

// Leads returns why Commit would refuse now because of who leads the log, or nil.
func (l *Log) Leads() error {
	_, err := l.lead()
	return err
}

// Confirm returns nil if this node certainly leads the log: what is committed then is
// everything that any node has committed before the call. The errors are those of Commit.
func (l *Log) Confirm() error {
	epoch, err := l.lead()
	if err != nil {
		return err
	}
	return l.part.Confirm(epoch)
}

// NotLeader is the error of Commit where another node leads the catalogue.
type NotLeader struct {
	Leader int32 // the node that leads; -1 where none is known
}

// Error says who leads.
func (e *NotLeader) Error() string { return e.Unwrap().Error() }

// Unwrap returns the error as fault.NotLeader.
func (e *NotLeader) Unwrap() error {
	err := fault.At(fault.NotLeader, topic.ClusterMetadata, 0, -1)
	if e.Leader < 0 {
		return err.Detailf("no node leads the catalogue at the moment")
	}
	return err.Detailf("node %d leads the catalogue", e.Leader)
}

// Partition returns the log's copy, for tools that read it; nil where this node has
// none. It may be called at any time.
func (l *Log) Partition() *partition.Partition { return l.part.Copy() }

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
