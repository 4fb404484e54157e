package coordinator

import (
	"context"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator/group"
	"github.com/runnel-go/runnel/internal/coordinator/txn"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
)

// Where a partition has one copy, nothing of a transaction is synced before it ends. Then one
// round of syncs, all at the same time, makes its records and the decision durable:
//
//	write records, unsynced ─▶ ┌ sync each partition ┐ ─▶ write markers, unsynced
//	                           └ sync the decision   ┘
//
// What partitions a transaction has, and that one is complete, takes no write of its own: the
// shard knows it, and writes it with its next record that must be there, the decision for one,
// or when the broker is closed. After a crash the partitions have it.
//
// A crash within the round may keep the decision and lose records. So the decision has the
// ends of the partitions, and counts only if all of that is there. A crash after it may lose
// markers that readers have seen. So the records of the coordinator have the last transaction's
// markers until they are durable, and they are written again before anything else is. What was
// written of a transaction of which the coordinator's log has lost everything is found in
// the partitions.

// ignored is a Completion of which no one wants to know.
type ignored struct{}

func (ignored) Appended(int64, error) {}

// localAt returns a partition where it is the only copy, and open; nil otherwise.
func (s *txnShard) localAt(tp record.TopicPartition) (*partition.Partition, txn.End) {
	t, ok := s.host.Lookup(tp.Topic)
	if !ok {
		return nil, txn.End{}
	}
	p := localOf(s.host, t, tp.Partition)
	if p == nil || p.Err() != nil {
		return nil, txn.End{}
	}
	return p, txn.End{Topic: t.ID, Offset: p.EndOffset()}
}

// endOf returns where a partition ends now; nil where what was acknowledged is durable.
func (s *txnShard) endOf() func(record.TopicPartition) txn.End {
	if s.host.IsReplicated() {
		return nil
	}
	return func(tp record.TopicPartition) txn.End {
		_, end := s.localAt(tp)
		return end
	}
}

// syncedAt returns a partition that is to be synced before a transaction's markers are
// written, or nil.
func (s *txnShard) syncedAt(tp record.TopicPartition) *partition.Partition {
	if p, _ := s.localAt(tp); p != nil && p.AppendWaits() {
		return p
	}
	return nil
}

// flushEarly begins to sync a transaction's partitions, beside the decision.
func (s *txnShard) flushEarly(e *txn.Ending) {
	for tp := range e.All() {
		if p := s.syncedAt(tp); p != nil {
			p.Flush(ignored{})
		}
	}
}

// isQuick reports whether a transaction's markers take no wait: its partitions have one copy
// each and are not synced. The group's offsets have a coordinator, for which one waits.
func (s *txnShard) isQuick(e *txn.Ending) bool {
	for tp := range e.All() {
		if p, _ := s.localAt(tp); p == nil || p.AppendWaits() || tp.Topic == group.OffsetsTopic.Name {
			return false
		}
	}
	return true
}

// flush waits until what a transaction has written is durable, and the markers of the one
// before. If it cannot be, the transaction is aborted, except where it cannot be ended.
func (s *txnShard) flush(e *ending) error {
	if s.host.IsReplicated() {
		return nil
	}
	told := make(chan marked, len(e.Partitions)+len(e.Unset))
	n := 0
	for tp := range e.All() {
		if p := s.syncedAt(tp); p != nil {
			n++
			p.Flush(marking{tp, told})
		}
	}
	failed := map[record.TopicPartition]bool{}
	var cause error
	for range n {
		select {
		case m := <-told:
			if m.err != nil && fault.CodeOf(m.err) != fault.UnknownTopic {
				failed[m.at], cause = true, m.err
			}
		case <-s.host.Closing():
			return fault.Closed
		}
	}
	if cause == nil {
		return nil
	}
	if e.Commit {
		err := s.do(context.Background(), func(c *txn.Coordinator) ([]unit, error) {
			r, err := c.Revoke(e.Ending, time.Now())
			return unitOf(r), err
		})
		if err != nil {
			return err
		}
	}
	abort := *e.Ending
	abort.Commit, abort.Partitions = false, nil
	for _, tp := range e.Partitions {
		if !failed[tp] {
			abort.Partitions = append(abort.Partitions, tp)
		}
	}
	_ = s.mark(&ending{Ending: &abort, epoch: e.epoch})
	return fault.Newf(fault.Storage, "the transaction of %q is aborted, and ends everywhere when the broker is opened again", e.TransactionalID).
		Try("close the broker, and open it when the disk is sound; until then use another transactional ID").Because(cause)
}

