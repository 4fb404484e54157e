package replica

import "github.com/runnel-go/runnel/log"

// Output is what a Core wants done. The order within each list counts, and between
// the lists it does not, except that DiskWrites of one Output come before those of
// the next.
type Output struct {
	// Messages go to other replicas. A lost one is never a mistake.
	Messages []Message

	// Writes are for the Disk, in this order, none left out. Core.DiskDone reports
	// them. What depends on a write comes out only after that.
	Writes []DiskWrite

	// Loads ask for batches that the core no longer has in memory. Core.Loaded
	// reports each; a load may be dropped.
	Loads []Load

	// Replies end calls of Propose and ReadIndex, in this order.
	Replies []Reply

	// HighWatermark is the offset below which records are committed and in the log
	// of this replica. It counts if HighWatermarkMoved.
	HighWatermark      int64
	HighWatermarkMoved bool

	// Enough is the offset below which as many replicas as Core.SetMinimum demands have
	// everything, and which is committed. 0: as before.
	Enough int64

	// StateChanged says that Core.Status tells of another role, leader, epoch or
	// membership, or that the replica failed.
	StateChanged bool
}

// Reset empties the output, keeping its memory for the next Advance.
func (o *Output) Reset() {
	clear(o.Messages)
	clear(o.Writes)
	clear(o.Replies)
	*o = Output{Messages: o.Messages[:0], Writes: o.Writes[:0], Loads: o.Loads[:0], Replies: o.Replies[:0]}
}

// Result is the outcome of a proposal: the offset of its first record, or an error.
// fault.UnknownOutcome means that the batch may be committed yet, or not at all.
type Result struct {
	Offset int64
	Err    error
}

// Reply is a Result on its way to the function that waits for it.
type Reply struct {
	Done func(Result)
	Result
}

// HardState is what a replica must remember before anybody may rely on it.
type HardState struct {
	Term   uint64
	Vote   ID
	Commit uint64 // a lower bound
}

// DiskWrite is one step of the log on disk: first State, then Start, then Truncate,
// then Batches, then Members, then LogStart. If Sync is set, all of it and all earlier writes must
// be durable before the write counts as done.
type DiskWrite struct {
	Sequence uint64

	State    HardState
	HasState bool // State counts

	// Start, unless nil, makes the log empty, to begin there.
	Start *Start

	// First is the index of the first of Batches, and Offset where it begins. What
	// the log has from there on is dropped first.
	First   uint64
	Offset  int64
	Batches [][]byte

	// Members, unless nil, is the membership as of a committed batch.
	Members *Start

	// LogStart, unless 0, is the offset at which a committed batch makes the log begin.
	LogStart int64

	// Origin is the group's, or 0.
	Origin uint32

	// Producers asks for what the log knows of producers as of this write, when it is
	// done. A leader judges their sequences by it.
	Producers bool

	Sync bool
}

// DiskResult reports that all writes up to a sequence number are done, and the error
// of the one behind it. fault.DiskFull makes the core hand out the writes from there
// on again after some time. Any other error is final: the replica fails.
type DiskResult struct {
	Through   uint64
	Producers *log.ProducerTable // as of the last write that asked for them, or nil
	LogStart  Start              // where the group's log begins here after a write with a LogStart; else zero
	Err       error
}

// Load asks for batches of the log: from an index on, some bytes of them.
type Load struct {
	Index    uint64
	MaxBytes int

	last uint64
}

// LoadResult is what a Load has read: whole batches from its index on.
type LoadResult struct {
	Load
	Batches [][]byte
	Err     error
}
