package host

import (
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
)

// Partition is a partition as sessions and coordinators see it. They must not depend
// on where its copies are, or on how many have a record when it is committed. A
// *partition.Partition is one whose only copy is in this process, and documents the
// methods.
type Partition interface {
	Err() error
	Settings() *partition.Settings
	MinReplicas() int

	// AppendWaits reports whether an append waits, for a disk or another process. A
	// goroutine that serves others should then not append itself.
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