// isDurable reports whether a transaction's markers are durable. If not, they will be.
func (s *txnShard) isDurable(e *txn.Ending) bool {
	durable := true
	for _, tp := range e.Partitions {
		if p := s.syncedAt(tp); p != nil && p.DurableOffset() < p.EndOffset() {
			p.Flush(ignored{})
			durable = false
		}
	}
	return durable
}

// Repair, after a crash, makes of transactions what the partitions have of them. It returns
// when all markers are there that may have been before. All partitions are open, and nothing
// is written to them meanwhile.
func (t *Transactions) Repair() {
	t.crashed, t.ends = true, map[record.TopicPartition]int64{}
	for at := range t.cfg.Host.All() {
		for n, p := range at.Partitions() {
			if p.Err() != nil || p.Copy() == nil {
				continue
			}
			t.ends[record.TopicPartition{Topic: at.Name, Partition: int32(n)}] = p.Copy().EndOffset()
			open, err := p.Copy().OpenTransactions()
			if err != nil {
				continue
			}
			for _, o := range open {
				t.open = append(t.open, txn.Open{At: record.TopicPartition{Topic: at.Name, Partition: int32(n)}, ProducerID: o.ProducerID, Epoch: o.Epoch})
			}
		}
	}
	shards, err := t.all(t.ctx, false)
	if err != nil {
		return
	}
	// All decisions are judged, durably, before anything is appended to the partitions, by which
	// those that lost records would reach their ends.
	var judged []*txnShard
	for _, s := range shards {
		if s.do(t.ctx, func(*txn.Coordinator) ([]unit, error) { return nil, nil }) == nil { // else its commands will fail, too
			judged = append(judged, s)
		}
	}
	for _, s := range judged {
		s.restore()
	}
}

// restore writes the markers that a crash has undone, in their order: that of a later
// transaction would end an earlier one otherwise. Then it has the shard complete what is
// decided. Where markers cannot be written now, it does not wait.
func (s *txnShard) restore() {
	undone := s.undone
	for len(undone) > 0 {
		e := &ending{Ending: undone[0], epoch: s.Partition().LeaderEpoch()}
		if left, err := s.markOnce(e, e.Partitions); err != nil || len(left) > 0 {
			break
		}
		undone = undone[1:]
	}
	complete := func() {
		s.post(func(c *txn.Coordinator) ([]unit, error) {
			s.made = append(s.made, c.Undone()...)
			return nil, nil
		})
		close(s.restored)
	}
	if len(undone) == 0 {
		complete()
		return
	}
	s.transactions.work.Go(func() {
		for _, e := range undone {
			if s.mark(&ending{Ending: e, epoch: s.Partition().LeaderEpoch()}) != nil {
				break // the broker closes
			}
		}
		complete()
	})
}

// recover is the shard's part of Repair, once its log is read.
func (s *txnShard) recover(c *txn.Coordinator) ([]unit, error) {
	if !s.transactions.crashed || s.recovered {
		s.made = append(s.made, c.Undone()...)
		return nil, nil
	}
	r, markers, err := c.Recover(s.transactions.open, s.isThere, time.Now())
	if err != nil {
		return nil, err
	}
	s.recovered, s.undone = true, markers
	s.mu.Lock()
	s.restored = make(chan struct{})
	s.mu.Unlock()
	var units []unit
	for _, made := range r.Records {
		units = append(units, unitOf(txn.Result{Records: []txn.Record{made}})...)
	}
	return units, nil
}

// isThere reports whether a partition's log reached as far after the crash as before.
func (s *txnShard) isThere(tp record.TopicPartition, end txn.End) bool {
	if !s.host.Has(tp.Topic, end.Topic) {
		return true // it was deleted
	}
	found, sound := s.transactions.ends[tp]
	return !sound || found >= end.Offset // a damaged one has no more to say
}
