package consumer

import (
	"context"
	"iter"
	"slices"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/topic"
)

// HistoryBackend is what History runs on. Every backend is one.
type HistoryBackend interface {
	Backend

	// DescribeTopics is that of topic.Admin.
	DescribeTopics(ctx context.Context, names ...string) ([]topic.Description, error)
}

// KeyReader is a Backend that finds the records of a key without reading those of others.
type KeyReader interface {
	// ReadKey returns the next records of a key. It returns fault.InvalidConfig for a topic
	// without an index of keys, and fault.UnsupportedVersion where the backend cannot read it.
	ReadKey(ctx context.Context, q KeyQuery) (KeyPage, error)
}

// KeyQuery says which records ReadKey returns.
type KeyQuery struct {
	record.TopicPartition
	Key           []byte
	From          int64 // the first offset that counts
	Max           int   // the most records
	ReadCommitted bool  // as Config.ReadCommitted
}

// KeyPage is some of a key's records.
type KeyPage struct {
	Records []record.Record // oldest first; their bytes are the caller's
	Next    int64           // From for the records behind these
	End     int64           // the partition's visible end: there are no more once Next has reached it
}

// HistoryOption configures History.
type HistoryOption interface{ applyHistory(*historyOptions) }

type historyOptions struct {
	scan      bool
	partition int32 // -1: the key's
	committed bool
	from      int64
}

type historyOption func(*historyOptions)

func (o historyOption) applyHistory(opts *historyOptions) { o(opts) }

// Scanning makes History read the key's whole partition, on any backend and of any topic:
// where there is no index, that is the only way, and it takes as long as there are records.
func Scanning() HistoryOption { return historyOption(func(o *historyOptions) { o.scan = true }) }

// OfPartition makes History read the key in this partition. Without it, the key's is the
// one that topic.DefaultPartitioner chooses.
func OfPartition(partition int32) HistoryOption {
	return historyOption(func(o *historyOptions) { o.partition = partition })
}

// Since makes History begin at an offset, such as the one behind a snapshot's.
func Since(offset int64) HistoryOption {
	return historyOption(func(o *historyOptions) { o.from = max(offset, 0) })
}

// keyPage is how many records of a key are read at a time.
const keyPage = 256

// History reads all records of one key, oldest first, up to the end of its partition as of
// the beginning of the loop:
//
//	for r, err := range consumer.History(ctx, broker, accounts, "alice") {
//
// An error ends the loop, ctx's error too. Records that retention or compaction has deleted
// are not there. A tombstone is a record whose HasValue is false. ReadCommitted leaves out
// what is of open and aborted transactions.
//
// The topic must have an index of keys (topic.Config.KeyIndex): then History costs a read
// for each record, however many records other keys have. Without one it is
// fault.InvalidConfig, and on a backend that has none, such as Kafka, fault.UnsupportedVersion:
// see Scanning. A node without a copy of the partition asks one that has it.
func History[K, V any](ctx context.Context, b HistoryBackend, t serde.Topic[K, V], key K, opts ...HistoryOption) iter.Seq2[Record[K, V], error] {
	return func(yield func(Record[K, V], error) bool) {
		fail := func(err error) { yield(Record[K, V]{}, err) }
		o := historyOptions{partition: -1}
		for _, opt := range opts {
			opt.applyHistory(&o)
		}
		raw, err := t.Key.Append(nil, key)
		if err != nil {
			fail(fault.At(fault.Serialization, t.Name, -1, -1).Detailf("the key").Because(err))
			return
		}
		raw = slices.Clip(append([]byte{}, raw...)) // a key without bytes is not null
		q := KeyQuery{TopicPartition: record.TopicPartition{Topic: t.Name, Partition: o.partition}, Key: raw, From: o.from, Max: keyPage, ReadCommitted: o.committed}
		if q.Partition < 0 {
			if q.Partition, err = partitionOf(ctx, b, t.Name, raw); err != nil {
				fail(err)
				return
			}
		}
		records := readKey
		if o.scan {
			records = scanKey
		}
		for r, err := range records(ctx, b, q) {
			if err != nil {
				fail(err)
				return
			}
			typed, err := decode(&t, &r)
			if !yield(typed, err) || err != nil {
				return
			}
		}
	}
}

// partitionOf returns the partition of a key.
func partitionOf(ctx context.Context, b HistoryBackend, name string, key []byte) (int32, error) {
	ds, err := b.DescribeTopics(ctx, name)
	if err != nil {
		return -1, err
	}
	return topic.PartitionForKey(key, int32(len(ds[0].Partitions))), nil
}

// readKey yields a key's records by an index.
func readKey(ctx context.Context, b HistoryBackend, q KeyQuery) iter.Seq2[record.Record, error] {
	return func(yield func(record.Record, error) bool) {
		reader, ok := b.(KeyReader)
		if !ok {
			yield(record.Record{}, fault.At(fault.UnsupportedVersion, q.Topic, q.Partition, -1).Detailf("this backend has no index of keys").Try(scanInstead))
			return
		}
		for end := int64(-1); end < 0 || q.From < end; {
			page, err := reader.ReadKey(ctx, q)
			if err != nil {
				yield(record.Record{}, err)
				return
			}
			if end < 0 {
				end = page.End
			}
			for _, r := range page.Records {
				if r.Offset >= end {
					return
				}
				if !yield(r, nil) {
					return
				}
			}
			if page.Next <= q.From {
				return
			}
			q.From = page.Next
		}
	}
}

const scanInstead = "consumer.Scanning reads the whole partition"

// scanKey yields a key's records by reading the partition.
func scanKey(ctx context.Context, b HistoryBackend, q KeyQuery) iter.Seq2[record.Record, error] {
	return func(yield func(record.Record, error) bool) {
		opts := []Option{Assign(q.TopicPartition), FromStart()}
		if q.ReadCommitted {
			opts = append(opts, ReadCommitted())
		}
		c, err := New(b, opts...)
		if err != nil {
			yield(record.Record{}, err)
			return
		}
		defer c.Close()
		end, position, err := bounds(ctx, c, q)
		for err == nil && position < end {
			var records []record.Record
			if records, err = c.Poll(ctx); err != nil {
				break
			}
			for _, r := range records {
				if r.Offset >= end {
					return
				}
				if r.Key != nil && string(r.Key) == string(q.Key) && !yield(r, nil) {
					return
				}
			}
			position, err = c.Position(ctx, q.TopicPartition)
		}
		if err != nil {
			yield(record.Record{}, err)
		}
	}
}

// bounds moves a consumer to where a query begins, and returns its partition's end.
func bounds(ctx context.Context, c *Consumer, q KeyQuery) (end, position int64, err error) {
	ends, err := c.Offsets(ctx, topic.Latest(), q.TopicPartition)
	if err != nil {
		return 0, 0, err
	}
	if q.From > 0 {
		starts, err := c.Offsets(ctx, topic.Earliest(), q.TopicPartition)
		if err != nil {
			return 0, 0, err
		}
		if err := c.Seek(ctx, q.TopicPartition, min(max(q.From, starts[q.TopicPartition]), ends[q.TopicPartition])); err != nil {
			return 0, 0, err
		}
	}
	position, err = c.Position(ctx, q.TopicPartition)
	return ends[q.TopicPartition], position, err
}
