package producer_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/topic"
)

// fake is a backend that stores what it is sent.
type fake struct {
	cfg    producer.Config
	opened int // sessions' topics
	closed int // sessions

	mu      sync.Mutex
	writers map[string]*fakeWriter
	failed  error
}

func newFake(topics ...string) *fake {
	f := &fake{writers: map[string]*fakeWriter{}}
	for _, name := range topics {
		f.writers[name] = &fakeWriter{fake: f, partitions: 4}
	}
	return f
}

func (f *fake) OpenProducer(_ context.Context, cfg producer.Config) (producer.Session, error) {
	f.cfg = cfg
	return f, nil
}

func (f *fake) Topic(_ context.Context, name string) (producer.Writer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.opened++
	if w := f.writers[name]; w != nil {
		return w, nil
	}
	return nil, fault.UnknownTopic
}

func (f *fake) Flush(context.Context) error { return f.failed }
func (f *fake) Close() error                { f.closed++; return nil }

type fakeWriter struct {
	fake       *fake
	partitions int32
	sent       []record.Record
}

func (w *fakeWriter) Partitions() int32 { return w.partitions }

func (w *fakeWriter) Send(_ context.Context, r record.Record) (record.Position, error) {
	w.fake.mu.Lock()
	defer w.fake.mu.Unlock()
	if string(r.Value) == "refuse" {
		return record.Position{Offset: -1}, fault.RecordTooLarge
	}
	w.sent = append(w.sent, r.Clone())
	return record.Position{Topic: r.Topic, Partition: r.Partition, Offset: int64(len(w.sent) - 1)}, nil
}

func (w *fakeWriter) SendAsync(ctx context.Context, r record.Record, fn producer.Callback) {
	if string(r.Value) == "silence" {
		return
	}
	at, err := w.Send(ctx, r)
	if fn != nil {
		fn(at, err)
	}
}

func (w *fakeWriter) SendIf(ctx context.Context, r record.Record, c producer.Condition) (record.Position, error) {
	if have := int64(len(w.sent)); c.Offset != have {
		return record.Position{Offset: -1}, &producer.Conflict{Topic: r.Topic, Partition: r.Partition, Want: c.Offset, Have: have}
	}
	return w.Send(ctx, r)
}

func (w *fakeWriter) Append(context.Context, int32, *record.Batch, producer.Callback) {}

