package backendtest

import (
	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

var transactionOffsetTests = []test{
	{"count when it is committed, and not before", func(s *suite) {
		s.still()
		name, group := s.topic(1, topic.Config{}), s.name()
		s.sendMany(name, 1, 10)
		tx := s.transactor(s.name())
		require.NoError(s, s.SetGroupOffsets(s.ctx, group, offsetsIn(name, s.at(1))))
		for n, commits := range []bool{true, false, true} {
			require.NoError(s, tx.BeginTransaction(s.ctx))
			s.sendIn(tx, name, 0, "made of what was read")
			require.NoError(s, tx.SendOffsets(s.ctx, memberless(group), offsetsIn(name, s.at(2+n))))
			before := s.offsetOf(group, name)
			require.NotEqual(s, s.at(2+n), before)
			require.NoError(s, tx.EndTransaction(s.ctx, commits))
			if !commits {
				require.Equal(s, before, s.offsetOf(group, name))
				continue
			}
			require.Equal(s, s.at(2+n), s.offsetOf(group, name))
		}
	}},
	{"of several groups count together", func(s *suite) {
		s.still()
		name, one, other := s.topic(2, topic.Config{}), s.name(), s.name()
		s.sendMany(name, 2, 4)
		tx := s.transactor(s.name())
		require.NoError(s, s.SetGroupOffsets(s.ctx, one, offsetsIn(name, s.at(0))))
		require.NoError(s, s.SetGroupOffsets(s.ctx, other, offsetsIn(name, s.at(0))))
		require.NoError(s, tx.BeginTransaction(s.ctx))
		s.sendIn(tx, name, 1, "x")
		require.NoError(s, tx.SendOffsets(s.ctx, memberless(one), offsetsIn(name, s.at(1))))
		require.NoError(s, tx.SendOffsets(s.ctx, memberless(other), offsetsIn(name, s.at(2))))
		require.NoError(s, tx.SendOffsets(s.ctx, memberless(one), offsetsIn(name, s.at(3))))
		require.Equal(s, s.at(0), s.offsetOf(one, name))
		require.NoError(s, tx.EndTransaction(s.ctx, true))
		require.Equal(s, s.at(3), s.offsetOf(one, name), "the later one")
		require.Equal(s, s.at(2), s.offsetOf(other, name))
	}},
	{"may be all that a transaction has", func(s *suite) {
		s.still()
		name, group := s.topic(1, topic.Config{}), s.name()
		s.sendMany(name, 1, 4)
		tx := s.transactor(s.name())
		for n := range 3 {
			require.NoError(s, tx.BeginTransaction(s.ctx))
			require.NoError(s, tx.SendOffsets(s.ctx, memberless(group), offsetsIn(name, s.at(1+n))))
			require.NoError(s, tx.EndTransaction(s.ctx, true))
			require.Equal(s, s.at(1+n), s.offsetOf(group, name))
		}
		require.NoError(s, tx.BeginTransaction(s.ctx))
		s.sendIn(tx, name, 0, "and then a record")
		require.NoError(s, tx.EndTransaction(s.ctx, true))
		require.Len(s, s.read(tp(name, 0), committed), 5)
	}},
	{"are a member's that still has its place", func(s *suite) {
		s.still()
		name, group := s.topic(1, topic.Config{}), s.name()
		s.sendMany(name, 1, 3)
		c := s.consumer(inGroup(group, name), readCommitted)
		s.fetch(c, 3)
		m, err := c.GroupMetadata(s.ctx)
		require.NoError(s, err)
		require.Equal(s, group, m.Group)
		require.NotEmpty(s, m.MemberID)
		tx := s.transactor(s.name())
		require.NoError(s, tx.BeginTransaction(s.ctx))
		s.sendIn(tx, name, 0, "made of them")
		require.NoError(s, tx.SendOffsets(s.ctx, m, offsetsIn(name, s.at(3))))
		require.NoError(s, tx.EndTransaction(s.ctx, true))
		require.Equal(s, s.at(3), s.offsetOf(group, name))

		require.NoError(s, c.Close())
		next := s.consumer(inGroup(group, name), readCommitted)
		require.Equal(s, []string{"made of them"}, values(s.fetch(next, 1)), "it goes on behind them")
		require.NoError(s, tx.BeginTransaction(s.ctx))
		s.sendIn(tx, name, 0, "of a zombie")
		err = tx.SendOffsets(s.ctx, m, offsetsIn(name, s.at(1)))
		switch fault.CodeOf(err) {
		case fault.UnknownMember, fault.IllegalGeneration, fault.FencedInstance:
		default:
			require.ErrorIs(s, err, fault.UnknownMember)
		}
		require.ErrorIs(s, tx.EndTransaction(s.ctx, true), fault.InvalidTxnState)
		require.NoError(s, tx.EndTransaction(s.ctx, false))
		require.Equal(s, s.at(3), s.offsetOf(group, name))
		require.NotContains(s, s.read(tp(name, 0), committed), "of a zombie")
	}},
	{"need an open transaction", func(s *suite) {
		s.still()
		name, group := s.topic(1, topic.Config{}), s.name()
		tx := s.transactor(s.name())
		require.ErrorIs(s, tx.SendOffsets(s.ctx, memberless(group), offsetsIn(name, s.at(0))), fault.InvalidTxnState)
		require.NoError(s, tx.BeginTransaction(s.ctx))
		require.ErrorIs(s, tx.SendOffsets(s.ctx, memberless(""), offsetsIn(name, s.at(0))), fault.InvalidGroup)
		require.NoError(s, tx.EndTransaction(s.ctx, false))
	}},
	{"have a zombie's work be done once", func(s *suite) {
		s.still()
		from, to, group, id := s.topic(1, topic.Config{}), s.topic(1, topic.Config{}), s.name(), s.name()
		s.sendMany(from, 1, 2)
		zombie := s.transactor(id)
		require.NoError(s, zombie.BeginTransaction(s.ctx))
		s.sendIn(zombie, to, 0, "half done")
		require.NoError(s, zombie.SendOffsets(s.ctx, memberless(group), offsetsIn(from, s.at(2))))
		tx := s.transactor(id)
		all, err := s.GroupOffsets(s.ctx, group)
		if err == nil {
			require.NotContains(s, all, tp(from, 0))
		} else {
			require.ErrorIs(s, err, fault.GroupNotFound)
		}
		require.NoError(s, tx.BeginTransaction(s.ctx))
		s.sendIn(tx, to, 0, "done")
		require.NoError(s, tx.SendOffsets(s.ctx, memberless(group), offsetsIn(from, s.at(2))))
		require.NoError(s, tx.EndTransaction(s.ctx, true))
		require.Error(s, zombie.EndTransaction(s.ctx, true))
		require.Equal(s, []string{"done"}, s.read(tp(to, 0), committed))
		require.Equal(s, s.at(2), s.offsetOf(group, from))
	}},
}

// memberless is a group without members, whose offsets a program sends.
func memberless(group string) consumer.GroupMetadata {
	return consumer.GroupMetadata{Group: group, MemberEpoch: -1}
}

// offsetsIn are offsets of a topic's first partition.
func offsetsIn(name string, offset int64) map[record.TopicPartition]consumer.Offset {
	return map[record.TopicPartition]consumer.Offset{tp(name, 0): {Offset: offset, LeaderEpoch: record.NoLeaderEpoch}}
}

// offsetOf returns what a group has committed of a topic's first partition.
func (s *suite) offsetOf(group, name string) int64 {
	s.Helper()
	all, err := s.GroupOffsets(s.ctx, group)
	require.NoError(s, err)
	require.Contains(s, all, tp(name, 0))
	return all[tp(name, 0)].Offset
}
