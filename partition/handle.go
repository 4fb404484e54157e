package partition

import (
	"context"
	"time"

	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
)

// Handle is a partition as sessions and coordinators see it. They must not depend on
// where its replicas are, or on how many of them have a record when it is committed.
// A *Partition is one whose only copy is in this process, and documents the methods.
type Handle interface {
	Err() error
	Settings() *Settings
	MinReplicas() int
	Replicas() int

	AppendWaits() bool
	Append(batch []byte, recycle log.Recycler, done Completion)
	AppendIf(batch []byte, condition record.Condition, done Completion)
	AppendAwait(batch []byte) error
	AppendIn(epoch int32, batch []byte) error
	Leadership() (epoch int32, leads bool)
	Confirm(epoch int32) error
	Check(batch []byte) error
	CheckSize(bytes int) error
	CheckTime(ms int64) error
	EndProducer(id int64)
	DeleteRecords(before int64) (start int64, err error)

	StartOffset() int64
	HighWatermark() int64
	Earliest() int64
	Latest(ctx context.Context) (offset int64, err error)
	LeaderEpoch() int32
	EpochAt(offset int64) int32
	OffsetForTime(ms int64) (offset, timestamp int64, ok bool, err error)
	Scan(fn func(*record.Batch, *record.Record) error) error
	ReadKey(ctx context.Context, key []byte, from int64, level Isolation, most int) (records []record.Record, next, end int64, err error)

	View // of ReadUncommitted
	At(level Isolation) View
}

// Opened is a partition as its owner has it, who opened it and closes it. What works
// on files uses its Copy.
type Opened interface {
	Handle

	// Copy returns this process's copy, or nil where it has none. It may be another one
	// after the log was replaced.
	Copy() *Partition

	// Group returns the state of the partition's replicas; false where the only copy is
	// in this process.
	Group() (Group, bool)

	Configure(Settings)
	SetSegments(bytes int64, age time.Duration)
	Abandon()
	Delete() error
	Close() error
}

// Group is the state of a partition's replicas as one node knows it. Nodes have the
// numbers that the catalogue gives them.
type Group struct {
	Leader int32 // the node that leads; -1 where none is known
	Epoch  int32 // in which it leads

	// Only the node that leads knows the rest.
	InSync []int32 // the nodes whose replicas have the leader's log, or had it lately
	Lag    []Lag   // of its followers, by node
}

// Lag is how many records of its leader a follower lacks; -1 while the leader does not know.
type Lag struct {
	Node    int32
	Records int64
}

var _ Opened = (*Partition)(nil)

// Copy returns p.
func (p *Partition) Copy() *Partition { return p }

// Replicas returns how many replicas the partition has. A Partition alone is the only
// one; a group's handle knows better.
func (p *Partition) Replicas() int { return 1 }

// Earliest returns the first offset that may be read, after every deletion of records that
// returned before the call. A group's handle asks the leader, because its own copy may lag.
func (p *Partition) Earliest() int64 { return p.StartOffset() }

// Latest returns the offset after every record that was acknowledged before the call. For a
// copy alone it is the high watermark; a group's handle asks the leader, and waits for one.
func (p *Partition) Latest(context.Context) (offset int64, err error) {
	return p.high.Load(), p.whyClosed()
}

// Group returns false: a copy does not know its group.
func (p *Partition) Group() (Group, bool) { return Group{}, false }
