package streams

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/streams/state"
	"github.com/runnel-go/runnel/topic"
)

// Sizes of the batches that a thread writes, in bytes. A batch of readyBytes is
// sent once the thread has processed what it fetched. Smaller ones are sent
// when nothing is left to process, and at the commit.
const (
	batchBytes = 256 << 10
	readyBytes = 64 << 10
)

// batches is a thread's outbox: one open batch for each partition that its
// tasks write to, and the producer that sends the full ones. It belongs to the
// thread's goroutine.
type batches struct {
	ctx      context.Context
	session  producer.Session
	plan     *plan
	handling *handling
	limits   map[string]int // the largest batch of topics whose limit is below batchBytes
	describe func(topic string) (topic.Description, error)
	topics   map[string]*topicBatches
	ordered  []*topicBatches
	refused  refused
}

// refused collects the batches that were not written. The session's callbacks
// add them on its goroutines, flush removes them on the thread's.
type refused struct {
	mu      sync.Mutex
	batches []refusedBatch
}

type refusedBatch struct {
	record.TopicPartition
	bytes []byte // the batch, as it was sent
	err   error
}

func (r *refused) add(b refusedBatch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.batches = append(r.batches, b)
}

func (r *refused) take() []refusedBatch {
	r.mu.Lock()
	defer r.mu.Unlock()
	batches := r.batches
	r.batches = nil
	return batches
}

// topicBatches is the open batches of one topic.
type topicBatches struct {
	name       string
	sink       *node    // the first one that writes it
	refused    *refused // nil: a batch that is not written ends the application, through the session's Flush
	ctx        context.Context
	writer     producer.Writer
	limit      int                                           // of a batch, in bytes
	partitions int32                                         // the topic's, when a batch was last sent
	keyless    func(r record.Record, partitions int32) int32 // chooses for records without a key
	open       []*record.Builder                             // by partition
}

func openBatches(ctx context.Context, a *App, clientID string, limits map[string]int) (*batches, error) {
	s, err := a.backend.OpenProducer(ctx, producer.Config{
		ClientID: clientID, Acks: producer.AcksAll, Idempotent: true, BatchBytes: batchBytes, BufferBytes: 32 << 20,
	})
	if err != nil {
		return nil, err
	}
	b := newBatches(ctx, s, a.plan, a.config.handling, maps.Clone(limits))
	b.describe = func(name string) (topic.Description, error) {
		described, err := a.backend.DescribeTopics(ctx, name)
		if err != nil {
			return topic.Description{}, err
		}
		return described[0], nil
	}
	return b, nil
}

func newBatches(ctx context.Context, s producer.Session, p *plan, h *handling, limits map[string]int) *batches {
	return &batches{ctx: ctx, session: s, plan: p, handling: h, limits: limits, topics: make(map[string]*topicBatches)}
}

func (b *batches) topic(name string) (*topicBatches, error) {
	if t, ok := b.topics[name]; ok {
		return t, nil
	}
	w, err := b.session.Topic(b.ctx, name)
	if err != nil {
		return nil, err
	}
	t := &topicBatches{name: name, ctx: b.ctx, writer: w, limit: batchBytes, partitions: w.Partitions()}
	if limit, ok := b.limits[name]; ok {
		t.limit = limit
	}
	t.keyless = topic.DefaultPartitioner(name, t.limit)
	b.topics[name] = t
	b.ordered = append(b.ordered, t)
	return t, nil
}

func (b *batches) output(n *node, name string) (output, error) {
	if n.topic == "" && b.topics[name] == nil {
		if err := b.find(name); err != nil {
			return nil, err
		}
	}
	t, err := b.topic(name)
	if err != nil {
		return nil, err
	}
	if t.sink == nil {
		t.sink = n
	}
	if b.handling.handlers[Production].action != failing {
		t.refused = &b.refused
	}
	return t, nil
}

// find looks for a topic that was not known when the application started.
func (b *batches) find(name string) error {
	if err := topic.ValidateName(name); err != nil {
		return err
	}
	found, err := b.describe(name)
	if limit := found.Config.MaxMessageBytes; err == nil && limit > 0 && limit < batchBytes {
		b.limits[name] = limit
	}
	return err
}

