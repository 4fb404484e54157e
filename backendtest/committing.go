package backendtest

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

var committingTests = []test{
	{"keeps offset, epoch and metadata", func(s *suite) {
		name, group := s.topic(3, topic.Config{}), s.name()
		s.sendMany(name, 3, 10)
		c := s.consumer(inGroup(group))
		committed, err := c.Committed(s.ctx, tps(name, 0, 1)...)
		require.NoError(s, err)
		require.Empty(s, committed)
		offsets := map[record.TopicPartition]consumer.Offset{
			tp(name, 0): {Offset: 4, LeaderEpoch: 0, Metadata: "half — наполовину"},
			tp(name, 1): {Offset: 0, LeaderEpoch: -1},
		}
		require.NoError(s, c.Commit(s.ctx, offsets))
		committed, err = c.Committed(s.ctx, tps(name, 0, 1, 2)...)
		require.NoError(s, err)
		require.Equal(s, offsets, committed)
		committed, err = c.Committed(s.ctx, tp(name, 1))
		require.NoError(s, err)
		require.Len(s, committed, 1)
		require.NoError(s, c.Close())
		committed, err = s.GroupOffsets(s.ctx, group)
		require.NoError(s, err)
		require.Equal(s, offsets, committed)
	}},
	{"replaces what was committed before", func(s *suite) {
		name, group := s.topic(1, topic.Config{}), s.name()
		c := s.consumer(inGroup(group))
		for _, offset := range []int64{5, 9, 2} {
			require.NoError(s, c.Commit(s.ctx, map[record.TopicPartition]consumer.Offset{tp(name, 0): {Offset: offset, LeaderEpoch: -1}}))
			committed, err := c.Committed(s.ctx, tp(name, 0))
			require.NoError(s, err)
			require.Equal(s, offset, committed[tp(name, 0)].Offset)
		}
	}},
	{"gives assigned partitions their start", func(s *suite) {
		s.still()
		name, group := s.topic(2, topic.Config{}), s.name()
		s.sendMany(name, 2, 10)
		c := s.consumer(inGroup(group))
		require.NoError(s, c.Commit(s.ctx, map[record.TopicPartition]consumer.Offset{tp(name, 0): {Offset: s.at(8), LeaderEpoch: -1}}))
		require.NoError(s, c.Assign(s.ctx, tps(name, 0)))
		require.Equal(s, []string{"8", "9"}, values(s.fetch(c, 2)))
		require.NoError(s, c.Assign(s.ctx, tps(name, 1)))
		require.Equal(s, "0", string(s.fetch(c, 10)[0].Value))
	}},
	{"needs a group", func(s *suite) {
		name := s.topic(1, topic.Config{})
		c := s.assigned(name, 0)
		err := c.Commit(s.ctx, map[record.TopicPartition]consumer.Offset{tp(name, 0): {Offset: 1, LeaderEpoch: -1}})
		require.ErrorIs(s, err, fault.InvalidGroup)
		_, err = c.Committed(s.ctx, tp(name, 0))
		require.ErrorIs(s, err, fault.InvalidGroup)
	}},
	{"ends with the session", func(s *suite) {
		name := s.topic(1, topic.Config{})
		c := s.consumer(inGroup(s.name()))
		require.NoError(s, c.Close())
		err := c.Commit(s.ctx, map[record.TopicPartition]consumer.Offset{tp(name, 0): {Offset: 1, LeaderEpoch: -1}})
		require.ErrorIs(s, err, fault.Closed)
	}},
}

