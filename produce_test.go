package runnel_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// produceOn returns a broker in memory with a topic and a producer on it.
func produceOn(t *testing.T, spec topic.Spec, opts ...producer.Option) (*runnel.Broker, *producer.Producer) {
	t.Helper()
	broker, err := runnel.OpenMemory()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	require.NoError(t, broker.CreateTopics(t.Context(), spec))
	p, err := producer.New(broker, opts...)
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = p.Flush(context.Background())
		runnel.NothingIsHeld(t, broker)
		require.NoError(t, p.CloseNow())
	})
	return broker, p
}

// endOffset returns the high watermark of a topic's partition.
func endOffset(t *testing.T, b *runnel.Broker, name string, partition int) int64 {
	t.Helper()
	d, err := b.DescribeTopics(context.Background(), name)
	require.NoError(t, err)
	return d[0].Partitions[partition].HighWatermark
}

func TestSendReturnsWhereTheRecordStands(t *testing.T) {
	for _, d := range []topic.Durability{topic.Memory, topic.Fsync} {
		t.Run(d.String(), func(t *testing.T) {
			_, p := produceOn(t, topic.Spec{Name: "orders", Config: topic.Config{Durability: d}})
			for n := range int64(10) {
				at, err := p.Send(t.Context(), record.Record{Topic: "orders", Value: []byte("v")})
				require.NoError(t, err)
				require.Equal(t, record.Position{Topic: "orders", Offset: n}, at)
			}
		})
	}
}

func TestSlicesAreTheCallersAgain(t *testing.T) {
	broker, p := produceOn(t, topic.Spec{Name: "orders"}, producer.Linger(time.Hour))
	buf := make([]byte, 4)
	for n := range uint32(1000) {
		binary.BigEndian.PutUint32(buf, n)
		p.SendAsync(t.Context(), record.Record{Topic: "orders", Key: buf, Value: buf, Headers: []record.Header{{Key: "h", Value: buf}}}, nil)
	}
	require.NoError(t, p.Flush(t.Context()))
	for n, r := range consume(t, broker, "orders", 1000) {
		require.EqualValues(t, n, binary.BigEndian.Uint32(r.Key))
		require.EqualValues(t, n, binary.BigEndian.Uint32(r.Value))
		require.EqualValues(t, n, binary.BigEndian.Uint32(r.Headers[0].Value))
	}
}

// Every sender's records keep their order in each partition, and callbacks run
// one at a time in the order of offsets, whatever fills, seals and sends.
func TestManySendersKeepOrder(t *testing.T) {
	for _, opts := range [][]producer.Option{
		nil,
		{producer.BatchBytes(200)},
		{producer.BatchBytes(200), producer.BufferBytes(600)},
		{producer.BatchBytes(4096), producer.Compression(record.LZ4)},
		{producer.Linger(time.Millisecond)},
	} {
		for _, d := range []topic.Durability{topic.Memory, topic.Fsync} {
			t.Run(fmt.Sprintf("%v/%d", d, len(opts)), func(t *testing.T) {
				const senders, each, partitions = 8, 500, 2
				broker, p := produceOn(t, topic.Spec{Name: "orders", Partitions: partitions, Config: topic.Config{Durability: d}},
					append(opts, producer.Partitioner(topic.ManualPartitioner))...)
				var next [partitions]int64 // only callbacks touch it, which never overlap within a partition
				fn := func(at record.Position, err error) {
					if err != nil || at.Offset != next[at.Partition] {
						t.Errorf("%v, %v, where offset %d was due", at, err, next[at.Partition])
					}
					next[at.Partition]++
				}
				var wg sync.WaitGroup
				for s := range senders {
					wg.Go(func() {
						for n := range each {
							r := record.Record{Topic: "orders", Partition: int32(n % partitions), Value: []byte{byte(s), byte(n >> 8), byte(n)}}
							if n%50 != 0 {
								p.SendAsync(t.Context(), r, fn)
								continue
							}
							// Its callback would be called by Send alone, so count it here.
							done := make(chan struct{})
							p.SendAsync(t.Context(), r, func(at record.Position, err error) { fn(at, err); close(done) })
							<-done
						}
					})
				}
				wg.Wait()
				require.NoError(t, p.Flush(t.Context()))
				for part := range partitions {
					require.EqualValues(t, senders*each/partitions, next[part])
				}
				last := map[string]int{}
				for _, r := range consume(t, broker, "orders", senders*each) {
					from, n := fmt.Sprint(r.Partition, r.Value[0]), int(r.Value[1])<<8|int(r.Value[2])
					if before, ok := last[from]; ok {
						require.Less(t, before, n)
					}
					last[from] = n
				}
			})
		}
	}
}