// deadLetters is topic, except that a refused dead letter does not go to a
// handler, which might write it again without end.
func (b *batches) deadLetters(topic string) (output, error) {
	t, err := b.topic(topic)
	if err == nil {
		t.refused = nil
	}
	return t, err
}

func (b *batches) changelog(topic string, partition int32) (state.Changelog, error) {
	t, err := b.topic(topic)
	if err == nil && partition >= t.partitions {
		return noChangelog{topic, partition}, nil
	}
	return changelog{t, partition}, err
}

// send passes the open batches of at least that many bytes to the producer.
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

// forget drops the open batch of a partition: another member may own the
// partition now, and these records are older than those it has written.
func (b *batches) forget(topic string, partition int32) {
	if t, ok := b.topics[topic]; ok && int(partition) < len(t.open) {
		t.open[partition].Reset()
	}
}

// flush sends everything and waits until it is acknowledged. Handling a refused
// batch may write dead letters, which must be acknowledged too: hence the loop.
func (b *batches) flush() error {
	for {
		if err := b.send(0); err != nil {
			return err
		}
		if err := b.session.Flush(b.ctx); err != nil {
			return err
		}
		failed := b.refused.take()
		if len(failed) == 0 {
			return nil
		}
		for _, batch := range failed {
			if err := b.handleRefused(batch); err != nil {
				return err
			}
		}
	}
}

// handleRefused passes each record of a batch that was not written to the
// handler for production errors. The topic refused the batch as a whole, so all
// of its records are treated alike.
func (b *batches) handleRefused(batch refusedBatch) error {
	if !refusedForItself(batch.err) {
		return batch.err
	}
	parsed, err := record.Parse(batch.bytes)
	if err != nil {
		return err
	}
	records, err := parsed.Records(nil) // they were not compressed
	if err != nil {
		return err
	}
	n := b.topics[batch.Topic].sink
	at := record.Position{Topic: batch.Topic, Partition: batch.Partition, Offset: -1}
	for r := (record.Record{Topic: at.Topic, Partition: at.Partition}); records.Next(&r); {
		raw := r.Clone()
		raw.Offset = -1
		err := b.handling.resolve(&ProcessingError{
			Node: n.name, Task: TaskID{SubTopology: b.plan.subOf(n), Partition: -1},
			Phase: Production, At: at, Raw: raw, Err: batch.err,
		}, b)
		if err != nil {
			return err
		}
	}
	return records.Err()
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

// addToNext adds a record to a batch that is not open yet.
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

// send passes a partition's open batch to the producer, whose Flush reports
// whether it was written.
func (t *topicBatches) send(partition int32) error {
	t.partitions = t.writer.Partitions()
	open := t.open[partition]
	batch, err := open.Batch(nil, record.None, 0)
	if err != nil {
		return err
	}
	t.writer.Append(t.ctx, partition, &batch, t.completion(partition, &batch))
	open.Reset()
	return nil
}

// completion returns the callback for a batch that is sent. It is nil unless a
// handler may need the records, because the callback keeps a copy of the batch.
func (t *topicBatches) completion(partition int32, batch *record.Batch) producer.Callback {
	if t.refused == nil {
		return nil
	}
	of := refusedBatch{TopicPartition: record.TopicPartition{Topic: t.name, Partition: partition}, bytes: slices.Clone(batch.Bytes)}
	return func(_ record.Position, err error) {
		if err != nil {
			of.err = err
			t.refused.add(of)
		}
	}
}

// changelog is one partition of a changelog topic.
type changelog struct {
	topic     *topicBatches
	partition int32
}

func (c changelog) Append(key, value []byte, ms int64) error {
	return c.topic.add(c.partition, ms, key, value, nil)
}

// noChangelog is the changelog of a store in a task that reads none of the
// topics feeding the store. This happens when those topics have fewer
// partitions than others of the sub-topology.
type noChangelog struct {
	topic     string
	partition int32
}

func (c noChangelog) Append([]byte, []byte, int64) error {
	return fault.At(fault.InvalidPartitions, c.topic, c.partition, -1).Detailf("the changelog has no such partition")
}
