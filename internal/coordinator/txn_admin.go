package coordinator

import (
	"context"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator/group"
	"github.com/runnel-go/runnel/internal/coordinator/txn"
)

// TransactionDescription is a txn.Description with the node that coordinates the ID.
type TransactionDescription struct {
	txn.Description
	Coordinator int32
}

// Abort aborts the open transaction of a transactional ID, whichever producer has it, and waits until
// it has ended in all its partitions.
func (t *Transactions) Abort(ctx context.Context, id string) error {
	s, err := t.existing(ctx, id)
	if err != nil {
		return err
	}
	_, err = t.call(ctx, s, txnRequest{op: txnAbort, id: id})
	return err
}

// Describe describes a transactional ID; fault.TransactionalIDNotFound.
func (t *Transactions) Describe(ctx context.Context, id string) (d TransactionDescription, err error) {
	s, err := t.existing(ctx, id)
	if err != nil {
		return d, err
	}
	all, err := t.describe(ctx, s, id)
	if err == nil && len(all) == 0 {
		err = unknownTransaction(id)
	}
	if err != nil {
		return d, err
	}
	return all[0], nil
}

// List describes all transactional IDs.
func (t *Transactions) List(ctx context.Context) (all []TransactionDescription, err error) {
	shards, err := known(ctx, false, t.cfg.CatchUp, t.all)
	for _, s := range shards {
		some, err := t.describe(ctx, s, "")
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, err
}

// describe describes a shard's transactional IDs, or one of them.
func (t *Transactions) describe(ctx context.Context, s *txnShard, id string) ([]TransactionDescription, error) {
	a, err := t.call(ctx, s, txnRequest{op: txnList, id: id})
	if err != nil {
		return nil, err
	}
	coordinator := t.cfg.Node
	if led, replicated := s.topic.Partitions()[s.number].Group(); replicated && led.Leader > 0 {
		coordinator = led.Leader
	}
	all := make([]TransactionDescription, len(a.all))
	for i, d := range a.all {
		all[i] = TransactionDescription{d, coordinator}
	}
	return all, nil
}

// existing returns the shard of a transactional ID, or fault.TransactionalIDNotFound if
// there are no transactions yet.
func (t *Transactions) existing(ctx context.Context, id string) (*txnShard, error) {
	shards, err := known(ctx, false, t.cfg.CatchUp, t.all)
	if err == nil && len(shards) == 0 {
		err = unknownTransaction(id)
	}
	if err != nil {
		return nil, err
	}
	return shards[group.PartitionOf(id, len(shards))], nil
}

func unknownTransaction(id string) error {
	return fault.Newf(fault.TransactionalIDNotFound, "%q", id).Try("ListTransactions lists those that there are")
}

// abort aborts an ID's open transaction, and waits until it has ended.
func (s *txnShard) abort(ctx context.Context, q *txnRequest) error {
	err := s.command(ctx, q, func(c *txn.Coordinator, fresh int64) (txn.Result, error) {
		state, known := c.State(q.id)
		switch {
		case !known:
			return txn.Result{}, unknownTransaction(q.id)
		case state != txn.Ongoing && !q.again:
			return txn.Result{}, fault.Newf(fault.InvalidTxnState, "%q has no open transaction, it is in state %s", q.id, state)
		}
		return c.Abort(q.id, fresh, time.Now())
	})
	if err != nil {
		return err
	}
	return s.awaitEnd(ctx, q.id)
}