func TestMixedSendersAndWholeBatchesKeepOrder(t *testing.T) {
	broker, p := produceOn(t, topic.Spec{Name: "orders"}, producer.Linger(time.Hour))
	session, err := broker.OpenProducer(t.Context(), producer.Config{BatchBytes: 1 << 16, BufferBytes: 1 << 20, Linger: time.Hour})
	require.NoError(t, err)
	defer session.Close()
	w, err := session.Topic(t.Context(), "orders")
	require.NoError(t, err)
	require.EqualValues(t, 1, w.Partitions())
	var at []int64
	note := func(pos record.Position, err error) {
		require.NoError(t, err)
		at = append(at, pos.Offset)
	}
	b := record.NewBuilder(1 << 10)
	b.Add(5, nil, []byte("1"), nil)
	b.Add(6, nil, []byte("2"), nil)
	batch, err := b.Batch(nil, record.None, 0)
	require.NoError(t, err)

	w.SendAsync(t.Context(), record.Record{Value: []byte("0")}, note)
	w.Append(t.Context(), 0, &batch, note)
	b.Reset() // the session has a copy
	b.Add(7, nil, []byte("x"), nil)
	w.SendAsync(t.Context(), record.Record{Value: []byte("3")}, note)
	require.NoError(t, session.Flush(t.Context()))
	require.Equal(t, []int64{0, 1, 3}, at)
	for n, r := range consume(t, broker, "orders", 4) {
		require.Equal(t, fmt.Sprint(n), string(r.Value))
	}
	w.Append(t.Context(), 0, &record.Batch{}, nil)
	require.Error(t, session.Flush(t.Context()), "a batch without records")
	w.Append(t.Context(), 7, &batch, nil)
	require.ErrorIs(t, session.Flush(t.Context()), fault.UnknownTopic)
	_ = p
}

func TestTimestamps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker, p := produceOn(t, topic.Spec{Name: "orders"}, producer.Linger(time.Hour))
		opened := time.Now()
		for _, at := range []time.Time{time.UnixMilli(0), {}, opened.Add(-time.Hour), opened.Add(time.Hour), {}} {
			p.SendAsync(t.Context(), record.Record{Topic: "orders", Timestamp: at}, nil)
			time.Sleep(time.Second)
		}
		require.NoError(t, p.Flush(t.Context()))
		var got []int64
		for _, r := range consume(t, broker, "orders", 5) {
			got = append(got, r.Timestamp.UnixMilli())
		}
		now := opened.UnixMilli()
		require.Equal(t, []int64{0, now, now - 3600_000, now + 3600_000, now}, got)

		_, err := p.Send(t.Context(), record.Record{Topic: "orders", Timestamp: time.UnixMilli(-1)})
		require.ErrorIs(t, err, fault.InvalidTimestamp)
	})
}

func TestLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker, p := produceOn(t, topic.Spec{Name: "orders"}, producer.Linger(time.Minute), producer.BatchBytes(1000))
		began := time.Now()
		p.SendAsync(t.Context(), record.Record{Topic: "orders"}, nil)
		time.Sleep(59 * time.Second)
		require.Zero(t, endOffset(t, broker, "orders", 0))
		_, err := p.Send(t.Context(), record.Record{Topic: "orders"})
		require.NoError(t, err)
		require.Equal(t, time.Minute, time.Since(began), "of its batch's first record")

		// A full batch doesn't wait.
		began = time.Now()
		p.SendAsync(t.Context(), record.Record{Topic: "orders", Value: make([]byte, 800)}, nil)
		p.SendAsync(t.Context(), record.Record{Topic: "orders", Value: make([]byte, 800)}, nil)
		synctest.Wait()
		require.EqualValues(t, 3, endOffset(t, broker, "orders", 0))
		require.NoError(t, p.Flush(t.Context()), "nor does Flush")
		require.Zero(t, time.Since(began))
		require.EqualValues(t, 4, endOffset(t, broker, "orders", 0))
	})
}

// Who waits for room is served in turn; a batch that lingers meanwhile is sent.
func TestBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker, p := produceOn(t, topic.Spec{Name: "orders", Partitions: 2}, producer.Linger(time.Hour),
			producer.BatchBytes(100), producer.BufferBytes(100), producer.Partitioner(topic.ManualPartitioner))
		began := time.Now()
		for n := range 10 {
			p.SendAsync(t.Context(), record.Record{Topic: "orders", Partition: int32(n % 2)}, nil)
		}
		require.Zero(t, time.Since(began))
		require.NoError(t, p.Flush(t.Context()))
		require.EqualValues(t, 5, endOffset(t, broker, "orders", 0))
		require.EqualValues(t, 5, endOffset(t, broker, "orders", 1))
	})
}

func TestContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker, p := produceOn(t, topic.Spec{Name: "orders"}, producer.Linger(time.Hour))
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := p.Send(ended, record.Record{Topic: "orders"})
		require.Equal(t, context.Canceled, err, "ctx's own error: not accepted")
		told := make(chan error, 1)
		p.SendAsync(ended, record.Record{Topic: "orders"}, func(_ record.Position, err error) { told <- err })
		require.Equal(t, context.Canceled, <-told)

		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		at, err := p.Send(short, record.Record{Topic: "orders"})
		require.ErrorIs(t, err, fault.UnknownOutcome)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.EqualValues(t, -1, at.Offset)
		require.NoError(t, p.Flush(t.Context()))
		require.EqualValues(t, 1, endOffset(t, broker, "orders", 0), "it was written nevertheless")
	})
}

func TestRecordsLargerThanABatch(t *testing.T) {
	broker, p := produceOn(t, topic.Spec{Name: "orders", Config: topic.Config{MaxMessageBytes: 5000}},
		producer.BatchBytes(200), producer.BufferBytes(1<<20))
	large := make([]byte, 4000)
	for n := range byte(5) {
		large[0] = n
		p.SendAsync(t.Context(), record.Record{Topic: "orders", Value: large[:1]}, nil)
		p.SendAsync(t.Context(), record.Record{Topic: "orders", Value: large}, nil)
	}
	require.NoError(t, p.Flush(t.Context()))
	for n, r := range consume(t, broker, "orders", 10) {
		require.EqualValues(t, n/2, r.Value[0])
	}
	_, err := p.Send(t.Context(), record.Record{Topic: "orders", Value: make([]byte, 6000)})
	require.ErrorIs(t, err, fault.RecordTooLarge)
	require.ErrorContains(t, err, "orders-0")
	p.SendAsync(t.Context(), record.Record{Topic: "orders", Value: make([]byte, 2<<20)}, nil)
	require.ErrorIs(t, p.Flush(t.Context()), fault.RecordTooLarge)
	require.NoError(t, p.Flush(t.Context()), "a failure is reported once")

	// What is small enough once it is compressed is accepted.
	zipped, err := producer.New(broker, producer.Compression(record.Zstd))
	require.NoError(t, err)
	defer zipped.Close()
	_, err = zipped.Send(t.Context(), record.Record{Topic: "orders", Value: make([]byte, 100_000)})
	require.NoError(t, err)
}

