package backendtest

import (
	"context"
	"fmt"
	"hash/fnv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// patience is how long a test waits for something that must happen. It is long
// because a cluster may take seconds to notice a change, and a slow machine minutes;
// a test that passes does not wait for it. Members that are not heard of for that long
// keep their partitions.
const patience = 4 * time.Minute

// suite is the environment of one test: a backend, and names that no other test
// uses.
type suite struct {
	*testing.T
	Backend
	features Features
	ctx      context.Context // ends after patience
	prefix   string
	names    int
}

func newSuite(t *testing.T, b Backend, features Features) *suite {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	hash := fnv.New64a()
	fmt.Fprintf(hash, "%s %d", t.Name(), time.Now().UnixNano())
	return &suite{T: t, Backend: b, features: features, ctx: ctx, prefix: fmt.Sprintf("bt-%016x", hash.Sum64())}
}

// name returns a new name for a topic or a group.
func (s *suite) name() string {
	s.names++
	return fmt.Sprintf("%s-%d", s.prefix, s.names)
}

// topic creates a topic and returns its name.
func (s *suite) topic(partitions int, cfg topic.Config) string {
	s.Helper()
	name := s.name()
	require.NoError(s, s.CreateTopics(s.ctx, topic.Spec{Name: name, Partitions: partitions, Config: cfg}))
	return name
}

// producer opens a session with package producer's relevant defaults, and
// closes it at the end of the test.
func (s *suite) producer(change ...func(*producer.Config)) producer.Session {
	s.Helper()
	cfg := producer.Config{ClientID: "backendtest", BatchBytes: 1 << 20, BufferBytes: 32 << 20, Idempotent: true}
	for _, f := range change {
		f(&cfg)
	}
	cfg.Idempotent = cfg.Idempotent && cfg.Acks == producer.AcksAll
	p, err := s.OpenProducer(s.ctx, cfg)
	require.NoError(s, err)
	s.Cleanup(func() { _ = p.Close() })
	return p
}

// writer opens a topic for writing with a session of its own.
func (s *suite) writer(name string, change ...func(*producer.Config)) (producer.Session, producer.Writer) {
	s.Helper()
	p := s.producer(change...)
	w, err := p.Topic(s.ctx, name)
	require.NoError(s, err)
	return p, w
}

// send sends values to a partition, waiting for each.
func (s *suite) send(name string, partition int32, values ...string) []record.Position {
	s.Helper()
	p, w := s.writer(name)
	positions := make([]record.Position, len(values))
	for i, v := range values {
		at, err := w.Send(s.ctx, record.Record{Topic: name, Partition: partition, Value: []byte(v)})
		require.NoError(s, err)
		positions[i] = at
	}
	require.NoError(s, p.Close())
	s.shows(name)
	return positions
}

// sendMany sends n records to each of a topic's partitions without waiting for
// each; their values are 0, 1, 2 and so on in each partition.
func (s *suite) sendMany(name string, partitions, n int) {
	s.Helper()
	p, w := s.writer(name)
	for i := range n {
		for partition := range partitions {
			r := record.Record{Topic: name, Partition: int32(partition), Value: []byte(fmt.Sprint(i))}
			w.SendAsync(s.ctx, r, nil)
		}
	}
	require.NoError(s, p.Flush(s.ctx))
	require.NoError(s, p.Close())
	s.shows(name)
}

// shows waits, where readers lag, until they see what was acknowledged of a topic.
func (s *suite) shows(name string) {
	s.Helper()
	for s.features.Lags {
		described, err := s.DescribeTopics(s.ctx, name)
		require.NoError(s, err)
		latest, err := s.ListOffsets(s.ctx, topic.Latest(), described[0].TopicPartitions()...)
		require.NoError(s, err)
		lags := false
		for _, p := range described[0].Partitions {
			lags = lags || p.HighWatermark < latest[tp(name, p.Number)].Offset
		}
		if !lags {
			return
		}
		require.NoError(s, s.ctx.Err(), "readers do not see what was acknowledged: %+v, %v", described[0].Partitions, latest)
		time.Sleep(time.Millisecond)
	}
}

// still lets the topics of a test keep their leaders, so that it may count offsets.
func (s *suite) still() { s.prefix = stillPrefix + s.prefix }

// counts fails a test that counts the offsets of topics whose leaders move.
func (s *suite) counts() {
	s.Helper()
	require.True(s, Still(s.prefix) || !s.features.LeadersMove, "a test that counts offsets calls still first")
}

// at returns the offset of a partition's record of that number, counted from 0.
func (s *suite) at(number int) int64 {
	s.Helper()
	s.counts()
	return s.features.FirstOffset + int64(number)
}

// deletion is how many offsets the deletion of records takes: where partitions are
// replica groups, a control record says to all replicas where the log begins.
func (s *suite) deletion() int64 { return min(s.features.FirstOffset, 1) }

// isAt requires a position to be that of a partition's record of that number, counted from 0;
// where its leaders move, not an earlier one.
func (s *suite) isAt(at record.Position, name string, partition int32, number int) {
	s.Helper()
	first := s.features.FirstOffset + int64(number)
	want := record.Position{Topic: name, Partition: partition, Offset: first}
	if s.features.LeadersMove && !Still(name) {
		require.GreaterOrEqual(s, at.Offset, first)
		want.Offset = at.Offset
	}
	require.Equal(s, want, at)
}

// atOffset is topic.AtOffset of a partition's record of that number.
func (s *suite) atOffset(number int) topic.OffsetSpec { return topic.AtOffset(s.at(number)) }

// number returns which of its partition's records has an offset, counted from 0. What is
// before the first record counts as that.
func (s *suite) number(offset int64) int {
	s.Helper()
	s.counts()
	return int(max(offset-s.features.FirstOffset, 0))
}

// position is where a partition's record of that number is.
func (s *suite) position(name string, partition int32, number int) record.Position {
	return record.Position{Topic: name, Partition: partition, Offset: s.at(number)}
}

// consumer opens a session and closes it at the end of the test.
func (s *suite) consumer(change ...func(*consumer.Config)) consumer.Session {
	s.Helper()
	cfg := consumer.Config{
		ClientID: "backendtest", Start: topic.Earliest(),
		SessionTimeout: patience, RebalanceTimeout: patience,
		MaxRecords: 500, MaxBytes: 1 << 20,
	}
	for _, f := range change {
		f(&cfg)
	}
	c, err := s.OpenConsumer(s.ctx, cfg)
	require.NoError(s, err)
	s.Cleanup(func() { _ = c.Close() })
	return c
}

// assigned opens a session without a group on some partitions of a topic.
func (s *suite) assigned(name string, partitions ...int32) consumer.Session {
	s.Helper()
	c := s.consumer()
	require.NoError(s, c.Assign(s.ctx, tps(name, partitions...)))
	return c
}

// inGroup makes a session a member of a group.
func inGroup(group string, topics ...string) func(*consumer.Config) {
	return func(cfg *consumer.Config) { cfg.Group, cfg.Topics = group, topics }
}

// fetchOnce is one Fetch, but for those that do no more than pass over what a leader has
// begun with: before the first record of a partition or, where leaders move, anywhere.
func (s *suite) fetchOnce(ctx context.Context, c consumer.Session, wait time.Duration, dst []record.Record) (consumer.Fetched, error) {
	for {
		got, err := c.Fetch(ctx, wait, dst)
		if err != nil || got.IsNone() || len(got.Records) > 0 || !s.features.LeadersMove && got.Next > s.features.FirstOffset {
			return got, err
		}
	}
}

// fetch fetches until there are n records, and requires exactly n.
func (s *suite) fetch(c consumer.Session, n int) []record.Record {
	s.Helper()
	var all []record.Record
	for len(all) < n {
		got, err := c.Fetch(s.ctx, consumer.UntilDone, nil)
		require.NoError(s, err, "after %d of %d records", len(all), n)
		all = append(all, got.Records...)
	}
	require.Len(s, all, n)
	return all
}

// values returns the records' values.
func values(records []record.Record) []string {
	vs := make([]string, len(records))
	for i, r := range records {
		vs[i] = string(r.Value)
	}
	return vs
}

// tps names partitions of one topic.
func tps(name string, partitions ...int32) []record.TopicPartition {
	list := make([]record.TopicPartition, len(partitions))
	for i, p := range partitions {
		list[i] = record.TopicPartition{Topic: name, Partition: p}
	}
	return list
}

// tp names one partition.
func tp(name string, partition int32) record.TopicPartition {
	return record.TopicPartition{Topic: name, Partition: partition}
}

// outcome is what a callback received.
type outcome struct {
	at  record.Position
	err error
}

// outcomes collects the outcomes that callbacks receive, in their order.
type outcomes struct {
	mu  sync.Mutex
	all []outcome
}

// callback is a producer.Callback.
func (o *outcomes) callback(at record.Position, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, outcome{at, err})
}

// take returns what was collected so far.
func (o *outcomes) take() []outcome {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]outcome(nil), o.all...)
}