var groupAdminTests = []test{
	{"lists and describes groups with their members", func(s *suite) {
		name, group := s.topic(2, topic.Config{}), s.name()
		m := s.join(group, []string{name})
		s.settle(tps(name, 0, 1), m)
		groups, err := s.Groups(s.ctx)
		require.NoError(s, err)
		var listed *consumer.GroupListing
		for i := range groups {
			if groups[i].Name == group {
				listed = &groups[i]
			}
		}
		require.NotNil(s, listed, "the group is not listed")

		described, err := s.DescribeGroups(s.ctx, group)
		require.NoError(s, err)
		require.Len(s, described, 1)
		d := described[0]
		require.Equal(s, group, d.Name)
		require.Contains(s, []consumer.GroupState{consumer.GroupStable, consumer.GroupReconciling}, d.State)
		require.Len(s, d.Members, 1)
		require.NotEmpty(s, d.Members[0].ID)
		require.Equal(s, "backendtest", d.Members[0].ClientID)
		require.Equal(s, []string{name}, d.Members[0].Topics)
		require.Equal(s, tps(name, 0, 1), d.Members[0].Target)

		s.leave(m)
		described, err = s.DescribeGroups(s.ctx, group)
		require.NoError(s, err)
		require.Equal(s, consumer.GroupEmpty, described[0].State)
		require.Empty(s, described[0].Members)
	}},
	{"says how far a group is behind", func(s *suite) {
		s.still()
		name, group := s.topic(4, topic.Config{}), s.name()
		written := time.Now().Add(-time.Hour)
		p, w := s.writer(name)
		for partition := range int32(3) {
			for i := range 3 {
				_, err := w.Send(s.ctx, record.Record{Topic: name, Partition: partition, Value: []byte("v"), Timestamp: written.Add(time.Duration(i) * 10 * time.Minute)})
				require.NoError(s, err)
			}
		}
		require.NoError(s, p.Close())
		_, err := consumer.Lag(s.ctx, s.Backend, group)
		require.ErrorIs(s, err, fault.GroupNotFound)

		m := s.join(group, []string{name})
		s.settle(tps(name, 0, 1, 2, 3), m)
		require.NoError(s, m.Commit(s.ctx, map[record.TopicPartition]consumer.Offset{
			tp(name, 0): {Offset: s.at(1), LeaderEpoch: -1, Metadata: "one"}, tp(name, 1): {Offset: s.at(3), LeaderEpoch: -1},
		}))
		lags, err := consumer.Lag(s.ctx, s.Backend, group)
		require.NoError(s, err)
		require.Len(s, lags, 4, "of all partitions, committed or not")
		for i, want := range []struct {
			committed, records int64
			age                time.Duration
		}{
			{s.at(1), 2, 50 * time.Minute}, // its second record is the next
			{s.at(3), 0, 0},
			{-1, s.at(3), time.Hour}, // never committed: all records count
			{-1, s.at(0), 0},         // and there are none
		} {
			l := lags[i]
			require.Equal(s, tp(name, int32(i)), l.TopicPartition)
			require.Equal(s, want.committed, l.Committed.Offset)
			require.Equal(s, want.records, l.Records, "records of partition %d", i)
			require.Equal(s, l.End, max(l.Committed.Offset, l.Start)+l.Records)
			require.InDelta(s, want.age, l.Age, float64(patience), "age in partition %d", i)
			require.Equal(s, "backendtest", l.Member.ClientID)
		}
		require.Equal(s, "one", lags[0].Committed.Metadata)
		require.Zero(s, lags[1].Age)
		require.Zero(s, lags[3].Age)

		s.leave(m)
		lags, err = consumer.Lag(s.ctx, s.Backend, group)
		require.NoError(s, err)
		require.Len(s, lags, 4, "no member says to which topics the group subscribes, but its offsets do")
		require.Zero(s, lags[2].Member)
	}},
	{"does not find unknown groups", func(s *suite) {
		_, err := s.DescribeGroups(s.ctx, s.name())
		require.ErrorIs(s, err, fault.GroupNotFound)
		require.ErrorIs(s, s.DeleteGroups(s.ctx, s.name()), fault.GroupNotFound)
	}},
	{"deletes groups without members", func(s *suite) {
		name, group := s.topic(1, topic.Config{}), s.name()
		s.sendMany(name, 1, 1)
		m := s.join(group, []string{name})
		s.settle(tps(name, 0), m)
		require.NoError(s, m.Commit(s.ctx, map[record.TopicPartition]consumer.Offset{tp(name, 0): {Offset: 1, LeaderEpoch: -1}}))
		require.ErrorIs(s, s.DeleteGroups(s.ctx, group), fault.NonEmptyGroup)
		s.leave(m)
		require.NoError(s, s.DeleteGroups(s.ctx, group))
		_, err := s.DescribeGroups(s.ctx, group)
		require.ErrorIs(s, err, fault.GroupNotFound)
		offsets, err := s.GroupOffsets(s.ctx, group)
		if err != nil {
			require.ErrorIs(s, err, fault.GroupNotFound)
		}
		require.Empty(s, offsets)
	}},
	{"forgets offsets of partitions", func(s *suite) {
		name, group := s.topic(3, topic.Config{}), s.name()
		require.ErrorIs(s, s.DeleteGroupOffsets(s.ctx, group, tp(name, 0)), fault.GroupNotFound)
		at := consumer.Offset{LeaderEpoch: -1}
		offsets := map[record.TopicPartition]consumer.Offset{tp(name, 0): at, tp(name, 1): at}
		require.NoError(s, s.SetGroupOffsets(s.ctx, group, offsets))
		m := s.join(group, []string{name})
		s.settle(tps(name, 0, 1, 2), m)
		s.awaitStable(group) // kfake does not know a group that is not
		err := s.DeleteGroupOffsets(s.ctx, group, tp(name, 0))
		require.Contains(s, []fault.Code{fault.GroupSubscribedToTopic, fault.NonEmptyGroup}, fault.CodeOf(err), "%v", err)
		s.leave(m)
		require.NoError(s, s.DeleteGroupOffsets(s.ctx, group, tp(name, 0), tp(name, 2)))
		delete(offsets, tp(name, 0))
		got, err := s.GroupOffsets(s.ctx, group)
		require.NoError(s, err)
		require.Equal(s, offsets, got)
	}},
	{"sets the offsets of groups without members", func(s *suite) {
		s.still()
		name, group := s.topic(1, topic.Config{}), s.name()
		s.sendMany(name, 1, 10)
		offsets := map[record.TopicPartition]consumer.Offset{tp(name, 0): {Offset: s.at(6), LeaderEpoch: -1, Metadata: "by hand"}}
		require.NoError(s, s.SetGroupOffsets(s.ctx, group, offsets))
		got, err := s.GroupOffsets(s.ctx, group)
		require.NoError(s, err)
		require.Equal(s, offsets, got)
		m := s.join(group, []string{name})
		require.Equal(s, "6", string(s.take(m, 4)[0].Value))
		require.ErrorIs(s, s.SetGroupOffsets(s.ctx, group, offsets), fault.NonEmptyGroup)
	}},
}