func newProducer(t *testing.T, f *fake, opts ...producer.Option) *producer.Producer {
	t.Helper()
	p, err := producer.New(f, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

func TestNoBackend(t *testing.T) {
	_, err := producer.New(nil)
	require.ErrorIs(t, err, fault.InvalidRequest)
}

func TestOptionsReachTheSession(t *testing.T) {
	f := newFake()
	newProducer(t, f)
	require.Equal(t, producer.Config{
		ClientID: "runnel", BatchBytes: producer.DefaultBatchBytes, BufferBytes: producer.DefaultBufferBytes, Idempotent: true,
	}, f.cfg)
	newProducer(t, f, producer.Idempotence(false))
	require.False(t, f.cfg.Idempotent)
	newProducer(t, f, producer.Idempotence(false), producer.RequireAcks(producer.AcksNone))
	require.False(t, f.cfg.Idempotent)
	newProducer(t, f, producer.ClientID("me"), producer.RequireAcks(producer.AcksLeader), producer.Linger(time.Second),
		producer.BatchBytes(10), producer.BufferBytes(20), producer.Compression(record.Zstd), producer.CompressionLevel(3))
	require.Equal(t, producer.Config{
		ClientID: "me", Acks: producer.AcksLeader, Linger: time.Second,
		BatchBytes: 10, BufferBytes: 20, Compression: record.Zstd, Level: 3,
	}, f.cfg)
}

func TestBadOptionsAreAllReported(t *testing.T) {
	_, err := producer.New(newFake(), producer.RequireAcks(7), producer.Linger(-1), producer.BatchBytes(0),
		producer.BufferBytes(-1), producer.Compression(9))
	require.ErrorIs(t, err, fault.InvalidConfig)
	for _, what := range []string{"RequireAcks(Acks(7))", "Linger(-1ns)", "BatchBytes(0)", "BufferBytes(-1)", "Compression(compression 9)"} {
		require.ErrorContains(t, err, what)
	}
	_, err = producer.New(newFake(), producer.Idempotence(true), producer.RequireAcks(producer.AcksLeader))
	require.ErrorIs(t, err, fault.InvalidConfig)
	_, err = producer.New(newFake(), producer.Compression(record.Gzip), producer.CompressionLevel(99))
	require.Error(t, err)
	require.Equal(t, []string{"all", "1", "0", "Acks(9)"}, []string{
		producer.AcksAll.String(), producer.AcksLeader.String(), producer.AcksNone.String(), producer.Acks(9).String(),
	})
}

func TestKeysGoWhereKafkaPutsThem(t *testing.T) {
	f := newFake("orders")
	p := newProducer(t, f)
	for _, key := range []string{"", "a", "customer-17"} {
		at, err := p.Send(t.Context(), record.Record{Topic: "orders", Key: []byte(key), Partition: 3})
		require.NoError(t, err)
		require.Equal(t, topic.PartitionForKey([]byte(key), 4), at.Partition, "the record's own number doesn't count")
	}
	at, err := p.Send(t.Context(), record.Record{Topic: "orders"})
	require.NoError(t, err)
	next, err := p.Send(t.Context(), record.Record{Topic: "orders"})
	require.NoError(t, err)
	require.Equal(t, at.Partition, next.Partition, "without a key they stick")
}

func TestPartitionersAreHeld(t *testing.T) {
	f := newFake("orders")
	p := newProducer(t, f, producer.Partitioner(topic.CustomPartitioner(func(r record.Record, n int32) int32 {
		if r.Partition == 9 {
			panic("nine")
		}
		return r.Partition
	})))
	for _, number := range []int32{-1, 4} {
		_, err := p.Send(t.Context(), record.Record{Topic: "orders", Partition: number})
		require.ErrorIs(t, err, fault.UnknownTopic)
		require.ErrorContains(t, err, "orders")
		require.ErrorContains(t, err, fmt.Sprintf("chose partition %d, and the topic has 4 partitions", number))
	}
	_, err := p.Send(t.Context(), record.Record{Topic: "orders", Partition: 9})
	require.ErrorIs(t, err, fault.InvalidRecord)
	require.ErrorContains(t, err, "nine")
	at, err := p.Send(t.Context(), record.Record{Topic: "orders", Partition: 3})
	require.NoError(t, err)
	require.EqualValues(t, 3, at.Partition)
}

func TestTopicsAreOpenedOnceAndAgainAfterDeletion(t *testing.T) {
	f := newFake("orders", "other")
	p := newProducer(t, f)
	for range 3 {
		for _, name := range []string{"orders", "other"} {
			_, err := p.Send(t.Context(), record.Record{Topic: name, Key: []byte("k")})
			require.NoError(t, err)
		}
	}
	require.Equal(t, 2, f.opened)

	old := f.writers["orders"]
	old.partitions = 0
	_, err := p.Send(t.Context(), record.Record{Topic: "orders"})
	require.ErrorIs(t, err, fault.UnknownTopic, "deleted, and the backend still gives the old one")
	f.writers["orders"] = &fakeWriter{fake: f, partitions: 1}
	_, err = p.Send(t.Context(), record.Record{Topic: "orders", Key: []byte("k")})
	require.NoError(t, err)
	require.Len(t, f.writers["orders"].sent, 1)
	require.Len(t, old.sent, 3)
}

func TestUnknownTopicsAreNamed(t *testing.T) {
	p := newProducer(t, newFake())
	_, err := p.Send(t.Context(), record.Record{Topic: "nope"})
	require.ErrorIs(t, err, fault.UnknownTopic)
	require.ErrorContains(t, err, "nope")
	var told error
	p.SendAsync(t.Context(), record.Record{Topic: "nope"}, func(_ record.Position, err error) { told = err })
	require.ErrorIs(t, told, fault.UnknownTopic)
	p.SendAsync(t.Context(), record.Record{Topic: "nope"}, nil)
	require.ErrorIs(t, p.Flush(t.Context()), fault.UnknownTopic)
	require.NoError(t, p.Flush(t.Context()))
}

func TestSendAll(t *testing.T) {
	f := newFake("orders")
	p := newProducer(t, f, producer.Partitioner(topic.ManualPartitioner))
	value := func(v string) record.Record {
		return record.Record{Topic: "orders", Partition: 1, Value: []byte(v)}
	}
	at, err := p.SendAll(t.Context(), value("a"), value("refuse"), value("b"))
	require.ErrorIs(t, err, fault.RecordTooLarge)
	require.ErrorContains(t, err, "record 2 of 3")
	require.Equal(t, []int64{0, -1, 1}, []int64{at[0].Offset, at[1].Offset, at[2].Offset})

	at, err = p.SendAll(t.Context())
	require.NoError(t, err)
	require.Empty(t, at)

	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := p.SendAll(ctx, value("silence"))
		require.ErrorIs(t, err, fault.UnknownOutcome)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestTyped(t *testing.T) {
	f := newFake("totals")
	p := newProducer(t, f)
	totals := producer.To(p, serde.For("totals", serde.String, serde.Int64))
	_, err := totals.Send(t.Context(), "word", 3)
	require.NoError(t, err)
	_, err = totals.SendValue(t.Context(), 4)
	require.NoError(t, err)
	_, err = totals.Delete(t.Context(), "word")
	require.NoError(t, err)
	_, err = totals.Send(t.Context(), "", 0)
	require.NoError(t, err)
	totals.SendAsync(t.Context(), "async", 5, nil)
	r, err := totals.Record("word", 7)
	require.NoError(t, err)
	r.Headers = []record.Header{{Key: "from", Value: []byte("test")}}
	_, err = p.Send(t.Context(), r)
	require.NoError(t, err)

	sent := f.writers["totals"].sent
	require.Equal(t, []byte("word"), sent[0].Key)
	require.Equal(t, []byte{0, 0, 0, 0, 0, 0, 0, 3}, sent[0].Value)
	require.Nil(t, sent[1].Key)
	require.Equal(t, []byte("word"), sent[2].Key)
	require.Nil(t, sent[2].Value)
	require.NotNil(t, sent[3].Key, "empty is not null")
	require.Equal(t, "async", string(sent[4].Key))
	require.Equal(t, "from", sent[5].Headers[0].Key)
}

// Send is a producer for one record, which is always closed.
func TestSendingOnce(t *testing.T) {
	f := newFake("a")
	words := serde.For("a", serde.String, serde.String)
	at, err := producer.Send(t.Context(), f, words, "key", "value", producer.ClientID("once"))
	require.NoError(t, err)
	require.Equal(t, "a", at.Topic)
	require.Equal(t, "once", f.cfg.ClientID)
	require.Equal(t, "key=value", string(f.writers["a"].sent[0].Key)+"="+string(f.writers["a"].sent[0].Value))
	require.Equal(t, 1, f.closed)

	_, err = producer.Send(t.Context(), f, words, "key", "refuse")
	require.ErrorIs(t, err, fault.RecordTooLarge)
	require.Equal(t, 2, f.closed)

	at, err = producer.Send(t.Context(), f, words, "key", "value", producer.Linger(-1))
	require.ErrorIs(t, err, fault.InvalidConfig)
	require.Equal(t, record.Position{Topic: "a", Partition: -1, Offset: -1}, at)
	require.Equal(t, 2, f.closed)
}

func TestTypedNull(t *testing.T) {
	f := newFake("users")
	users := producer.To(newProducer(t, f), serde.For[string, *string]("users", serde.String, serde.Nullable(serde.String)))
	name := ""
	_, err := users.Send(t.Context(), "1", &name)
	require.NoError(t, err)
	_, err = users.Send(t.Context(), "2", nil)
	require.NoError(t, err)
	require.NotNil(t, f.writers["users"].sent[0].Value)
	require.Nil(t, f.writers["users"].sent[1].Value)
}

func TestSerdesThatFail(t *testing.T) {
	broken := errors.New("broken")
	fails := serde.Func(
		func(dst []byte, v int) ([]byte, error) {
			if v == 0 {
				panic("zero")
			}
			return dst, broken
		},
		func([]byte) (int, error) { return 0, nil },
	)
	p := newProducer(t, newFake("t"))
	keys := producer.To(p, serde.For("t", fails, serde.String))
	_, err := keys.Send(t.Context(), 1, "v")
	require.ErrorIs(t, err, fault.Serialization)
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, "t: ")
	require.ErrorContains(t, err, "the key")
	values := producer.To(p, serde.For("t", serde.String, fails))
	_, err = values.SendValue(t.Context(), 0)
	require.ErrorIs(t, err, fault.Serialization)
	require.ErrorContains(t, err, "zero")
	_, err = values.Record("k", 1)
	require.ErrorIs(t, err, broken)
	var told error
	values.SendAsync(t.Context(), "k", 1, func(_ record.Position, err error) { told = err })
	require.ErrorIs(t, told, broken)
	values.SendAsync(t.Context(), "k", 1, nil)
	require.ErrorIs(t, p.Flush(t.Context()), broken)
}

func TestTypedSendingAllocatesNothing(t *testing.T) {
	f := newFake("totals")
	p := newProducer(t, f)
	totals := producer.To(p, serde.For("totals", serde.String, serde.String))
	fn := func(record.Position, error) {}
	ctx := t.Context()
	require.Less(t, testing.AllocsPerRun(100, func() { totals.SendAsync(ctx, "key", "silence", fn) }), 1.0)
}

// The program provides what makes a topic's partitioner: it runs under no lock,
// and a panic in it is an error of that record only.
func TestMakingAPartitioner(t *testing.T) {
	var p *producer.Producer
	panics := true
	p, err := producer.New(newFake("orders"), producer.Partitioner(func(string, int) func(record.Record, int32) int32 {
		if panics {
			panic("not yet")
		}
		if err := p.Flush(t.Context()); err != nil { // takes the producer's lock
			t.Error(err)
		}
		return func(record.Record, int32) int32 { return 3 }
	}))
	require.NoError(t, err)
	_, err = p.Send(t.Context(), record.Record{Topic: "orders"})
	require.ErrorIs(t, err, fault.InvalidConfig)
	require.ErrorContains(t, err, "orders: ")
	require.ErrorContains(t, err, "not yet")
	panics = false
	at, err := p.Send(t.Context(), record.Record{Topic: "orders"})
	require.NoError(t, err)
	require.EqualValues(t, 3, at.Partition)
}

// stuck is a session that acknowledges nothing until it is closed.
type stuck struct {
	*fake
	closed chan struct{}
}

func (s stuck) OpenProducer(context.Context, producer.Config) (producer.Session, error) {
	return s, nil
}

func (s stuck) Flush(ctx context.Context) error {
	select {
	case <-s.closed:
		return fault.Closed
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s stuck) Close() error {
	close(s.closed)
	return nil
}

// Close waits as long as its timeout, and no longer at all after CloseNow.
func TestCloseHasABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := func(opts ...producer.Option) *producer.Producer {
			p, err := producer.New(stuck{newFake("orders"), make(chan struct{})}, opts...)
			require.NoError(t, err)
			return p
		}
		for bound, opts := range map[time.Duration][]producer.Option{
			producer.DefaultCloseTimeout: nil,
			time.Second:                  {producer.CloseTimeout(time.Second)},
			0:                            {producer.CloseTimeout(0)},
		} {
			began, p := time.Now(), open(opts...)
			err := p.Close()
			require.ErrorIs(t, err, fault.Closed)
			require.ErrorContains(t, err, "not everything was acknowledged within "+bound.String())
			require.Equal(t, bound, time.Since(began))
			_, err = p.Send(t.Context(), record.Record{Topic: "orders"})
			require.ErrorIs(t, err, fault.Closed)
		}
		began := time.Now()
		require.NoError(t, open().CloseNow())
		require.Equal(t, began, time.Now())
	})
}
