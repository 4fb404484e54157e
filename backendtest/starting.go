package backendtest

import (
	"regexp"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// startingTests test what members of a group subscribe to, and where they
// start.
var startingTests = []test{
	{"read partitions that came after them from their first record", func(s *suite) {
		name, later := s.topic(1, topic.Config{}), s.name()
		s.sendMany(name, 1, 3)
		c := s.consumer(inGroup(s.name(), name, later), func(cfg *consumer.Config) { cfg.Start = topic.Latest() })
		require.NoError(s, s.AddPartitions(s.ctx, name, 2))
		s.send(name, 1, "in a new partition")
		require.NoError(s, s.CreateTopics(s.ctx, topic.Spec{Name: later, Partitions: 1}))
		s.send(later, 0, "in a new topic")
		require.ElementsMatch(s, []string{"in a new partition", "in a new topic"}, values(s.fetch(c, 2)))
	}},
	{"begin where the group has committed, or say that they don't", func(s *suite) {
		s.still()
		name, group := s.topic(2, topic.Config{}), s.name()
		s.sendMany(name, 2, 4)
		require.NoError(s, s.SetGroupOffsets(s.ctx, group, map[record.TopicPartition]consumer.Offset{tp(name, 1): {Offset: s.at(3), LeaderEpoch: -1}}))
		c := s.consumer(inGroup(group, name), func(cfg *consumer.Config) { cfg.Start = topic.None() })
		var failed error
		for seen := 0; seen == 0 || failed == nil; {
			got, err := c.Fetch(s.ctx, consumer.UntilDone, nil)
			if err != nil {
				require.NoError(s, failed, "it is said once")
				require.ErrorIs(s, err, fault.OffsetOutOfRange)
				failed = err
			}
			for _, r := range got.Records {
				seen++
				require.Equal(s, "3", string(r.Value))
				require.EqualValues(s, 1, r.Partition)
			}
		}
		for range 2 {
			got, err := c.Fetch(s.ctx, 0, nil)
			require.NoError(s, err, "it is said once")
			require.True(s, got.IsNone())
		}
		require.NoError(s, c.Seek(s.ctx, tp(name, 0), s.atOffset(2)))
		require.Equal(s, []string{"2", "3"}, values(s.fetch(c, 2)))
	}},
	{"start as long ago as Start says", func(s *suite) {
		name := s.topic(1, topic.Config{Retention: topic.Forever})
		_, w := s.writer(name)
		for _, age := range []time.Duration{48 * time.Hour, 2 * time.Hour, time.Minute} {
			_, err := w.Send(s.ctx, record.Record{Topic: name, Timestamp: time.Now().Add(-age), Value: []byte(age.String())})
			require.NoError(s, err)
		}
		c := s.consumer(inGroup(s.name(), name), func(cfg *consumer.Config) { cfg.Start = topic.Ago(24 * time.Hour) })
		require.Equal(s, []string{"2h0m0s", "1m0s"}, values(s.fetch(c, 2)))
	}},
	{"subscribe to a pattern", func(s *suite) {
		prefix := s.name() + "."
		create := func(names ...string) {
			for _, name := range names {
				require.NoError(s, s.CreateTopics(s.ctx, topic.Spec{Name: name, Partitions: 1}))
			}
		}
		create(prefix+"a", prefix+"b", "x"+prefix+"a", prefix+"a2")
		m := s.join(s.name(), nil, func(cfg *consumer.Config) { cfg.Pattern = regexp.QuoteMeta(prefix) + "[a-c]" })
		s.settle(append(tps(prefix+"a", 0), tps(prefix+"b", 0)...), m)
		create(prefix+"c", prefix+"d")
		s.settle(append(append(tps(prefix+"a", 0), tps(prefix+"b", 0)...), tps(prefix+"c", 0)...), m)
		s.send(prefix+"c", 0, "later")
		require.Equal(s, []string{"later"}, values(s.take(m, 1)))
	}},
}
