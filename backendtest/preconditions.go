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
		s.still()
		if s.features.Preconditions {
			return
		}
		name := s.topic(1, topic.Config{})
		_, w := s.writer(name)
		_, err := w.SendIf(s.ctx, record.Record{Topic: name, Value: []byte("x")}, producer.IfEndAt(0))
		require.ErrorIs(s, err, fault.UnsupportedVersion)
	}},
	{"may demand where the partition ends", func(s *suite) {
		s.still()
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
		s.still()
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
		s.still()
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
	{"may demand the last record of the key", func(s *suite) {
		s.still()
		if !s.features.Preconditions {
			return
		}
		name := s.topic(1, topic.Config{KeyIndex: true})
		p, w := s.writer(name, forever)
		send := func(key, value string, c producer.Condition) (int64, error) {
			r := record.Record{Topic: name, Key: []byte(key), Value: []byte(value)}
			if value == "" {
				r.Value = nil
			}
			at, err := w.SendIf(s.ctx, r, c)
			return at.Offset, err
		}
		w.SendAsync(s.ctx, record.Record{Topic: name, Value: []byte("of no key")}, nil)
		a, err := send("alice", "1", producer.IfAbsent())
		require.NoError(s, err)
		require.Equal(s, s.at(1), a)
		_, err = send("alice", "2", producer.IfAbsent())
		require.Equal(s, producer.Conflict{Key: true, Want: -1, Have: a}, s.conflict(err, tp(name, 0)))
		_, err = send("bob", "1", producer.IfKeyAt(a))
		require.Equal(s, producer.Conflict{Key: true, Want: a, Have: -1}, s.conflict(err, tp(name, 0)))
		_, err = send("bob", "1", producer.IfAbsent())
		require.NoError(s, err)
		b, err := send("alice", "2", producer.IfKeyAt(a))
		require.NoError(s, err, "what another key wrote does not matter")
		_, err = send("alice", "3", producer.IfKeyAt(a))
		require.Equal(s, producer.Conflict{Key: true, Want: a, Have: b}, s.conflict(err, tp(name, 0)))

		w.SendAsync(s.ctx, record.Record{Topic: name, Key: []byte("alice"), Value: []byte("3")}, nil)
		_, err = send("alice", "4", producer.IfKeyAt(b))
		require.Equal(s, producer.Conflict{Key: true, Want: b, Have: b + 1}, s.conflict(err, tp(name, 0)), "what lingers comes before")
		_, err = send("alice", "", producer.IfKeyAt(b+1))
		require.NoError(s, err)
		c, err := send("alice", "again", producer.IfAbsent())
		require.NoError(s, err, "a tombstone is an end")
		_, err = send("alice", "", producer.IfKeyAt(c))
		require.NoError(s, err)
		_, err = send("alice", "once more", producer.IfKeyAt(c+1))
		require.NoError(s, err, "a tombstone is a record")
		require.NoError(s, p.Flush(s.ctx))
	}},
	{"about keys need an index and a key", func(s *suite) {
		s.still()
		if !s.features.Preconditions {
			return
		}
		name := s.topic(1, topic.Config{})
		_, w := s.writer(name)
		_, err := w.SendIf(s.ctx, record.Record{Topic: name, Key: []byte("k")}, producer.IfAbsent())
		require.ErrorIs(s, err, fault.InvalidConfig)
		require.ErrorContains(s, err, "runnel.key.index")
		_, err = w.Send(s.ctx, record.Record{Topic: name, Key: []byte("k"), Value: []byte("v")})
		require.NoError(s, err)

		require.NoError(s, s.ConfigureTopic(s.ctx, name, topic.Config{KeyIndex: true}))
		for errors.Is(err, fault.InvalidConfig) || err == nil { // until the node that leads the partition knows
			time.Sleep(time.Millisecond)
			_, err = w.SendIf(s.ctx, record.Record{Topic: name, Key: []byte("k")}, producer.IfAbsent())
			require.Error(s, err, "the key is there")
		}
		require.Equal(s, producer.Conflict{Key: true, Want: -1, Have: s.at(0)}, s.conflict(err, tp(name, 0)), "the index has what was there before")
		_, err = w.SendIf(s.ctx, record.Record{Topic: name, Value: []byte("v")}, producer.IfAbsent())
		require.ErrorIs(s, err, fault.InvalidRecord)
	}},
	{"forget records of transactions that were aborted", func(s *suite) {
		s.still()
		if !s.features.Preconditions {
			return
		}
		name := s.topic(1, topic.Config{KeyIndex: true})
		_, w := s.writer(name)
		key := []byte("alice")
		a, err := w.SendIf(s.ctx, record.Record{Topic: name, Key: key, Value: []byte("1")}, producer.IfAbsent())
		require.NoError(s, err)
		p, err := producer.New(s.Backend, producer.TransactionalID(s.name()))
		require.NoError(s, err)
		defer p.Close()
		require.NoError(s, p.Begin(s.ctx))
		b, err := p.SendIf(s.ctx, record.Record{Topic: name, Key: key, Value: []byte("2")}, producer.IfKeyAt(a.Offset))
		require.NoError(s, err)
		c, err := p.SendIf(s.ctx, record.Record{Topic: name, Key: key, Value: []byte("3")}, producer.IfKeyAt(b.Offset))
		require.NoError(s, err, "its own record is there")
		_, err = w.SendIf(s.ctx, record.Record{Topic: name, Key: key, Value: []byte("x")}, producer.IfKeyAt(a.Offset))
		require.Equal(s, producer.Conflict{Key: true, Want: a.Offset, Have: c.Offset}, s.conflict(err, tp(name, 0)), "one that is open is there for others, too")
		require.NoError(s, p.Abort(s.ctx))
		_, err = w.SendIf(s.ctx, record.Record{Topic: name, Key: key, Value: []byte("y")}, producer.IfKeyAt(a.Offset))
		require.NoError(s, err)

		require.NoError(s, p.Begin(s.ctx))
		_, err = p.SendIf(s.ctx, record.Record{Topic: name, Key: key, Value: []byte("z")}, producer.IfKeyAt(a.Offset))
		require.ErrorIs(s, err, fault.PreconditionFailed)
		require.ErrorIs(s, p.Commit(s.ctx), fault.InvalidTxnState)
		require.NoError(s, p.Abort(s.ctx))
	}},
}
