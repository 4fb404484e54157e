package backendtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// conflict requires that err is a conflict that names the partition, and returns it
// without place and epoch.
func (s *suite) conflict(err error, partition record.TopicPartition) producer.Conflict {
	s.Helper()
	require.ErrorIs(s, err, fault.PreconditionFailed)
	require.False(s, fault.Retriable(err))
	c, ok := errors.AsType[*producer.Conflict](err)
	require.True(s, ok, "%v", err)
	require.Equal(s, partition, record.TopicPartition{Topic: c.Topic, Partition: c.Partition})
	return producer.Conflict{Key: c.Key, Want: c.Want, Have: c.Have}
}

var preconditionTests = []test{
	{"are refused with a reason where there are none", func(s *suite) {
		if s.features.Preconditions {
			return
		}
		name := s.topic(1, topic.Config{})
		_, w := s.writer(name)
		_, err := w.SendIf(s.ctx, record.Record{Topic: name, Value: []byte("x")}, producer.IfEndAt(0))
		require.ErrorIs(s, err, fault.UnsupportedVersion)
	}},
	{"may demand where the partition ends", func(s *suite) {
		if !s.features.Preconditions {
			return
		}
		name := s.topic(2, topic.Config{})
		p, w := s.writer(name, forever)
		send := func(value string, end int64) (record.Position, error) {
			return w.SendIf(s.ctx, record.Record{Topic: name, Partition: 1, Value: []byte(value)}, producer.IfEndAt(end))
		}
		at, err := send("a", s.at(0))
		require.NoError(s, err)
		require.Equal(s, s.position(name, 1, 0), at)
		at, err = send("b", s.at(0))
		require.Equal(s, producer.Conflict{Want: s.at(0), Have: s.at(1)}, s.conflict(err, tp(name, 1)))
		require.EqualValues(s, -1, at.Offset)
		_, err = send("c", s.at(7))
		require.Equal(s, producer.Conflict{Want: s.at(7), Have: s.at(1)}, s.conflict(err, tp(name, 1)))

		// What was sent before comes before, though it lingers; what is sent behind a refusal is
		// not affected.
		w.SendAsync(s.ctx, record.Record{Topic: name, Partition: 1, Value: []byte("d")}, nil)
		_, err = send("e", s.at(1))
		require.Equal(s, producer.Conflict{Want: s.at(1), Have: s.at(2)}, s.conflict(err, tp(name, 1)))
		at, err = send("f", s.at(2))
		require.NoError(s, err)
		require.Equal(s, s.position(name, 1, 2), at)
		require.NoError(s, p.Flush(s.ctx))
		require.Equal(s, []string{"a", "d", "f"}, values(s.fetch(s.assigned(name, 1), 3)))
	}},
	{"let one of many win", func(s *suite) {
		if !s.features.Preconditions {
			return
		}
		const senders, rounds = 8, 25
		name := s.topic(1, topic.Config{})
		var wins, refused atomic.Int64
		for round := range rounds {
			var wg sync.WaitGroup
			for sender := range senders {
				_, w := s.writer(name)
				wg.Go(func() {
					_, err := w.SendIf(s.ctx, record.Record{Topic: name, Value: []byte(fmt.Sprint(sender))}, producer.IfEndAt(s.at(round)))
					switch {
					case err == nil:
						wins.Add(1)
					case errors.Is(err, fault.PreconditionFailed):
						refused.Add(1)
					default:
						s.Error(err)
					}
				})
			}
			wg.Wait()
			require.EqualValues(s, round+1, wins.Load())
		}
		require.EqualValues(s, rounds*(senders-1), refused.Load())
		s.fetch(s.assigned(name, 0), rounds)
	}},
	{"do not outlive their context, session or topic", func(s *suite) {
		if !s.features.Preconditions {
			return
		}
		name := s.topic(1, topic.Config{})
		p, w := s.writer(name)
		r := record.Record{Topic: name, Value: []byte("x")}
		ctx, cancel := context.WithCancel(s.ctx)
		cancel()
		_, err := w.SendIf(ctx, r, producer.IfEndAt(s.at(0)))
		require.ErrorIs(s, err, context.Canceled)
		r.Partition = 1
		_, err = w.SendIf(s.ctx, r, producer.IfEndAt(s.at(0)))
		require.ErrorIs(s, err, fault.UnknownTopic)
		r.Partition = 0
		_, none := s.writer(name, func(cfg *producer.Config) { cfg.Acks = producer.AcksNone })
		_, err = none.SendIf(s.ctx, r, producer.IfEndAt(s.at(0)))
		require.ErrorIs(s, err, fault.InvalidRequest)
		_, err = w.SendIf(s.ctx, r, producer.IfEndAt(s.at(0)))
		require.NoError(s, err)
		require.NoError(s, s.DeleteTopics(s.ctx, name))
		_, err = w.SendIf(s.ctx, r, producer.IfEndAt(s.at(1)))
		require.ErrorIs(s, err, fault.UnknownTopic)
		require.NoError(s, p.Close())
		_, err = w.SendIf(s.ctx, r, producer.IfEndAt(s.at(1)))
		require.ErrorIs(s, err, fault.Closed)
	}},
}