func TestMaxMessageBytesBoundsBatches(t *testing.T) {
	broker, p := produceOn(t, topic.Spec{Name: "orders", Config: topic.Config{MaxMessageBytes: 1000}}, producer.Linger(time.Hour))
	for range 100 {
		p.SendAsync(t.Context(), record.Record{Topic: "orders", Value: make([]byte, 100)}, nil)
	}
	require.NoError(t, p.Flush(t.Context()))
	require.EqualValues(t, 100, endOffset(t, broker, "orders", 0))
}

func TestAcksNone(t *testing.T) {
	broker, p := produceOn(t, topic.Spec{Name: "orders"}, producer.RequireAcks(producer.AcksNone), producer.Linger(time.Hour))
	at, err := p.Send(t.Context(), record.Record{Topic: "orders"})
	require.NoError(t, err)
	require.EqualValues(t, -1, at.Offset)
	told := make(chan record.Position, 1)
	p.SendAsync(t.Context(), record.Record{Topic: "orders"}, func(at record.Position, err error) { told <- at })
	require.NoError(t, p.Flush(t.Context()))
	require.EqualValues(t, -1, (<-told).Offset)
	require.EqualValues(t, 2, endOffset(t, broker, "orders", 0))
}

func TestCloseNowFailsWhatIsUnacknowledged(t *testing.T) {
	broker, p := produceOn(t, topic.Spec{Name: "orders"}, producer.Linger(time.Hour))
	var errs []error
	for range 3 {
		p.SendAsync(t.Context(), record.Record{Topic: "orders"}, func(_ record.Position, err error) { errs = append(errs, err) })
	}
	require.NoError(t, p.CloseNow())
	require.Len(t, errs, 3, "by the time CloseNow returns")
	for _, err := range errs {
		require.ErrorIs(t, err, fault.Closed)
	}
	require.Zero(t, endOffset(t, broker, "orders", 0))
	_, err := p.Send(t.Context(), record.Record{Topic: "orders"})
	require.ErrorIs(t, err, fault.Closed)
	require.ErrorIs(t, p.Flush(t.Context()), fault.Closed)
	require.NoError(t, p.Close())
}

// Close at any moment: everything sent completes once, and nothing afterwards.
func TestCloseWhileSending(t *testing.T) {
	for _, d := range []topic.Durability{topic.Memory, topic.Fsync} {
		for round := range 10 {
			broker, p := produceOn(t, topic.Spec{Name: "orders", Config: topic.Config{Durability: d}},
				producer.BatchBytes(300), producer.BufferBytes(900))
			const senders = 4
			var wg sync.WaitGroup
			var sent [senders]int64
			var told [senders]atomic.Int64 // what was not accepted is counted by its sender
			closed := make(chan struct{})
			for s := range senders {
				wg.Go(func() {
					for {
						select {
						case <-closed:
							return
						default:
						}
						sent[s]++
						p.SendAsync(context.Background(), record.Record{Topic: "orders", Value: []byte("value")}, func(record.Position, error) { told[s].Add(1) })
					}
				})
			}
			for range round * 20 {
				_, _ = p.Send(t.Context(), record.Record{Topic: "orders"})
			}
			if round%2 == 0 {
				require.NoError(t, p.Close())
			} else {
				require.NoError(t, broker.Close())
			}
			close(closed)
			wg.Wait()
			for s := range senders {
				require.Equal(t, sent[s], told[s].Load())
			}
		}
	}
}

