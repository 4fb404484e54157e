package backendtest

import (
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

var transactionAdminTests = []test{
	{"lists and describes transactional IDs", func(s *suite) {
		name, id := s.topic(2, topic.Config{}), s.name()
		tx := s.transactor(id)
		began := time.Now().Add(-time.Second)
		require.NoError(s, tx.BeginTransaction(s.ctx))
		s.sendIn(tx, name, 1, "a")
		s.sendIn(tx, name, 0, "b")
		d := s.transaction(id)
		require.Equal(s, producer.TransactionOngoing, d.State)
		require.Equal(s, id, d.TransactionalID)
		require.Equal(s, tps(name, 0, 1), d.Partitions)
		require.Equal(s, patience, d.Timeout)
		require.WithinRange(s, d.Started, began, time.Now().Add(time.Second))

		listed, err := s.ListTransactions(s.ctx)
		require.NoError(s, err)
		for i := range listed {
			if s.features.LeadersMove { // its coordinator, too
				listed[i].Coordinator = d.Coordinator
			}
		}
		require.Contains(s, listed, d.TransactionListing)
		require.True(s, slices.IsSortedFunc(listed, func(a, b producer.TransactionListing) int {
			if a.TransactionalID < b.TransactionalID {
				return -1
			}
			return 1
		}))

		require.NoError(s, tx.EndTransaction(s.ctx, true))
		d = s.transaction(id)
		require.Contains(s, []string{producer.TransactionCompleteCommit, producer.TransactionEmpty}, d.State, "kfake says the latter")
		require.Empty(s, d.Partitions)
		require.True(s, d.Started.IsZero())
		_, err = s.DescribeTransactions(s.ctx, id, s.name())
		require.ErrorIs(s, err, fault.TransactionalIDNotFound)
		none, err := s.DescribeTransactions(s.ctx)
		require.NoError(s, err)
		require.Empty(s, none)
	}},
	{"describes producers", func(s *suite) {
		s.still()
		name, id := s.topic(2, topic.Config{}), s.name()
		tx := s.transactor(id)
		s.send(name, 0, "before")
		require.NoError(s, tx.BeginTransaction(s.ctx))
		s.sendIn(tx, name, 0, "a", "b")
		d := s.transaction(id)
		all, err := s.DescribeProducers(s.ctx, tps(name, 0, 1)...)
		require.NoError(s, err)
		require.Len(s, all, 2)
		require.Empty(s, all[tp(name, 1)])
		open := s.openIn(tp(name, 0))
		require.Len(s, open, 1)
		require.Equal(s, d.ProducerID, open[0].ProducerID)
		require.Equal(s, d.Epoch, open[0].Epoch)
		require.Equal(s, s.at(1), open[0].TransactionStart)
		require.EqualValues(s, 1, open[0].LastSequence)
		require.WithinDuration(s, time.Now(), open[0].LastTimestamp, patience)
		require.NoError(s, tx.EndTransaction(s.ctx, false))
		require.Empty(s, s.openIn(tp(name, 0)))
		_, err = s.DescribeProducers(s.ctx, tp(s.name(), 0))
		require.ErrorIs(s, err, fault.UnknownTopic)
		_, err = s.DescribeProducers(s.ctx, tp(name, 2))
		require.ErrorIs(s, err, fault.UnknownTopic)
	}},
	{"aborts the transaction of an ID", func(s *suite) {
		name, id := s.topic(1, topic.Config{}), s.name()
		require.ErrorIs(s, s.ForceTerminateTransaction(s.ctx, id), fault.TransactionalIDNotFound)
		tx := s.transactor(id)
		require.ErrorIs(s, s.ForceTerminateTransaction(s.ctx, id), fault.InvalidTxnState)
		require.NoError(s, tx.BeginTransaction(s.ctx))
		s.sendIn(tx, name, 0, "stuck")
		s.send(name, 0, "behind")
		require.Empty(s, s.read(tp(name, 0), committed))
		require.NoError(s, s.ForceTerminateTransaction(s.ctx, id))
		require.Equal(s, []string{"behind"}, s.read(tp(name, 0), committed))
		require.Error(s, tx.EndTransaction(s.ctx, true))
		require.ErrorIs(s, s.ForceTerminateTransaction(s.ctx, id), fault.InvalidTxnState)
	}},
	{"takes no transaction that has a coordinator for one that hangs", func(s *suite) {
		s.still()
		name := s.topic(1, topic.Config{})
		tx := s.transactor(s.name())
		require.NoError(s, tx.BeginTransaction(s.ctx))
		s.sendIn(tx, name, 0, "a")
		found, err := producer.FindHanging(s.ctx, s.Backend, 0, tps(name, 0)...)
		require.NoError(s, err)
		require.Empty(s, found)
		require.ErrorIs(s, producer.AbortHanging(s.ctx, s.Backend, tp(name, 0), s.at(0)), fault.InvalidTxnState)
		require.ErrorIs(s, producer.AbortHanging(s.ctx, s.Backend, tp(name, 0), s.at(1)), fault.InvalidTxnState)
		require.NoError(s, tx.EndTransaction(s.ctx, true))
		require.Equal(s, []string{"a"}, s.read(tp(name, 0), committed))
	}},
	{"aborts the transaction of a producer in one partition", func(s *suite) {
		name := s.topic(1, topic.Config{})
		tx := s.transactor(s.name())
		require.NoError(s, tx.BeginTransaction(s.ctx))
		s.sendIn(tx, name, 0, "hangs")
		s.send(name, 0, "behind")
		open := s.openIn(tp(name, 0))
		require.Len(s, open, 1)
		require.NoError(s, s.AbortTransaction(s.ctx, tp(name, 0), open[0]))
		require.Equal(s, []string{"behind"}, s.read(tp(name, 0), committed))
		internal := record.TopicPartition{Topic: topic.ConsumerOffsets}
		require.ErrorIs(s, s.AbortTransaction(s.ctx, internal, open[0]), fault.InvalidTopic)
	}},
}

// transaction describes a transactional ID.
func (s *suite) transaction(id string) producer.TransactionDescription {
	s.Helper()
	all, err := s.DescribeTransactions(s.ctx, id)
	require.NoError(s, err)
	require.Len(s, all, 1)
	return all[0]
}

// openIn returns the producers that have an open transaction in a partition.
func (s *suite) openIn(tp record.TopicPartition) []producer.ProducerState {
	s.Helper()
	all, err := s.DescribeProducers(s.ctx, tp)
	require.NoError(s, err)
	return slices.DeleteFunc(all[tp], func(p producer.ProducerState) bool { return p.TransactionStart < 0 })
}
