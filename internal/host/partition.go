package host

import (
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
)

// Partition is what sessions and coordinators ask of a partition, and all that they
// may know of it: where its copies are, and how many have a record when it counts, is
// not theirs to decide by. A *partition.Partition is one whose only copy is in this
// process. The methods are described there.
type Partition interface {
	Err() error
	Settings() partition.Settings
	MinReplicas() int

	// AppendWaits reports whether an append takes long, on a disk or another process, so
	// that a caller should not be the one to wait for it on behalf of others.
	AppendWaits() bool
	Append(batch []byte, recycle log.Recycler, done partition.Completion)
	AppendAwait(batch []byte) error
	Check(batch []byte) error
	CheckSize(bytes int) error
	CheckTime(ms int64) error
	EndProducer(id int64)
	DeleteRecords(before int64) (start int64, err error)

	StartOffset() int64
	HighWatermark() int64
	Visible() int64
	EpochAt(offset int64) int32
	OffsetForTime(ms int64) (offset, timestamp int64, ok bool, err error)
	Read(offset int64, max int, buf []byte) (partition.Slice, error)
	Scan(fn func(*record.Record) error) error
	Wait(offset int64, w partition.Waker) bool
	CancelWait(w partition.Waker)
}

var _ Partition = (*partition.Partition)(nil)
