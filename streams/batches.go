package streams

import (
	"context"
	"slices"

	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/streams/state"
	"github.com/runnel-go/runnel/topic"
)

// Sizes of the batches that a thread writes, in bytes. One that has reached
// readyBytes goes out when the thread has processed what it fetched; the others
// when nothing is left to process, and at the commit.
const (
	batchBytes = 256 << 10
	readyBytes = 64 << 10
)

// batches is a thread's outbox: one open batch for each partition that its tasks
// write to, and the producer that takes the full ones. It belongs to the
// thread's goroutine.
type batches struct {
	ctx     context.Context
	session producer.Session
	topics  map[string]*topicBatches
	ordered []*topicBatches
}

// topicBatches is the open batches of one topic.
type topicBatches struct {
	ctx     context.Context
	writer  producer.Writer
	keyless func(r record.Record, partitions int32) int32 // chooses for records without a key
	open    []*record.Builder                             // by partition; nil: never used
}

func openBatches(ctx context.Context, b Backend, clientID string) (*batches, error) {
	s, err := b.OpenProducer(ctx, producer.Config{
		ClientID: clientID, Acks: producer.AcksAll, BatchBytes: batchBytes, BufferBytes: 32 << 20,
	})
	if err != nil {
		return nil, err
	}
	return &batches{ctx: ctx, session: s, topics: make(map[string]*topicBatches)}, nil
}

func (b *batches) topic(name string) (*topicBatches, error) {
	if t, ok := b.topics[name]; ok {
		return t, nil
	}
	w, err := b.session.Topic(b.ctx, name)
	if err != nil {
		return nil, err
	}
	t := &topicBatches{ctx: b.ctx, writer: w, keyless: topic.DefaultPartitioner(name, batchBytes)}
	b.topics[name] = t
	b.ordered = append(b.ordered, t)
	return t, nil
}

func (b *batches) output(topic string) (output, error) { return b.topic(topic) }

func (b *batches) changelog(topic string, partition int32) (state.Changelog, error) {
	t, err := b.topic(topic)
	return changelog{t, partition}, err
}

// send hands the open batches of at least that many bytes to the producer.
func (b *batches) send(atLeast int) error {
	for _, t := range b.ordered {
		for p, open := range t.open {
			if open != nil && open.Count() > 0 && open.Len() >= atLeast {
				if err := t.send(int32(p)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// flush sends everything and waits until it is acknowledged.
func (b *batches) flush() error {
	if err := b.send(0); err != nil {
		return err
	}
	return b.session.Flush(b.ctx)
}

func (t *topicBatches) write(ms int64, key, value []byte, headers []record.Header) error {
	n := t.writer.Partitions()
	if key != nil {
		return t.add(topic.PartitionForKey(key, n), ms, key, value, headers)
	}
	return t.add(t.keyless(record.Record{Value: value, Headers: headers}, n), ms, key, value, headers)
}

func (t *topicBatches) add(partition int32, ms int64, key, value []byte, headers []record.Header) error {
	if int(partition) >= len(t.open) {
		t.open = append(t.open, slices.Repeat([]*record.Builder{nil}, int(partition)+1-len(t.open))...)
	}
	open := t.open[partition]
	if open == nil {
		open = record.NewBuilder(batchBytes)
		t.open[partition] = open
	}
	if open.Add(ms, key, value, headers) {
		return nil
	}
	if err := t.send(partition); err != nil {
		return err
	}
	open.Add(ms, key, value, headers) // an empty builder takes any record
	return nil
}

// send hands a partition's open batch to the producer. What becomes of it is
// told by the producer's Flush.
func (t *topicBatches) send(partition int32) error {
	open := t.open[partition]
	batch, err := open.Batch(nil, record.None, 0)
	if err != nil {
		return err
	}
	t.writer.Append(t.ctx, partition, &batch, nil)
	open.Reset()
	return nil
}

// changelog is one partition of a changelog topic.
type changelog struct {
	topic     *topicBatches
	partition int32
}

func (c changelog) Append(key, value []byte, ms int64) error {
	return c.topic.add(c.partition, ms, key, value, nil)
}
