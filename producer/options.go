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

	DefaultCloseTimeout = 30 * time.Second
)

// Option is one choice of New.
type Option interface{ apply(*options) }

type option func(*options)

func (o option) apply(opts *options) { o(opts) }

// options is what New gathers before it checks everything at once.
type options struct {
	Config
	partitioner  topic.Partitioner // nil for the default
	idempotence  *bool             // nil: with AcksAll
	closeTimeout time.Duration
}

// ClientID names the producer to the backend, for logs and quotas. The default
// is "runnel".
func ClientID(id string) Option { return option(func(o *options) { o.ClientID = id }) }

// RequireAcks says whose word Send waits for. The default is AcksAll.
func RequireAcks(a Acks) Option { return option(func(o *options) { o.Acks = a }) }

// Idempotence says whether batches bear a producer ID and a sequence, by which a
// partition tells one that comes again from one that is new (KIP-98): Kafka's
// enable.idempotence. It is on with AcksAll, off with the other Acks, for which
// it must not be switched on. See Config.Idempotent for what it promises.
func Idempotence(on bool) Option { return option(func(o *options) { o.idempotence = &on }) }

// Linger lets a batch that is not full wait so long for more records, Kafka's
// linger.ms. The default is 0: batches wait only while an earlier one is on its
// way.
func Linger(d time.Duration) Option { return option(func(o *options) { o.Linger = d }) }

// BatchBytes is at how many bytes, encoded and not yet compressed, a batch is
// full, Kafka's batch.size. A larger record has a batch to itself. Topics whose
// max.message.bytes is smaller get smaller batches. The default is 256 KiB.
func BatchBytes(n int) Option { return option(func(o *options) { o.BatchBytes = n }) }

// BufferBytes is how many bytes may be sent and not yet acknowledged, counted in
// whole batches; beyond that, sending waits for room. It is Kafka's
// buffer.memory; the default is 32 MiB.
func BufferBytes(n int) Option { return option(func(o *options) { o.BufferBytes = n }) }

// Compression compresses batches; the default is record.None.
func Compression(c record.Compression) Option { return option(func(o *options) { o.Compression = c }) }

// CompressionLevel sets how hard the compression tries, in its own terms; 0 is
// its default.
func CompressionLevel(level int) Option { return option(func(o *options) { o.Level = level }) }

// Partitioner chooses partitions. The default is topic.DefaultPartitioner, which
// is Kafka's, also for nil.
func Partitioner(p topic.Partitioner) Option { return option(func(o *options) { o.partitioner = p }) }

// CloseTimeout is how long Close waits for what was sent. The default is half a
// minute.
func CloseTimeout(d time.Duration) Option { return option(func(o *options) { o.closeTimeout = d }) }

// configure applies the options and reports everything that is wrong with them.
func configure(opts []Option) (options, error) {
	o := options{Config: Config{ClientID: "runnel", BatchBytes: DefaultBatchBytes, BufferBytes: DefaultBufferBytes}, closeTimeout: DefaultCloseTimeout}
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
