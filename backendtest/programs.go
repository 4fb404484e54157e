package backendtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/topic"
)

// programTests use a backend like programs do, through packages producer and
// consumer.
var programTests = []test{
	{"send and read typed records", func(s *suite) {
		users := serde.For(s.topic(2, topic.Config{}), serde.String, serde.Int64)
		p := s.newProducer()
		out := producer.To(p, users)
		for i, name := range []string{"alice", "bob", "alice", "carol"} {
			_, err := out.Send(s.ctx, name, int64(i))
			require.NoError(s, err)
		}
		_, err := out.Delete(s.ctx, "bob")
		require.NoError(s, err)

		c := s.newConsumer(consumer.Group(s.name()), consumer.Topics(users.Name))
		last := map[string]string{}
		n := 0
		for r, err := range consumer.Of(c, users).Records(s.ctx) {
			require.NoError(s, err)
			last[r.Key] = fmt.Sprint(r.Value, r.HasValue)
			if n++; n == 5 {
				break
			}
		}
		require.Equal(s, map[string]string{"alice": "2 true", "bob": "0 false", "carol": "3 true"}, last)
	}},
	{"send with a producer for one record, and read with a consumer for one loop", func(s *suite) {
		words, group := serde.For(s.topic(1, topic.Config{}), serde.String, serde.String), s.name()
		for i, word := range []string{"one", "two", "three"} {
			at, err := producer.Send(s.ctx, s.Backend, words, "key", word)
			require.NoError(s, err)
			s.isAt(at, words.Name, 0, i)
		}
		ctx, cancel := context.WithCancel(s.ctx)
		defer cancel()
		for r, err := range consumer.Records(ctx, s.Backend, words, consumer.Group(group)) {
			require.NoError(s, err)
			if r.Value == "two" {
				cancel() // the loop ends by itself: this record is done
			}
		}
		for r, err := range consumer.Records(s.ctx, s.Backend, words, consumer.Group(group)) {
			require.NoError(s, err)
			require.Equal(s, "three", r.Value, "the group goes on behind what was done")
			break
		}
	}},
	{"hand over the bytes of a record that cannot be decoded, and go on behind it", func(s *suite) {
		name := s.topic(1, topic.Config{})
		p := s.newProducer()
		for _, value := range []string{"1", "one", "2"} {
			_, err := p.Send(s.ctx, record.Record{Topic: name, Key: []byte("k"), Value: []byte(value)})
			require.NoError(s, err)
		}
		c := s.newConsumer(consumer.Group(s.name()), consumer.Topics(name))
		var seen []string
		for r, err := range consumer.Of(c, serde.For(name, serde.String, serde.JSON[int]())).Records(s.ctx) {
			switch failed := (*consumer.DecodeError)(nil); {
			case errors.As(err, &failed):
				require.ErrorIs(s, err, fault.Serialization)
				s.isAt(failed.Raw.Position(), name, 0, 1)
				seen = append(seen, string(failed.Raw.Key)+"="+string(failed.Raw.Value))
			default:
				require.NoError(s, err)
				seen = append(seen, fmt.Sprint(r.Value))
			}
			if len(seen) == 3 {
				break
			}
		}
		require.Equal(s, []string{"1", "k=one", "2"}, seen)
	}},
	{"put equal keys into the partition that Kafka puts them into", func(s *suite) {
		name := s.topic(5, topic.Config{})
		p := s.newProducer()
		for i := range 100 {
			key := []byte(fmt.Sprint("key ", i%20))
			at, err := p.Send(s.ctx, record.Record{Topic: name, Key: key})
			require.NoError(s, err)
			require.Equal(s, topic.PartitionForKey(key, 5), at.Partition)
		}
	}},
	{"go on where the group stopped, and mark only what was asked beyond", func(s *suite) {
		name, group := s.topic(1, topic.Config{}), s.name()
		s.sendMany(name, 1, 10)
		read := func(n int) (seen []string) {
			c := s.newConsumer(consumer.Group(group), consumer.Topics(name))
			for r, err := range c.Records(s.ctx) {
				require.NoError(s, err)
				if seen = append(seen, string(r.Value)); len(seen) == n {
					break
				}
			}
			require.NoError(s, c.Close())
			return seen
		}
		require.Equal(s, []string{"0", "1", "2", "3"}, read(4))
		// The loop did not ask for the record after 3, so 3 is not done.
		require.Equal(s, []string{"3", "4"}, read(2))
		require.Equal(s, []string{"4", "5", "6", "7", "8", "9"}, read(6))
	}},
	{"read from the end, and know their lag", func(s *suite) {
		s.still()
		name := s.topic(1, topic.Config{})
		s.sendMany(name, 1, 10)
		c := s.newConsumer(consumer.Assign(tp(name, 0)), consumer.FromEnd())
		s.send(name, 0, "a", "b", "c")
		lag, err := c.Lag(s.ctx)
		require.NoError(s, err)
		require.EqualValues(s, 3, lag[tp(name, 0)])
		seen := s.poll(c, 3)
		require.Equal(s, []string{"a", "b", "c"}, seen)
		lag, err = c.Lag(s.ctx)
		require.NoError(s, err)
		require.Zero(s, lag[tp(name, 0)])
	}},
	{"commit by hand, with metadata", func(s *suite) {
		s.still()
		name, group := s.topic(1, topic.Config{}), s.name()
		s.sendMany(name, 1, 10)
		c := s.newConsumer(consumer.Group(group), consumer.Topics(name), consumer.ManualCommit(), consumer.MaxRecords(3))
		s.poll(c, 3)
		require.NoError(s, c.Commit(s.ctx))
		s.poll(c, 3)
		require.NoError(s, c.CommitOffsets(s.ctx, map[record.TopicPartition]consumer.Offset{
			tp(name, 0): {Offset: s.at(5), LeaderEpoch: -1, Metadata: "by hand"},
		}))
		committed, err := c.Committed(s.ctx, tp(name, 0))
		require.NoError(s, err)
		require.Equal(s, "by hand", committed[tp(name, 0)].Metadata)
		require.NoError(s, c.Close())
		c = s.newConsumer(consumer.Group(group), consumer.Topics(name))
		require.Equal(s, []string{"5", "6", "7", "8", "9"}, s.poll(c, 5))
	}},
	{"go on where they began, though nothing came", func(s *suite) {
		name, group := s.topic(2, topic.Config{}), s.name()
		s.sendMany(name, 2, 3)
		fromEnd := []consumer.Option{consumer.Group(group), consumer.Topics(name), consumer.FromEnd()}
		quiet, cancel := context.WithCancel(s.ctx)
		assigned := make(chan struct{}, 10)
		c := s.newConsumer(append(fromEnd, consumer.OnAssigned(func([]record.TopicPartition) { assigned <- struct{}{} }))...)
		go func() {
			<-assigned
			cancel()
		}()
		_, err := c.Poll(quiet)
		require.ErrorIs(s, err, context.Canceled)
		require.NoError(s, c.Close())
		s.send(name, 1, "while no consumer reads")
		c = s.newConsumer(fromEnd...)
		require.Equal(s, []string{"while no consumer reads"}, s.poll(c, 1))
	}},
	{"go on where a reset brought them", func(s *suite) {
		s.still()
		name, group := s.topic(1, topic.Config{}), s.name()
		s.sendMany(name, 1, 10)
		require.NoError(s, s.SetGroupOffsets(s.ctx, group, map[record.TopicPartition]consumer.Offset{tp(name, 0): {Offset: s.at(2), LeaderEpoch: -1}}))
		_, err := s.DeleteRecords(s.ctx, map[record.TopicPartition]int64{tp(name, 0): s.at(10)})
		require.NoError(s, err)
		options := []consumer.Option{consumer.Group(group), consumer.Topics(name), consumer.FromEnd(), consumer.ManualCommit()}
		c := s.newConsumer(options...)
		_, err = c.Poll(s.ctx)
		require.ErrorIs(s, err, fault.OffsetOutOfRange)
		require.NoError(s, c.Commit(s.ctx))
		committed, err := s.GroupOffsets(s.ctx, group)
		require.NoError(s, err)
		require.Equal(s, s.at(10)+s.deletion(), committed[tp(name, 0)].Offset)
		require.NoError(s, c.Close())
		s.send(name, 0, "a", "b", "c")
		c = s.newConsumer(options...)
		require.Equal(s, []string{"a", "b", "c"}, s.poll(c, 3))
	}},
	{"report the true outcome of an asynchronous commit", func(s *suite) {
		s.still()
		name, group := s.topic(1, topic.Config{}), s.name()
		s.sendMany(name, 1, 200)
		var mu sync.Mutex
		told := map[int64]error{}
		c := s.newConsumer(consumer.Group(group), consumer.Topics(name), consumer.ManualCommit(), consumer.MaxRecords(1))
		last := int64(0)
		for range 200 {
			batch, err := c.Poll(s.ctx)
			require.NoError(s, err)
			next := batch[0].Offset + 1
			last = next
			c.CommitAsync(func(err error) {
				mu.Lock()
				defer mu.Unlock()
				told[next] = err
			})
		}
		require.NoError(s, c.Close())
		committed, err := s.GroupOffsets(s.ctx, group)
		require.NoError(s, err)
		require.Len(s, told, 200)
		for next, err := range told {
			require.NoError(s, err, "up to %d", next)
		}
		require.Equal(s, last, committed[tp(name, 0)].Offset)
	}},
	{"end silently when their context ends", func(s *suite) {
		name := s.topic(1, topic.Config{})
		c := s.newConsumer(consumer.Group(s.name()), consumer.Topics(name))
		ctx, cancel := context.WithTimeout(s.ctx, 100*time.Millisecond)
		defer cancel()
		for r, err := range c.Records(ctx) {
			s.Errorf("%v, %v", r, err)
		}
	}},
	{"hear of topics that are not there", func(s *suite) {
		p := s.newProducer()
		_, err := p.Send(s.ctx, record.Record{Topic: s.name()})
		require.ErrorIs(s, err, fault.UnknownTopic)
		require.True(s, fault.Retriable(err))
		_, err = p.Send(s.ctx, record.Record{Topic: strings.Repeat("x", 300)})
		require.Error(s, err)
	}},
}

// newProducer opens a producer until the test ends.
func (s *suite) newProducer(opts ...producer.Option) *producer.Producer {
	s.Helper()
	p, err := producer.New(s, opts...)
	require.NoError(s, err)
	s.Cleanup(func() { _ = p.Close() })
	return p
}

// newConsumer opens a consumer until the test ends.
func (s *suite) newConsumer(opts ...consumer.Option) *consumer.Consumer {
	s.Helper()
	c, err := consumer.New(s, append([]consumer.Option{consumer.SessionTimeout(patience)}, opts...)...)
	require.NoError(s, err)
	s.Cleanup(func() { _ = c.Close() })
	return c
}

// poll polls until there are n records, requires exactly n, and returns their
// values.
func (s *suite) poll(c *consumer.Consumer, n int) []string {
	s.Helper()
	var seen []string
	for len(seen) < n {
		batch, err := c.Poll(s.ctx)
		require.NoError(s, err)
		seen = append(seen, values(batch)...)
	}
	require.Len(s, seen, n)
	return seen
}
