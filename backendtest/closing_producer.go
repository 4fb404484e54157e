package backendtest

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// program returns a producer as programs use it.
func (s *suite) program(opts ...producer.Option) *producer.Producer {
	s.Helper()
	p, err := producer.New(s, opts...)
	require.NoError(s, err)
	s.Cleanup(func() { _ = p.CloseNow() })
	return p
}

var closingProducerTests = []test{
	{"loses nothing that was sent before Close", func(s *suite) {
		const n = 3000
		name := s.topic(1, topic.Config{})
		p := s.program(producer.Linger(time.Hour), producer.BatchBytes(10_000))
		var want []string
		var told atomic.Int64
		for i := range n {
			want = append(want, fmt.Sprint(i))
			var fn producer.Callback
			if i%2 == 0 {
				fn = func(_ record.Position, err error) {
					if err == nil {
						told.Add(1)
					}
				}
			}
			p.SendAsync(s.ctx, record.Record{Topic: name, Value: []byte(want[i])}, fn)
		}
		require.NoError(s, p.Close())
		require.EqualValues(s, n/2, told.Load(), "when Close returns")
		require.Equal(s, want, values(s.fetch(s.assigned(name, 0), n)))
		_, err := p.Send(s.ctx, record.Record{Topic: name})
		require.ErrorIs(s, err, fault.Closed)
		require.NoError(s, p.Close())
		require.NoError(s, p.CloseNow())
	}},
	{"gives up what is unacknowledged with CloseNow", func(s *suite) {
		name := s.topic(1, topic.Config{})
		p := s.program(producer.Linger(time.Hour))
		var told outcomes
		for range 10 {
			p.SendAsync(s.ctx, record.Record{Topic: name, Value: []byte("x")}, told.callback)
		}
		require.NoError(s, p.CloseNow())
		all := told.take()
		require.Len(s, all, 10)
		for _, o := range all {
			require.ErrorIs(s, o.err, fault.Closed)
		}
		require.NoError(s, p.Close())
	}},
	{"returns from Close the failures that were not reported", func(s *suite) {
		name := s.topic(1, topic.Config{MaxMessageBytes: 2000})
		p := s.program()
		p.SendAsync(s.ctx, record.Record{Topic: name, Value: make([]byte, 5000)}, nil)
		require.ErrorIs(s, p.Close(), fault.RecordTooLarge)
		require.NoError(s, p.Close(), "once")

		p = s.program(producer.Linger(time.Hour))
		p.SendAsync(s.ctx, record.Record{Topic: name, Value: []byte("x")}, nil)
		require.ErrorIs(s, p.CloseNow(), fault.Closed)
	}},
	{"closes when callbacks have returned", func(s *suite) {
		for _, how := range []func(*producer.Producer) error{(*producer.Producer).Close, (*producer.Producer).CloseNow} {
			name := s.topic(1, topic.Config{})
			p := s.program()
			began, hold := make(chan struct{}), make(chan struct{})
			var returned atomic.Bool
			p.SendAsync(s.ctx, record.Record{Topic: name, Value: []byte("x")}, func(record.Position, error) {
				close(began)
				<-hold
				returned.Store(true)
			})
			<-began
			closed := make(chan bool)
			go func() {
				_ = how(p)
				closed <- returned.Load()
			}()
			for range 100 {
				runtime.Gosched()
			}
			select {
			case <-closed:
				s.Fatal("Close has returned, and a callback runs")
			default:
			}
			close(hold)
			require.True(s, <-closed)
		}
	}},
	{"goes on when a callback ends its goroutine", func(s *suite) {
		for _, linger := range []time.Duration{0, time.Hour} {
			name := s.topic(2, topic.Config{})
			p := s.program(producer.Linger(linger), producer.Partitioner(topic.ManualPartitioner))
			var told atomic.Int64
			exit := func(record.Position, error) {
				told.Add(1)
				runtime.Goexit() // as a failed require does
			}
			for i := range 20 {
				p.SendAsync(s.ctx, record.Record{Topic: name, Partition: int32(i % 2), Value: []byte("x")}, exit)
			}
			require.NoError(s, p.Flush(s.ctx))
			require.EqualValues(s, 20, told.Load())
			if linger == 0 {
				_, err := p.Send(s.ctx, record.Record{Topic: name, Value: []byte("y")})
				require.NoError(s, err)
			}
			p.SendAsync(s.ctx, record.Record{Topic: name, Value: []byte("z")}, exit)
			require.NoError(s, p.Close())
			require.EqualValues(s, 21, told.Load())
		}
	}},
	{"returns a callback's panic from Flush, and goes on", func(s *suite) {
		name := s.topic(1, topic.Config{})
		p := s.program(producer.Linger(time.Hour))
		var told atomic.Int64
		bad := errors.New("bad")
		for range 5 {
			p.SendAsync(s.ctx, record.Record{Topic: name, Value: []byte("x")}, func(record.Position, error) {
				told.Add(1)
				panic(bad)
			})
		}
		err := p.Flush(s.ctx)
		require.ErrorIs(s, err, bad)
		require.ErrorContains(s, err, "a callback panicked: bad")
		require.ErrorContains(s, err, "closing_producer.go", "which is in the stack")
		require.EqualValues(s, 5, told.Load())
		p.SendAsync(s.ctx, record.Record{Topic: name, Value: []byte("x")}, func(record.Position, error) { panic("worse") })
		require.ErrorContains(s, p.Close(), "a callback panicked: worse")
		require.Len(s, s.fetch(s.assigned(name, 0), 6), 6)
	}},
	{"goes on when the callback of a whole batch ends its goroutine", func(s *suite) {
		name := s.topic(1, topic.Config{})
		p, w := s.writer(name)
		b := record.NewBuilder(1 << 10)
		b.Add(1, nil, []byte("v"), nil)
		batch, err := b.Batch(nil, record.None, 0)
		require.NoError(s, err)
		for range 3 {
			w.Append(s.ctx, 0, &batch, func(record.Position, error) { runtime.Goexit() })
		}
		require.NoError(s, p.Flush(s.ctx))
		require.NoError(s, p.Close())
		require.Len(s, s.fetch(s.assigned(name, 0), 3), 3)
	}},
}
