package producer

import (
	"context"
	"strconv"
	"time"

	"github.com/runnel-go/runnel/record"
)

// Backend is what producers run on: *runnel.Broker in this process, *runnel.Remote
// in another one, the kafka module on a Kafka cluster. Every backend passes the
// suite in backendtest.
type Backend interface {
	// OpenProducer opens a session. cfg has been validated by New.
	OpenProducer(ctx context.Context, cfg Config) (Session, error)
}

// Config is what a session has to know; New fills it from its options, with
// every default set.
type Config struct {
	ClientID    string
	Acks        Acks
	Linger      time.Duration // how long a batch waits for more records, at most; 0: only while busy
	BatchBytes  int           // a batch is full at this many encoded bytes
	BufferBytes int           // records sent and not yet acknowledged, in bytes; Send waits beyond it
	Compression record.Compression
	Level       int // the compression's level; 0 is its default

	// Idempotent says that a batch which the session sends again, for whatever
	// reason, is written once, and never behind one that was sent after it. It
	// needs AcksAll.
	Idempotent bool
}

// Acks says whose word an acknowledgement is.
type Acks int8

// The zero value is AcksAll.
const (
	AcksAll    Acks = iota // a majority of the replica group, and MinReplicas where set
	AcksLeader             // the leader, under the topic's durability
	AcksNone               // nobody: records are accepted into the buffer, offsets are -1
)

// String returns Kafka's value: all, 1 or 0.
func (a Acks) String() string {
	switch a {
	case AcksAll:
		return "all"
	case AcksLeader:
		return "1"
	case AcksNone:
		return "0"
	}
	return "Acks(" + strconv.Itoa(int(a)) + ")"
}

// Callback is told the outcome of one record. Callbacks of a partition run in
// offset order, one at a time. A callback must not block and must not send; to
// wait for a lock that is held while sending is to block.
//
// Callbacks run on a goroutine of the session's, except where a record was not
// even accepted: the call that sent it says so itself. On the session's goroutine
// a panic is recovered: the next Flush or Close returns it, with its stack. A
// callback that ends its goroutine by runtime.Goexit, as testing.T.FailNow does,
// ends itself alone. Either way all others are called.
type Callback = func(at record.Position, err error)

// Session is one producer's connection to a backend. It gathers records into
// batches and keeps their order per partition. All methods are safe for
// concurrent use.
type Session interface {
	// Topic opens a topic for writing; fault.UnknownTopic, and fault.InvalidTopic
	// for one in which the backend keeps its own state. The Writer is valid
	// until the session closes or the topic is deleted; then its calls fail
	// with fault.UnknownTopic, and the topic may be opened again.
	Topic(ctx context.Context, name string) (Writer, error)

	// Flush sends what is buffered and returns when all that was sent before
	// the call is acknowledged or has failed, or ctx ends. Failures of records
	// that had no callback are returned here, the first since the last Flush.
	Flush(ctx context.Context) error

	// Close fails what is unacknowledged with fault.Closed, and does not wait for
	// it: Producer.Close flushes before. It is idempotent, may be called at any
	// moment and does not hang; when it returns no callback runs any more. It
	// returns what Flush would: the first failure of a record without a callback.
	Close() error
}

// Writer appends to one topic's partitions.
type Writer interface {
	// Partitions returns the topic's current number of partitions, and 0 once
	// the backend knows that the topic was deleted. It costs no more than an
	// atomic load.
	Partitions() int32

	// Send appends r to partition r.Partition and waits for the
	// acknowledgement. r's slices are the caller's again when it returns. When
	// ctx ends while waiting, the error is fault.UnknownOutcome: the record may
	// have been written. Before the record is accepted it is ctx's own error.
	Send(ctx context.Context, r record.Record) (record.Position, error)

	// SendAsync takes r into the open batch of partition r.Partition, waiting
	// for room in the buffer no longer than ctx, and returns; r's slices are
	// the caller's again. fn, which may be nil, is told the outcome, also when
	// the record was not accepted.
	//
	// What has to wait because a record sent before it failed is not accepted if
	// ctx has ended when the callbacks of all such records have returned: who
	// ends ctx in one of them has nothing written behind the failure.
	SendAsync(ctx context.Context, r record.Record, fn Callback)

	// Append appends a whole batch, behind whatever was sent to the partition
	// before, and returns once it is accepted; b's bytes are the caller's again
	// (the session keeps a copy). fn, which may be nil, is told the position of
	// the batch's first record. Offsets, leader epoch and producer identity in
	// b's header are overwritten.
	Append(ctx context.Context, partition int32, b *record.Batch, fn Callback)
}
