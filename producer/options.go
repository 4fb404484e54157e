package producer

import (
	"errors"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Defaults of the options.
const (
	DefaultBatchBytes  = 256 << 10
	DefaultBufferBytes = 32 << 20

	DefaultCloseTimeout       = 30 * time.Second
	DefaultTransactionTimeout = time.Minute

	// MaxTransactionTimeout is Kafka's transaction.max.timeout.ms: an open transaction
	// holds up readers of committed records.
	MaxTransactionTimeout = 15 * time.Minute

	MaxTransactionalID = 1 << 12 // how many bytes a transactional ID may have
)

// Option configures New.
type Option interface{ apply(*options) }

type option func(*options)

func (o option) apply(opts *options) { o(opts) }

// options is what New gathers before it checks everything at once.
type options struct {
	Config
	partitioner  topic.Partitioner // nil for the default
	idempotence  *bool             // nil: with AcksAll
	closeTimeout time.Duration

	transactional bool // TransactionalID was given, even with an empty ID
}

// ClientID names the producer to the backend, for logs and quotas. The default
// is "runnel".
func ClientID(id string) Option { return option(func(o *options) { o.ClientID = id }) }

// RequireAcks says which replicas must have a record before Send returns. The
// default is AcksAll.
func RequireAcks(a Acks) Option { return option(func(o *options) { o.Acks = a }) }

// Idempotence says whether batches carry a producer ID and a sequence number,
// by which a partition recognizes a batch that it has already written (KIP-98):
// Kafka's enable.idempotence. It is on with AcksAll. It is off with the other
// Acks, which do not allow it. See Config.Idempotent for what it guarantees.
func Idempotence(on bool) Option { return option(func(o *options) { o.idempotence = &on }) }

// TransactionalID makes the producer one of transactions: Kafka's transactional.id. The ID
// names the producer across restarts. New fences every earlier producer of that ID, and
// aborts the transaction that it has left open. See Transact.
func TransactionalID(id string) Option {
	return option(func(o *options) { o.TransactionalID, o.transactional = id, true })
}

// TransactionTimeout is how long a transaction may take before it is aborted, Kafka's
// transaction.timeout.ms. The default is DefaultTransactionTimeout, the most
// MaxTransactionTimeout.
func TransactionTimeout(d time.Duration) Option {
	return option(func(o *options) { o.TransactionTimeout = d })
}

// Linger is how long a batch that is not full waits for more records, Kafka's
// linger.ms. The default is 0: a batch waits only while an earlier one is in
// flight.
func Linger(d time.Duration) Option { return option(func(o *options) { o.Linger = d }) }

// BatchBytes is the size at which a batch is full, in encoded bytes before
// compression: Kafka's batch.size. A larger record gets a batch to itself.
// Topics with a smaller max.message.bytes get smaller batches. The default is
// 256 KiB.
func BatchBytes(n int) Option { return option(func(o *options) { o.BatchBytes = n }) }

// BufferBytes is how many bytes may be sent and not yet acknowledged, counted
// in whole batches; beyond that, sending waits for room. It is Kafka's
// buffer.memory; the default is 32 MiB.
func BufferBytes(n int) Option { return option(func(o *options) { o.BufferBytes = n }) }

// Compression compresses batches; the default is record.None.
func Compression(c record.Compression) Option { return option(func(o *options) { o.Compression = c }) }

// CompressionLevel sets the compression's level, on the algorithm's own scale;
// 0 is its default.
func CompressionLevel(level int) Option { return option(func(o *options) { o.Level = level }) }

// Partitioner chooses partitions. The default, also for nil, is
// topic.DefaultPartitioner, which is Kafka's.
func Partitioner(p topic.Partitioner) Option { return option(func(o *options) { o.partitioner = p }) }

// CloseTimeout is how long Close waits for what was sent. The default is 30
// seconds.
func CloseTimeout(d time.Duration) Option { return option(func(o *options) { o.closeTimeout = d }) }

// configure applies the options and reports every invalid one.
func configure(opts []Option) (options, error) {
	o := options{Config: Config{ClientID: "runnel", BatchBytes: DefaultBatchBytes, BufferBytes: DefaultBufferBytes, TransactionTimeout: DefaultTransactionTimeout}, closeTimeout: DefaultCloseTimeout}
	for _, opt := range opts {
		opt.apply(&o)
	}
	var errs []error
	refuse := func(format string, args ...any) {
		errs = append(errs, fault.Newf(fault.InvalidConfig, format, args...))
	}
	if o.Acks < AcksAll || o.Acks > AcksNone {
		refuse("RequireAcks(%v): it must be AcksAll, AcksLeader or AcksNone", o.Acks)
	}
	if o.Idempotent = o.Acks == AcksAll; o.idempotence != nil {
		if *o.idempotence && !o.Idempotent {
			refuse("Idempotence(true) and RequireAcks(%v): only AcksAll tells what was written", o.Acks)
		}
		o.Idempotent = o.Idempotent && *o.idempotence
	}
	if o.transactional && (o.TransactionalID == "" || len(o.TransactionalID) > MaxTransactionalID) {
		refuse("TransactionalID(%.40q): it must have 1 to %d bytes", o.TransactionalID, MaxTransactionalID)
	}
	if o.transactional && !o.Idempotent {
		refuse("TransactionalID(%.40q) needs AcksAll and idempotence", o.TransactionalID)
	}
	if o.TransactionTimeout < time.Millisecond || o.TransactionTimeout > MaxTransactionTimeout {
		errs = append(errs, fault.Newf(fault.InvalidTxnTimeout, "TransactionTimeout(%v): it must be between 1ms and %v", o.TransactionTimeout, MaxTransactionTimeout))
	}
	if !o.transactional {
		o.TransactionTimeout = 0
	}
	if o.Linger < 0 {
		refuse("Linger(%v): it must not be negative", o.Linger)
	}
	if o.closeTimeout < 0 {
		refuse("CloseTimeout(%v): it must not be negative", o.closeTimeout)
	}
	if o.BatchBytes < 1 {
		refuse("BatchBytes(%d): it must be positive", o.BatchBytes)
	}
	if o.BufferBytes < o.BatchBytes {
		refuse("BufferBytes(%d): it must hold a batch, which may have %d bytes", o.BufferBytes, o.BatchBytes)
	}
	if o.Compression < record.None || o.Compression > record.Zstd {
		refuse("Compression(%v): it must be one of package record's", o.Compression)
	} else if err := o.Compression.CheckLevel(o.Level); err != nil {
		errs = append(errs, err)
	}
	return o, errors.Join(errs...)
}
