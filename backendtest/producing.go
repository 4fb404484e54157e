package backendtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// forever makes a session keep batches open until they are full or flushed.
func forever(cfg *producer.Config) { cfg.Linger = time.Hour }

var producingTests = []test{
	{"gives dense offsets, in order", func(s *suite) {
		name := s.topic(2, topic.Config{})
		_, w := s.writer(name)
		require.EqualValues(s, 2, w.Partitions())
		for i := range 20 {
			at, err := w.Send(s.ctx, record.Record{Topic: name, Partition: int32(i % 2), Value: []byte("x")})
			require.NoError(s, err)
			s.isAt(at, name, int32(i%2), i/2)
		}
	}},
	{"calls back in the order of offsets", func(s *suite) {
		const n, partitions = 5000, 3
		for _, c := range []record.Compression{record.None, record.LZ4} {
			name := s.topic(partitions, topic.Config{})
			p, w := s.writer(name, func(cfg *producer.Config) { cfg.Compression, cfg.BatchBytes = c, 10_000 })
			var told [partitions]outcomes
			for i := range n {
				for partition := range int32(partitions) {
					r := record.Record{Topic: name, Partition: partition, Value: []byte(fmt.Sprint(i))}
					w.SendAsync(s.ctx, r, told[partition].callback)
				}
			}
			require.NoError(s, p.Flush(s.ctx))
			for partition := range int32(partitions) {
				all := told[partition].take()
				require.Len(s, all, n)
				for i, o := range all {
					require.NoError(s, o.err)
					s.isAt(o.at, name, partition, i)
				}
				for i, r := range s.fetch(s.assigned(name, partition), n) {
					require.Equal(s, fmt.Sprint(i), string(r.Value))
					require.Equal(s, all[i].at, r.Position())
				}
			}
		}
	}},
	{"keeps every sender's order when many send at once", func(s *suite) {
		const senders, each = 8, 500
		name := s.topic(1, topic.Config{})
		p, w := s.writer(name)
		var told outcomes
		var wg sync.WaitGroup
		for sender := range senders {
			wg.Go(func() {
				for i := range each {
					r := record.Record{Topic: name, Key: []byte{byte(sender)}, Value: []byte(fmt.Sprint(i))}
					if i%100 == 0 {
						_, err := w.Send(s.ctx, r)
						told.callback(record.Position{Offset: -1}, err)
						continue
					}
					w.SendAsync(s.ctx, r, told.callback)
				}
			})
		}
		wg.Wait()
		require.NoError(s, p.Flush(s.ctx))
		last := int64(-1)
		for _, o := range told.take() {
			require.NoError(s, o.err)
			if o.at.Offset >= 0 {
				require.Greater(s, o.at.Offset, last)
				last = o.at.Offset
			}
		}
		var next [senders]int
		for i, r := range s.fetch(s.assigned(name, 0), senders*each) {
			s.isAt(r.Position(), name, 0, i)
			require.Equal(s, fmt.Sprint(next[r.Key[0]]), string(r.Value))
			next[r.Key[0]]++
		}
	}},
	{"without idempotence writes as well", func(s *suite) {
		s.still()
		name := s.topic(1, topic.Config{})
		plain := func(cfg *producer.Config) { cfg.Idempotent, cfg.BatchBytes = false, 1000 }
		p, w := s.writer(name, plain)
		var want []string
		for i := range 500 {
			want = append(want, fmt.Sprint(i))
			w.SendAsync(s.ctx, record.Record{Topic: name, Value: []byte(want[i])}, nil)
		}
		require.NoError(s, p.Flush(s.ctx))
		require.Equal(s, want, values(s.fetch(s.assigned(name, 0), len(want))))
	}},
	{"without acknowledgement knows no offsets", func(s *suite) {
		s.still()
		name := s.topic(1, topic.Config{})
		p, w := s.writer(name, func(cfg *producer.Config) { cfg.Acks = producer.AcksNone })
		at, err := w.Send(s.ctx, record.Record{Topic: name, Value: []byte("a")})
		require.NoError(s, err)
		require.Equal(s, record.Position{Topic: name, Offset: -1}, at)
		var told outcomes
		w.SendAsync(s.ctx, record.Record{Topic: name, Value: []byte("b")}, told.callback)
		require.NoError(s, p.Flush(s.ctx))
		require.Equal(s, []outcome{{record.Position{Topic: name, Offset: -1}, nil}}, told.take())
		require.Equal(s, []string{"a", "b"}, values(s.fetch(s.assigned(name, 0), 2)))
	}},
	{"with the leader's acknowledgement knows offsets", func(s *suite) {
		s.still()
		name := s.topic(1, topic.Config{})
		_, w := s.writer(name, func(cfg *producer.Config) { cfg.Acks = producer.AcksLeader })
		at, err := w.Send(s.ctx, record.Record{Topic: name, Value: []byte("a")})
		require.NoError(s, err)
		require.Equal(s, s.position(name, 0, 0), at)
	}},
	{"keeps a batch open while it lingers, until Flush", func(s *suite) {
		s.still()
		name := s.topic(1, topic.Config{})
		p, w := s.writer(name, forever)
		var told outcomes
		for range 10 {
			w.SendAsync(s.ctx, record.Record{Topic: name, Value: []byte("x")}, told.callback)
		}
		s.ledTopic(name)
		latest, err := s.ListOffsets(s.ctx, topic.Latest(), tp(name, 0))
		require.NoError(s, err)
		require.Equal(s, s.at(0), latest[tp(name, 0)].Offset)
		require.Empty(s, told.take())
		require.NoError(s, p.Flush(s.ctx))
		require.Len(s, told.take(), 10)
	}},
	{"sends a full batch though it lingers", func(s *suite) {
		name := s.topic(1, topic.Config{})
		_, w := s.writer(name, forever, func(cfg *producer.Config) { cfg.BatchBytes = 2000 })
		first := make(chan error, 1)
		for i := range 100 {
			var fn producer.Callback
			if i == 0 {
				fn = func(_ record.Position, err error) { first <- err }
			}
			w.SendAsync(s.ctx, record.Record{Topic: name, Value: make([]byte, 100)}, fn)
		}
		select {
		case err := <-first:
			require.NoError(s, err)
		case <-s.ctx.Done():
			s.Fatal("no batch was sent")
		}
	}},
	{"waits for room in a small buffer", func(s *suite) {
		const n = 2000
		name := s.topic(2, topic.Config{})
		p, w := s.writer(name, forever, func(cfg *producer.Config) { cfg.BatchBytes, cfg.BufferBytes = 16<<10, 64<<10 })
		var told outcomes
		for i := range n {
			w.SendAsync(s.ctx, record.Record{Topic: name, Partition: int32(i % 2), Value: make([]byte, 500)}, told.callback)
		}
		require.NoError(s, p.Flush(s.ctx))
		all := told.take()
		require.Len(s, all, n)
		for _, o := range all {
			require.NoError(s, o.err)
		}
	}},
	{"does not begin when ctx has ended", func(s *suite) {
		name := s.topic(1, topic.Config{})
		p, w := s.writer(name)
		ctx, cancel := context.WithCancel(s.ctx)
		cancel()
		_, err := w.Send(ctx, record.Record{Topic: name, Value: []byte("x")})
		require.ErrorIs(s, err, context.Canceled)
		var told outcomes
		w.SendAsync(ctx, record.Record{Topic: name, Value: []byte("x")}, told.callback)
		require.NoError(s, p.Flush(s.ctx))
		require.Len(s, told.take(), 1)
		require.ErrorIs(s, told.take()[0].err, context.Canceled)
		at, err := w.Send(s.ctx, record.Record{Topic: name, Value: []byte("y")})
		require.NoError(s, err)
		s.isAt(at, name, 0, 0)
	}},
	{"does not take back what was accepted when ctx ends", func(s *suite) {
		s.still()
		name := s.topic(1, topic.Config{})
		p, w := s.writer(name, forever)
		ctx, cancel := context.WithCancel(s.ctx)
		var told outcomes
		w.SendAsync(ctx, record.Record{Topic: name, Value: []byte("x")}, told.callback)
		cancel()
		require.NoError(s, p.Flush(s.ctx))
		require.Equal(s, []outcome{{s.position(name, 0, 0), nil}}, told.take())
	}},
	{"says that it does not know the outcome when ctx ends while waiting", func(s *suite) {
		name := s.topic(1, topic.Config{})
		p, w := s.writer(name, forever)
		var err error
		for wait := 20 * time.Millisecond; ; wait *= 2 {
			ctx, cancel := context.WithTimeout(s.ctx, wait)
			_, err = w.Send(ctx, record.Record{Topic: name, Value: []byte("x")})
			cancel()
			if err == nil || errors.Is(err, fault.UnknownOutcome) { // a backend may send early for a call that waits
				break
			}
			require.ErrorIs(s, err, context.DeadlineExceeded, "it has not begun")
		}
		require.NoError(s, p.Flush(s.ctx))
		require.Equal(s, []string{"x"}, values(s.fetch(s.assigned(name, 0), 1)))
	}},
	{"appends whole batches, in order with single records", func(s *suite) {
		name := s.topic(1, topic.Config{})
		p, w := s.writer(name, forever)
		codec := record.NewCodec(0)
		var told outcomes
		var want []string
		for i, c := range compressions {
			single := fmt.Sprintf("single %d", i)
			w.SendAsync(s.ctx, record.Record{Topic: name, Value: []byte(single)}, told.callback)
			want = append(want, single)
			b := record.NewBuilder(1 << 20)
			for j := range 3 {
				value := fmt.Sprintf("batch %d record %d", i, j)
				headers := []record.Header{{Key: "h", Value: []byte{byte(j)}}}
				require.True(s, b.Add(int64(1000+j), []byte("k"), []byte(value), headers))
				want = append(want, value)
			}
			batch, err := b.Batch(codec, c, 0)
			require.NoError(s, err)
			w.Append(s.ctx, 0, &batch, told.callback)
			clear(batch.Bytes) // the bytes are the caller's again
		}
		require.NoError(s, p.Flush(s.ctx))
		for i, o := range told.take() {
			require.NoError(s, o.err)
			s.isAt(o.at, name, 0, i/2*4+i%2)
		}
		got := s.fetch(s.assigned(name, 0), len(want))
		require.Equal(s, want, values(got))
		require.EqualValues(s, 1002, got[3].Timestamp.UnixMilli())
		require.Equal(s, []record.Header{{Key: "h", Value: []byte{2}}}, got[3].Headers)
	}},
	{"to an unknown topic or partition is an error", func(s *suite) {
		p := s.producer()
		_, err := p.Topic(s.ctx, s.name())
		require.ErrorIs(s, err, fault.UnknownTopic)
		for _, internal := range []string{topic.ConsumerOffsets, topic.TransactionState} {
			_, err = p.Topic(s.ctx, internal)
			require.ErrorIs(s, err, fault.InvalidTopic, "the backend's own")
		}

		name := s.topic(1, topic.Config{})
		w, err := p.Topic(s.ctx, name)
		require.NoError(s, err)
		for _, partition := range []int32{-1, 1, 1000} {
			_, err = w.Send(s.ctx, record.Record{Topic: name, Partition: partition})
			require.ErrorIs(s, err, fault.UnknownTopic, "partition %d", partition)
		}
	}},
	{"reports failures without a callback through Flush, once", func(s *suite) {
		name := s.topic(1, topic.Config{MaxMessageBytes: 2000})
		p, w := s.writer(name)
		w.SendAsync(s.ctx, record.Record{Topic: name, Value: make([]byte, 5000)}, nil)
		require.ErrorIs(s, p.Flush(s.ctx), fault.RecordTooLarge)
		require.NoError(s, p.Flush(s.ctx))
		w.SendAsync(s.ctx, record.Record{Topic: name, Value: make([]byte, 5000)}, func(record.Position, error) {})
		require.NoError(s, p.Flush(s.ctx))
	}},
	{"fails what is unacknowledged when it is closed", func(s *suite) {
		name := s.topic(1, topic.Config{})
		p, w := s.writer(name, forever)
		var told outcomes
		for range 10 {
			w.SendAsync(s.ctx, record.Record{Topic: name, Value: []byte("x")}, told.callback)
		}
		require.NoError(s, p.Close())
		all := told.take()
		require.Len(s, all, 10)
		for _, o := range all {
			require.ErrorIs(s, o.err, fault.Closed)
		}
		require.NoError(s, p.Close())
		_, err := w.Send(s.ctx, record.Record{Topic: name})
		require.ErrorIs(s, err, fault.Closed)
		w.SendAsync(s.ctx, record.Record{Topic: name}, told.callback)
		require.Len(s, told.take(), 11)
		require.ErrorIs(s, told.take()[10].err, fault.Closed)
		_, err = p.Topic(s.ctx, name)
		require.ErrorIs(s, err, fault.Closed)
		require.ErrorIs(s, p.Flush(s.ctx), fault.Closed)
	}},
	{"may be closed at any moment", func(s *suite) {
		for round := range 10 {
			name := s.topic(1, topic.Config{})
			p, w := s.writer(name)
			var sent, told, late atomic.Int64
			var closed atomic.Bool
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for range 500 {
						sent.Add(1)
						w.SendAsync(s.ctx, record.Record{Topic: name, Value: []byte("x")}, func(_ record.Position, err error) {
							told.Add(1)
							if err == nil && closed.Load() {
								late.Add(1)
							}
						})
					}
				})
			}
			for told.Load() < int64(round*50) {
				require.NoError(s, p.Flush(s.ctx))
			}
			require.NoError(s, p.Close())
			closed.Store(true)
			wg.Wait()
			require.Equal(s, sent.Load(), told.Load())
			require.Zero(s, late.Load())
		}
	}},
}
