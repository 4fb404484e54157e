package backendtest

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

var offsetTests = []test{
	{"are listed for each partition", func(s *suite) {
		s.still()
		name := s.topic(2, topic.Config{})
		s.send(name, 1, "a", "b", "c")
		s.ledTopic(name)
		earliest, err := s.ListOffsets(s.ctx, topic.Earliest(), tps(name, 0, 1)...)
		require.NoError(s, err)
		require.Len(s, earliest, 2)
		require.Zero(s, earliest[tp(name, 0)].Offset)
		require.Zero(s, earliest[tp(name, 1)].Offset)
		latest, err := s.ListOffsets(s.ctx, topic.Latest(), tps(name, 0, 1)...)
		require.NoError(s, err)
		require.Equal(s, s.at(0), latest[tp(name, 0)].Offset)
		require.Equal(s, s.at(3), latest[tp(name, 1)].Offset)
		exact, err := s.ListOffsets(s.ctx, topic.AtOffset(1), tp(name, 1))
		require.NoError(s, err)
		require.EqualValues(s, 1, exact[tp(name, 1)].Offset)
	}},
	{"of a partition that is not there are an error", func(s *suite) {
		name := s.topic(1, topic.Config{})
		_, err := s.ListOffsets(s.ctx, topic.Latest(), tp(name, 7))
		require.ErrorIs(s, err, fault.UnknownTopic)
	}},
	{"are found by time", func(s *suite) {
		s.still()
		name := s.topic(1, topic.Config{Retention: topic.Forever})
		_, w := s.writer(name)
		for _, ms := range []int64{1000, 2000, 3000} {
			_, err := w.Send(s.ctx, record.Record{Topic: name, Timestamp: time.UnixMilli(ms)})
			require.NoError(s, err)
		}
		for _, c := range []struct {
			ask    int64
			number int
			ms     int64
		}{{0, 0, 1000}, {1000, 0, 1000}, {1001, 1, 2000}, {2500, 2, 3000}, {3000, 2, 3000}} {
			listed, err := s.ListOffsets(s.ctx, topic.AtTime(time.UnixMilli(c.ask)), tp(name, 0))
			require.NoError(s, err)
			require.Equal(s, s.at(c.number), listed[tp(name, 0)].Offset, "at %d", c.ask)
			require.Equal(s, c.ms, listed[tp(name, 0)].Timestamp.UnixMilli(), "at %d", c.ask)
		}
		listed, err := s.ListOffsets(s.ctx, topic.AtTime(time.UnixMilli(3001)), tp(name, 0))
		require.NoError(s, err)
		require.Equal(s, s.at(3), listed[tp(name, 0)].Offset)
		require.True(s, listed[tp(name, 0)].Timestamp.IsZero())
	}},
	{"begin later when records are deleted", func(s *suite) {
		s.still()
		name := s.topic(2, topic.Config{})
		s.send(name, 0, "a", "b", "c")
		s.send(name, 1, "x", "y")
		starts, err := s.DeleteRecords(s.ctx, map[record.TopicPartition]int64{tp(name, 0): s.at(2), tp(name, 1): -1})
		require.NoError(s, err)
		require.Equal(s, map[record.TopicPartition]int64{tp(name, 0): s.at(2), tp(name, 1): s.at(2) + s.deletion()}, starts)
		listed, err := s.ListOffsets(s.ctx, topic.Earliest(), tps(name, 0, 1)...)
		require.NoError(s, err)
		require.Equal(s, s.at(2), listed[tp(name, 0)].Offset)
		require.Equal(s, s.at(2)+s.deletion(), listed[tp(name, 1)].Offset)
		described, err := s.DescribeTopics(s.ctx, name)
		require.NoError(s, err)
		require.Equal(s, s.at(2), described[0].Partitions[0].StartOffset)
		require.Equal(s, s.at(3)+s.deletion(), described[0].Partitions[0].HighWatermark)
		require.Equal(s, []string{"c"}, values(s.fetch(s.assigned(name, 0), 1)))

		_, err = s.DeleteRecords(s.ctx, map[record.TopicPartition]int64{tp(name, 0): s.at(4) + s.deletion()})
		require.ErrorIs(s, err, fault.OffsetOutOfRange)
	}},
}
