package streams

import (
	"context"

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
	limits  map[string]int // the largest batch of topics that take less than batchBytes
	topics  map[string]*topicBatches
	ordered []*topicBatches
}

// topicBatches is the open batches of one topic.
type topicBatches struct {
	ctx        context.Context
	writer     producer.Writer
	limit      int                                           // of a batch, in bytes
	partitions int32                                         // the topic's, when a batch was last sent
	keyless    func(r record.Record, partitions int32) int32 // chooses for records without a key
	open       []*record.Builder                             // by partition
}

func openBatches(ctx context.Context, b Backend, clientID string, limits map[string]int) (*batches, error) {
	s, err := b.OpenProducer(ctx, producer.Config{
		ClientID: clientID, Acks: producer.AcksAll, BatchBytes: batchBytes, BufferBytes: 32 << 20,
	})
	if err != nil {
		return nil, err
	}
	return &batches{ctx: ctx, session: s, limits: limits, topics: make(map[string]*topicBatches)}, nil
}

func (b *batches) topic(name string) (*topicBatches, error) {
	if t, ok := b.topics[name]; ok {
		return t, nil
	}
	w, err := b.session.Topic(b.ctx, name)
	if err != nil {
		return nil, err
	}
	t := &topicBatches{ctx: b.ctx, writer: w, limit: batchBytes, partitions: w.Partitions()}
	if limit, ok := b.limits[name]; ok {
		t.limit = limit
	}
	t.keyless = topic.DefaultPartitioner(name, t.limit)
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
			if open.Count() > 0 && open.Len() >= atLeast {
				if err := t.send(int32(p)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// forget drops what is open for a partition.
func (b *batches) forget(topic string, partition int32) {
	if t, ok := b.topics[topic]; ok && int(partition) < len(t.open) {
		t.open[partition].Reset()
	}
}

// flush sends everything and waits until it is acknowledged.
func (b *batches) flush() error {
	if err := b.send(0); err != nil {
		return err
	}
	return b.session.Flush(b.ctx)
}

func (t *topicBatches) write(ms int64, key, value []byte, headers []record.Header) error {
	var p int32
	switch {
	case key == nil:
		p = t.keyless(record.Record{Value: value, Headers: headers}, t.partitions)
	case t.partitions > 1:
		p = topic.PartitionForKey(key, t.partitions)
	}
	return t.add(p, ms, key, value, headers)
}

func (t *topicBatches) add(partition int32, ms int64, key, value []byte, headers []record.Header) error {
	if int(partition) < len(t.open) && t.open[partition].Add(ms, key, value, headers) {
		return nil
	}
	return t.addToNext(partition, ms, key, value, headers)
}

// addToNext adds a record to a batch that is yet to be opened.
func (t *topicBatches) addToNext(partition int32, ms int64, key, value []byte, headers []record.Header) error {
	for int(partition) >= len(t.open) {
		t.open = append(t.open, record.NewBuilder(t.limit))
	}
	if t.open[partition].Count() > 0 {
		if err := t.send(partition); err != nil {
			return err
		}
	}
	t.open[partition].Add(ms, key, value, headers) // an empty builder takes any record
	return nil
}

// send hands a partition's open batch to the producer. What becomes of it is
// told by the producer's Flush.
func (t *topicBatches) send(partition int32) error {
	t.partitions = t.writer.Partitions()
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
