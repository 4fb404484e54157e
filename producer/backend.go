package producer

import (
	"context"
	"strconv"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/record"
)

// Backend is what producers run on: *runnel.Broker in this process, *runnel.Remote
// in another one, the kafka module on a Kafka cluster. Every backend passes the
// suite in backendtest.
type Backend interface {
	// OpenProducer opens a session. cfg has been validated by New.
	OpenProducer(ctx context.Context, cfg Config) (Session, error)
}

// Config is what a session needs to know. New fills it from its options, with
// every default set.
type Config struct {
	ClientID    string
	Acks        Acks
	Linger      time.Duration // the longest that a batch waits for more records; 0: only while an earlier one is in flight
	BatchBytes  int           // a batch is full at this many encoded bytes
	BufferBytes int           // bytes of records sent and not yet acknowledged; Send waits beyond it
	Compression record.Compression
	Level       int // the compression's level; 0 is its default

	// Idempotent makes the partition write a batch only once even if the
	// session sends it again, and never after a batch that was sent later. It
	// needs AcksAll.
	Idempotent bool

	// TransactionalID, unless empty, makes the session a Transactor: the one producer of
	// that ID from now on. TransactionTimeout is how long a transaction may take before it
	// is aborted.
	TransactionalID    string
	TransactionTimeout time.Duration
}

// Acks says which replicas must have a record before it counts as acknowledged.
type Acks int8

// The zero value is AcksAll.
const (
	AcksAll    Acks = iota // a majority of the replica group, and MinReplicas where set
	AcksLeader             // the leader, under the topic's durability
	AcksNone               // none: records are accepted into the buffer, and offsets are -1
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

// Callback receives the outcome of one record. Callbacks of a partition run in
// offset order, one at a time. A callback must not block and must not send.
// Waiting for a lock that another goroutine holds while it sends is blocking,
// too.
//
// Callbacks run on a goroutine of the session, except if a record was not even
// accepted: then the call that sent it runs the callback. On the session's
// goroutine a panic is recovered; the next Flush or Close returns it with its
// stack. A callback that ends its goroutine with runtime.Goexit, as
// testing.T.FailNow does, affects no other callback. Either way all others are
// called.
type Callback = func(at record.Position, err error)

// Session is one producer's connection to a backend. It gathers records into
// batches and keeps their order per partition. All methods are safe for
// concurrent use.
type Session interface {
	// Topic opens a topic for writing. It returns fault.UnknownTopic, and
	// fault.InvalidTopic for a topic in which the backend keeps its own state.
	// The Writer is valid until the session closes or the topic is deleted.
	// After a deletion its calls fail with fault.UnknownTopic, and the topic
	// may be opened again.
	Topic(ctx context.Context, name string) (Writer, error)

	// Flush sends what is buffered and returns when everything sent before the
	// call is acknowledged or has failed, or ctx ends. It returns the first
	// failure since the last Flush of a record that had no callback.
	Flush(ctx context.Context) error

	// Close fails unacknowledged records with fault.Closed and does not wait
	// for them: Producer.Close flushes first. Close is idempotent, may be
	// called at any moment and does not hang. When it returns, no callback is
	// running or will run. It returns what Flush would: the first failure of a
	// record without a callback.
	Close() error
}

// Transactor is the Session of a Config with a TransactionalID. Opening one fences every
// earlier producer of that ID, and aborts the transaction that it has open. Records are sent
// only within a transaction, of which there is one at a time.
type Transactor interface {
	Session

	// BeginTransaction begins a transaction. It returns fault.InvalidTxnState if the
	// last one has not ended, and fault.ProducerFenced, as every other call does, once
	// there is a newer producer of the transactional ID.
	BeginTransaction(ctx context.Context) error

	// SendOffsets makes a group's offsets part of the transaction: they count when it is
	// committed. It returns fault.UnknownMember, fault.IllegalGeneration or
	// fault.FencedInstance if the member has lost its place in the group, or is not of that
	// epoch any more. After an error the transaction can only be aborted.
	SendOffsets(ctx context.Context, group consumer.GroupMetadata, offsets map[record.TopicPartition]consumer.Offset) error

	// EndTransaction waits until everything that was sent has its outcome, and commits or
	// aborts the transaction. When it returns without an error, that is so in all of its
	// partitions, and durable.
	//
	// A transaction in which a record has failed cannot be committed: EndTransaction
	// returns fault.InvalidTxnState, and the transaction must be aborted. So it does for
	// one that was aborted at its timeout. After fault.UnknownOutcome the same call may be
	// made again; any other error leaves the transaction open.
	EndTransaction(ctx context.Context, commit bool) error
}

// Writer appends to one topic's partitions.
type Writer interface {
	// Partitions returns the topic's current number of partitions, and 0 once
	// the backend knows that the topic was deleted. It costs no more than an
	// atomic load.
	Partitions() int32

	// Send appends r to partition r.Partition and waits for the
	// acknowledgement. The caller may reuse r's slices when it returns. If ctx
	// ends before the record is accepted, Send returns ctx's error. If ctx ends
	// later, the error is fault.UnknownOutcome: the record may have been
	// written.
	Send(ctx context.Context, r record.Record) (record.Position, error)

	// SendAsync adds r to the open batch of partition r.Partition and returns.
	// It waits for room in the buffer, no longer than ctx. The caller may reuse
	// r's slices when it returns. fn, which may be nil, receives the outcome,
	// even if the record was not accepted.
	//
	// If SendAsync waits because a record sent before it failed, it does not
	// accept the record if ctx has ended by the time the callbacks of all
	// failed records have returned. A callback can therefore end ctx to make
	// sure that nothing is written after a failure.
	SendAsync(ctx context.Context, r record.Record, fn Callback)

	// SendIf appends r to partition r.Partition if the condition, which is Valid, holds
	// in r's turn, after everything that the session has sent to the partition before.
	// Otherwise the error is a *Conflict, and records that were sent behind r are not
	// affected. In a transaction a conflict is a failed record: it can only be aborted.
	// For ctx and r's slices see Send. A backend that cannot do it returns
	// fault.UnsupportedVersion.
	SendIf(ctx context.Context, r record.Record, condition Condition) (record.Position, error)

	// Append appends a whole batch after everything sent to the partition
	// before, and returns once it is accepted. The session keeps a copy, so the
	// caller may reuse b's bytes. fn, which may be nil, receives the position
	// of the batch's first record. Offsets, leader epoch and producer identity
	// in b's header are overwritten.
	Append(ctx context.Context, partition int32, b *record.Batch, fn Callback)
}
