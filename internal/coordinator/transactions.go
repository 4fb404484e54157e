package coordinator

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator/group"
	"github.com/runnel-go/runnel/internal/coordinator/txn"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// TransactionsConfig configures Transactions.
type TransactionsConfig struct {
	Host *host.Host

	// Ensure is as GroupsConfig.Ensure.
	Ensure func(context.Context, topic.Spec) (*host.Topic, error)

	// Reserve is as GroupsConfig.Reserve.
	Reserve *layout.Reserve

	// NewID returns a producer ID that was never used.
	NewID func(context.Context) (int64, error)

	// Retention is how long a transactional ID without a transaction is kept.
	Retention time.Duration
}

// Transactions coordinates transactions. Each transactional ID belongs to one partition of
// __transaction_state, and so to one shard. It is safe for concurrent use.
type Transactions struct {
	cfg     TransactionsConfig
	loading chan struct{} // holds a token while the shards are created
	shards  atomic.Pointer[[]*txnShard]
	work    sync.WaitGroup // goroutines that write
}

// NewTransactions returns the coordinators of transactions. It reads no log: Recover and
// the first command of each shard do.
func NewTransactions(cfg TransactionsConfig) *Transactions {
	return &Transactions{cfg: cfg, loading: make(chan struct{}, 1)}
}

// Recover has the shards read their logs, if there are any: what was decided before the
// process ended is then completed, and what is open keeps its timeout. It does not wait.
func (t *Transactions) Recover() {
	t.work.Go(func() {
		shards, err := t.all(context.Background(), false)
		if err == nil {
			for _, s := range shards {
				s.poke()
			}
		}
	})
}

// Close stops all shards. The caller has closed the sessions before. A transaction that is
// decided stays so, and is completed after the next opening.
func (t *Transactions) Close() {
	t.loading <- struct{}{} // keeps the token, so that no shards are created later
	if shards := t.shards.Load(); shards != nil {
		for _, s := range *shards {
			s.stop()
		}
	}
	t.work.Wait()
}

// all returns all shards, and creates them at the first call. With create, it also creates
// their topic if it is missing.
func (t *Transactions) all(ctx context.Context, create bool) ([]*txnShard, error) {
	if shards := t.shards.Load(); shards != nil {
		return *shards, nil
	}
	select {
	case t.loading <- struct{}{}:
		defer func() { <-t.loading }()
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-t.cfg.Host.Closing():
		return nil, fault.Closed
	}
	if shards := t.shards.Load(); shards != nil {
		return *shards, nil
	}
	if _, exists := t.cfg.Host.Lookup(txn.StateTopic.Name); !exists && !create {
		return nil, nil
	}
	state, err := t.cfg.Ensure(ctx, txn.StateTopic)
	if err != nil {
		return nil, err
	}
	shards := make([]*txnShard, len(state.Partitions()))
	for i := range shards {
		shards[i] = &txnShard{transactions: t, endings: map[string]*ending{}}
		shards[i].start(t.cfg.Host, state, int32(i), shards[i], &t.work, t.cfg.Reserve)
	}
	t.shards.Store(&shards)
	return shards, nil
}

// shard returns the shard of a transactional ID.
func (t *Transactions) shard(ctx context.Context, id string) (*txnShard, error) {
	shards, err := t.all(ctx, true)
	if err != nil {
		return nil, err
	}
	return shards[group.PartitionOf(id, len(shards))], nil
}

// errNeedsID says that a command needs a producer ID that was never used.
var errNeedsID = errors.New("a new producer ID is needed")

// command runs a command about a transactional ID. While the ID's last transaction is being
// ended, it waits and tries again. Producer IDs are made outside of the shard's turn,
// because that may wait for the catalogue.
func (t *Transactions) command(ctx context.Context, id string, run func(s *txnShard, c *txn.Coordinator, fresh int64) (txn.Result, error)) error {
	s, err := t.shard(ctx, id)
	if err != nil {
		return err
	}
	for fresh := int64(record.NoProducerID); ; {
		err := s.run(ctx, func(c *txn.Coordinator) (txn.Result, error) {
			if fresh < 0 && c.NeedsID(id) {
				return txn.Result{}, errNeedsID
			}
			return run(s, c, fresh)
		})
		switch {
		case errors.Is(err, errNeedsID):
			if fresh, err = t.cfg.NewID(ctx); err != nil {
				return err
			}
		case errors.Is(err, fault.ConcurrentTransactions):
			if err := s.awaitEnd(ctx, id); err != nil {
				return err
			}
		default:
			return err
		}
	}
}

// Init gives a producer the identity that its transactional ID has from now on. It fences
// earlier producers of that ID, and waits until a transaction that one has left open is
// aborted.
func (t *Transactions) Init(ctx context.Context, id string, timeout time.Duration) (who txn.Identity, err error) {
	if t.cfg.Host.IsReplicated() {
		return who, fault.Newf(fault.UnsupportedVersion, "transactions need partitions with one copy; these have replicas")
	}
	err = t.command(ctx, id, func(_ *txnShard, c *txn.Coordinator, fresh int64) (result txn.Result, err error) {
		who, result, err = c.Init(id, timeout, fresh, time.Now())
		return result, err
	})
	return who, err
}

// Add adds partitions to a producer's transaction, which it begins if there is none.
func (t *Transactions) Add(ctx context.Context, id string, who txn.Identity, partitions ...record.TopicPartition) error {
	return t.command(ctx, id, func(s *txnShard, c *txn.Coordinator, _ int64) (txn.Result, error) {
		result, err := c.Add(id, who, partitions, time.Now())
		if err == nil && len(result.Records) > 0 {
			s.watch(c, id)
		}
		return result, err
	})
}

// End commits or aborts a producer's transaction, and returns the identity for its next one.
// When End returns, the decision is durable, and the transaction has ended in all its
// partitions. With fault.UnknownOutcome the decision may have been made: the call may be
// made again.
func (t *Transactions) End(ctx context.Context, id string, who txn.Identity, commit bool) (next txn.Identity, err error) {
	var at *txnShard
	err = t.command(ctx, id, func(s *txnShard, c *txn.Coordinator, fresh int64) (result txn.Result, err error) {
		at = s
		next, result, err = c.End(id, who, commit, fresh, time.Now())
		return result, err
	})
	if err != nil {
		return next, err
	}
	if err := at.awaitEnd(ctx, id); err != nil {
		return next, fault.Newf(fault.UnknownOutcome, "the end of the transaction of %q is decided, and not written everywhere yet", id).Because(err)
	}
	return next, nil
}

// Abort aborts the open transaction of a transactional ID, whichever producer has it, and waits until
// it has ended in all its partitions.
func (t *Transactions) Abort(ctx context.Context, id string) error {
	found := false
	var at *txnShard
	err := t.command(ctx, id, func(s *txnShard, c *txn.Coordinator, fresh int64) (txn.Result, error) {
		at = s
		result, err := c.Abort(id, fresh, time.Now())
		found = result.Ended != nil
		return result, err
	})
	switch {
	case err != nil:
		return err
	case !found:
		return fault.Newf(fault.TransactionalIDNotFound, "%q has no open transaction", id)
	}
	return at.awaitEnd(ctx, id)
}

// List describes all transactional IDs.
func (t *Transactions) List(ctx context.Context) (all []txn.Description, err error) {
	shards, err := t.all(ctx, false)
	for _, s := range shards {
		if err == nil {
			err = s.view(ctx, func(c *txn.Coordinator) error {
				all = append(all, c.List()...)
				return nil
			})
		}
	}
	return all, err
}