func TestDeletingATopicWhileSending(t *testing.T) {
	broker, p := produceOn(t, topic.Spec{Name: "orders"}, producer.BatchBytes(300))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := p.Send(context.Background(), record.Record{Topic: "orders"}); err != nil && !errors.Is(err, fault.UnknownTopic) {
					t.Error(err)
				}
				p.SendAsync(context.Background(), record.Record{Topic: "orders"}, func(_ record.Position, err error) {
					if err != nil && !errors.Is(err, fault.UnknownTopic) {
						t.Error(err)
					}
				})
			}
		})
	}
	for range 20 {
		require.NoError(t, broker.DeleteTopics(t.Context(), "orders"))
		require.NoError(t, broker.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	}
	close(stop)
	wg.Wait()
	at, err := p.Send(t.Context(), record.Record{Topic: "orders"})
	require.NoError(t, err, "the new topic is found")
	require.Equal(t, endOffset(t, broker, "orders", 0), at.Offset+1)
	require.NoError(t, broker.DeleteTopics(t.Context(), "orders"))
	_, err = p.Send(t.Context(), record.Record{Topic: "orders"})
	require.ErrorIs(t, err, fault.UnknownTopic)
}

func TestAddedPartitionsAreUsed(t *testing.T) {
	broker, p := produceOn(t, topic.Spec{Name: "orders"}, producer.Partitioner(topic.ManualPartitioner))
	_, err := p.Send(t.Context(), record.Record{Topic: "orders", Partition: 1})
	require.ErrorIs(t, err, fault.UnknownTopic)
	require.NoError(t, broker.AddPartitions(t.Context(), "orders", 2))
	at, err := p.Send(t.Context(), record.Record{Topic: "orders", Partition: 1})
	require.NoError(t, err)
	require.Equal(t, "orders-1@0", at.String())
}

func TestCompressions(t *testing.T) {
	for _, c := range []record.Compression{record.None, record.Gzip, record.Snappy, record.LZ4, record.Zstd} {
		t.Run(c.String(), func(t *testing.T) {
			broker, p := produceOn(t, topic.Spec{Name: "orders"}, producer.Compression(c), producer.Linger(time.Hour), producer.BatchBytes(1<<12))
			for n := range 500 {
				p.SendAsync(t.Context(), record.Record{Topic: "orders", Value: []byte(strings.Repeat(fmt.Sprint(n), 5))}, nil)
			}
			// What doesn't compress grows beyond its buffer.
			noise := make([]byte, 4000)
			for i := range noise {
				noise[i] = byte(i * i >> 3 * i)
			}
			p.SendAsync(t.Context(), record.Record{Topic: "orders", Value: noise}, nil)
			require.NoError(t, p.Flush(t.Context()))
			records := consume(t, broker, "orders", 501)
			for n, r := range records[:500] {
				require.Equal(t, strings.Repeat(fmt.Sprint(n), 5), string(r.Value))
			}
			require.Equal(t, noise, records[500].Value)
		})
	}
}

func TestSendingAllocatesNextToNothing(t *testing.T) {
	_, p := produceOn(t, topic.Spec{Name: "orders"})
	r := record.Record{Topic: "orders", Key: make([]byte, 16), Value: make([]byte, 100)}
	fn := func(record.Position, error) {}
	ctx := t.Context()
	for range 10_000 {
		p.SendAsync(ctx, r, fn)
	}
	allocs := testing.AllocsPerRun(10, func() {
		for range 10_000 {
			p.SendAsync(ctx, r, fn)
		}
		_ = p.Flush(ctx)
	})
	require.Less(t, allocs/10_000, 0.05)
}

// consume returns a topic's records from the start, n of them, each partition's
// in order.
func consume(t *testing.T, b *runnel.Broker, name string, n int) []record.Record {
	t.Helper()
	d, err := b.DescribeTopics(t.Context(), name)
	require.NoError(t, err)
	c, err := consumer.New(b, consumer.Assign(d[0].TopicPartitions()...))
	require.NoError(t, err)
	defer c.Close()
	var records []record.Record
	for len(records) < n {
		batch, err := c.Poll(t.Context())
		require.NoError(t, err)
		records = append(records, batch...)
	}
	require.Len(t, records, n)
	return records
}
