package backendtest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/topic"
)

// runningTests are for consumer.Run.
var runningTests = []test{
	{"handles records side by side, in the order of their keys, and writes dead letters", func(s *suite) {
		s.still()
		orders := serde.For(s.topic(2, topic.Config{}), serde.String, serde.Int64)
		dead, group := s.topic(1, topic.Config{}), s.name()
		p := s.newProducer()
		last := map[int32]int64{}
		var poison record.Position
		for i := range int64(60) {
			at, err := producer.To(p, orders).Send(s.ctx, fmt.Sprint("key ", i%7), i)
			require.NoError(s, err)
			if last[at.Partition] = at.Offset; i == 20 {
				poison = at
			}
		}
		ctx, cancel := context.WithCancel(s.ctx)
		defer cancel()
		var mu sync.Mutex
		seen, tries, letters, failed := map[string][]int64{}, 0, 0, false
		over := func() {
			if count(seen)+letters == 60 {
				cancel()
			}
		}
		c := s.newConsumer(consumer.Group(group), consumer.Topics(orders.Name), consumer.MaxRecords(10))
		err := consumer.Run(ctx, c, consumer.Handle(orders, func(_ context.Context, r consumer.Record[string, int64]) error {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case r.Value == 20:
				tries++
				return errors.New("poisoned")
			case r.Value == 2 && !failed:
				failed = true
				return errors.New("once")
			}
			seen[r.Key] = append(seen[r.Key], r.Value)
			over()
			return nil
		}), consumer.Concurrency(8), consumer.Attempts(2), consumer.Backoff(1, 1), consumer.InFlight(20, 1<<20), consumer.DeadLetters(sender(func(ctx context.Context, r record.Record) (record.Position, error) {
			at, err := p.Send(ctx, r)
			mu.Lock()
			defer mu.Unlock()
			letters++
			over()
			return at, err
		}), dead))
		require.NoError(s, err)
		require.Equal(s, 2, tries)
		require.Equal(s, 1, letters)
		for key, values := range seen {
			for i := 1; i < len(values); i++ {
				require.Less(s, values[i-1], values[i], key)
			}
		}
		committed, err := c.Committed(s.ctx, tps(orders.Name, 0, 1)...)
		require.NoError(s, err)
		for partition, offset := range last {
			require.Equal(s, offset+1, committed[tp(orders.Name, partition)].Offset)
		}
		letter := s.fetch(s.assigned(dead, 0), 1)[0]
		require.Equal(s, "key 6", string(letter.Key))
		for header, want := range map[string]string{
			consumer.HeaderTopic: poison.Topic, consumer.HeaderPartition: fmt.Sprint(poison.Partition),
			consumer.HeaderOffset: fmt.Sprint(poison.Offset), consumer.HeaderAttempts: "2", consumer.HeaderMessage: "poisoned",
		} {
			got, _ := letter.Header(header)
			require.Equal(s, want, string(got), header)
		}
	}},
	{"finishes what runs when the consumer is closed, and leaves the rest", func(s *suite) {
		s.still()
		name, group := s.topic(1, topic.Config{}), s.name()
		s.sendMany(name, 1, 10)
		c := s.newConsumer(consumer.Group(group), consumer.Topics(name))
		begun, finish := make(chan struct{}, 10), make(chan struct{})
		ended := make(chan error)
		go func() {
			ended <- consumer.Run(s.ctx, c, func(_ context.Context, r record.Record) error {
				if s.number(r.Offset) < 3 {
					return nil
				}
				begun <- struct{}{}
				<-finish
				return nil
			}, consumer.Concurrency(2))
		}()
		<-begun
		<-begun
		closed := make(chan error)
		go func() { closed <- c.Close() }()
		close(finish)
		require.NoError(s, <-closed)
		require.ErrorIs(s, <-ended, fault.Closed)
		committed, err := s.GroupOffsets(s.ctx, group)
		require.NoError(s, err)
		next := s.number(committed[tp(name, 0)].Offset)
		require.GreaterOrEqual(s, next, 5, "two were running")
		if next < 10 {
			c = s.newConsumer(consumer.Group(group), consumer.Topics(name))
			require.Equal(s, fmt.Sprint(next), s.poll(c, 10-next)[0])
		}
	}},
	{"shares partitions with another member, and commits nothing that is unfinished", func(s *suite) {
		s.still()
		const n = 30
		name, group := s.topic(2, topic.Config{}), s.name()
		s.sendMany(name, 2, n)
		var mu sync.Mutex
		handled, all := map[record.Position]bool{}, make(chan struct{})
		joined, first, second := make(chan struct{}), make(chan struct{}), make(chan struct{})
		handle := func(_ context.Context, r record.Record) error {
			<-joined
			mu.Lock()
			defer mu.Unlock()
			if handled[r.Position()] = true; len(handled) == 2*n {
				select {
				case <-all:
				default:
					close(all)
				}
			}
			return nil
		}
		ctx, cancel := context.WithCancel(s.ctx)
		defer cancel()
		var members sync.WaitGroup
		member := func(opts ...consumer.Option) {
			c := s.newConsumer(append(opts, consumer.Group(group), consumer.Topics(name), consumer.MaxRecords(5))...)
			members.Go(func() {
				if err := consumer.Run(ctx, c, handle, consumer.Concurrency(4), consumer.InFlight(6, 1<<20)); err != nil {
					s.Error(err)
				}
			})
		}
		assigned := func(told chan struct{}) consumer.Option {
			tell := sync.OnceFunc(func() { close(told) })
			return consumer.OnAssigned(func([]record.TopicPartition) { tell() })
		}
		member(assigned(first))
		<-first
		member(assigned(second))
		close(joined)
		<-second
		<-all
		cancel()
		members.Wait()
		committed, err := s.GroupOffsets(s.ctx, group)
		require.NoError(s, err)
		for _, tp := range tps(name, 0, 1) {
			for i := range s.number(committed[tp].Offset) {
				require.True(s, handled[s.position(tp.Topic, tp.Partition, i)])
			}
		}
	}},
}

// sender is a function as a consumer.Sender.
type sender func(ctx context.Context, r record.Record) (record.Position, error)

func (f sender) Send(ctx context.Context, r record.Record) (record.Position, error) { return f(ctx, r) }

// count returns how many values there are.
func count(seen map[string][]int64) (n int) {
	for _, values := range seen {
		n += len(values)
	}
	return n
}
