package coordinator

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnel-go/runnel/consumer"
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
	Host   *host.Host
	Groups *Groups // whose offsets may be part of transactions

	// Ensure is as GroupsConfig.Ensure.
	Ensure func(context.Context, topic.Spec) (*host.Topic, error)

	// Reserve is as GroupsConfig.Reserve.
	Reserve *layout.Reserve

	// NewID returns a producer ID that was never used.
	NewID func(context.Context) (int64, error)

	// Retention is how long a transactional ID without a transaction is kept.
	Retention time.Duration

	// The rest is only for a Host with a Replication, and as in GroupsConfig.
	Node    int32
	Ask     func(ctx context.Context, node int32, request []byte) ([]byte, error)
	CatchUp func(context.Context) error
}

// Transactions coordinates transactions. Each transactional ID belongs to one partition of
// __transaction_state, and so to one shard. It is safe for concurrent use.
type Transactions struct {
	cfg      TransactionsConfig
	shards   shards[*txnShard]
	work     sync.WaitGroup // goroutines that write
	commands gate
	tickets  atomic.Int64 // the latest request to another node
	process  int64        // says of requests that this process has made them

	crashed bool       // Repair has begun before a shard was loaded
	open    []txn.Open // what it found: transactions without a marker
	ends    map[record.TopicPartition]int64

	ctx context.Context // ends with Close
	end context.CancelFunc

	mu     sync.Mutex
	closed bool // no goroutine starts any more
}

// NewTransactions returns the coordinators of transactions. It reads no log: Recover and
// the first command of each shard do.
func NewTransactions(cfg TransactionsConfig) *Transactions {
	t := &Transactions{cfg: cfg, shards: newShards[*txnShard](), process: rand.Int64()}
	t.ctx, t.end = context.WithCancel(context.Background())
	return t
}

// Recover has the shards read their logs, if there are any: what was decided before the
// process ended is then completed, and what is open keeps its timeout. It does not wait.
func (t *Transactions) Recover() { t.poke(func(int32) bool { return true }) }

// LeadershipChanged tells the coordinators that a partition of __transaction_state is led
// here, or is not any more: its shard takes up what is undecided or not complete, or lets
// go. It does not block.
func (t *Transactions) LeadershipChanged(number int32) {
	t.poke(func(n int32) bool { return n == number })
}

// poke has shards read or drop their logs.
func (t *Transactions) poke(those func(number int32) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	t.work.Go(func() {
		shards, err := t.all(context.Background(), false)
		if err == nil {
			for _, s := range shards {
				if those(s.number) {
					s.poke()
				}
			}
		}
	})
}

// Close stops all shards, and writes what they still hold of open transactions. The caller
// has closed the sessions before. A transaction that is decided stays so, and is completed
// after the next opening. After an error that opening must Repair.
func (t *Transactions) Close() error {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.end()
	shards := t.shards.close()
	for _, s := range shards {
		s.stop()
	}
	t.work.Wait()
	var errs []error
	for _, s := range shards {
		errs = append(errs, t.cfg.Reserve.With(s.writeLate))
	}
	return errors.Join(errs...)
}

// Settle writes what the shards hold of open transactions, for those who read the log.
func (t *Transactions) Settle(ctx context.Context) error {
	if t.cfg.Host.IsReplicated() {
		return nil
	}
	shards, err := t.all(ctx, false)
	for _, s := range shards {
		if err == nil {
			read := false // else it holds nothing
			late := s.do(ctx, func(*txn.Coordinator) ([]unit, error) {
				read = true
				return nil, s.writeLate()
			})
			if err = ctx.Err(); err == nil && read {
				err = late
			}
		}
	}
	return err
}

// all returns all shards, and creates them at the first call. With create, it also creates
// their topic if it is missing.
func (t *Transactions) all(ctx context.Context, create bool) ([]*txnShard, error) {
	return t.shards.all(ctx, t.cfg.Host, txn.StateTopic, create, t.cfg.Ensure, func(of *host.Topic, number int32) *txnShard {
		shard := &txnShard{transactions: t, endings: map[string]*ending{}, latest: map[txnCaller]int64{}}
		shard.start(t.cfg.Host, of, number, shard, &t.work, t.cfg.Reserve)
		return shard
	})
}

// shard returns the shard of a transactional ID.
func (t *Transactions) shard(ctx context.Context, id string) (*txnShard, error) {
	shards, err := t.all(ctx, true)
	if err != nil {
		return nil, err
	}
	return shards[group.PartitionOf(id, len(shards))], nil
}

// catchUp is as Groups.catchUp: the markers of a coordinator that lacks topics yet would
// have no place.
func (t *Transactions) catchUp() error { return catchUp(t.ctx, t.cfg.CatchUp) }

// Init gives a producer the identity that its transactional ID has from now on. It fences
// earlier producers of that ID, and waits until a transaction that one has left open is
// aborted.
func (t *Transactions) Init(ctx context.Context, id string, timeout time.Duration) (txn.Identity, error) {
	a, err := t.ask(ctx, txnRequest{op: txnInit, id: id, timeout: timeout})
	return a.who, err
}

// ask has the coordinator of the request's transactional ID answer.
func (t *Transactions) ask(ctx context.Context, q txnRequest) (txnAnswer, error) {
	s, err := t.shard(ctx, q.id)
	if err != nil {
		return txnAnswer{}, err
	}
	return t.call(ctx, s, q)
}

// Add adds partitions to a producer's transaction, which it begins if there is none.
func (t *Transactions) Add(ctx context.Context, id string, who txn.Identity, partitions ...record.TopicPartition) error {
	_, err := t.ask(ctx, txnRequest{op: txnAdd, id: id, who: who, partitions: partitions})
	return err
}

// SendOffsets makes a group's offsets part of a producer's transaction. After an error the
// transaction must not be committed.
func (t *Transactions) SendOffsets(ctx context.Context, id string, who txn.Identity, m consumer.GroupMetadata, offsets map[record.TopicPartition]consumer.Offset) error {
	if m.Group == "" {
		return fault.Newf(fault.InvalidGroup, "offsets are committed for a group, and none is named")
	}
	if len(offsets) == 0 {
		return nil
	}
	s, err := t.cfg.Groups.Shard(ctx, m.Group, true)
	if err != nil {
		return err
	}
	if err := t.Add(ctx, id, who, record.TopicPartition{Topic: group.OffsetsTopic.Name, Partition: s.number}); err != nil {
		return err
	}
	// The same offsets of the same transaction do no harm twice, and its successors are of later epochs.
	return t.cfg.Groups.insist(ctx, func() error { return t.cfg.Groups.place(s).CommitPending(ctx, m, who, offsets) })
}

// End commits or aborts a producer's transaction, and returns the identity for its next one.
// When End returns, the decision is durable, and the transaction has ended in all its
// partitions. With fault.UnknownOutcome the decision may have been made: the call may be
// made again.
func (t *Transactions) End(ctx context.Context, id string, who txn.Identity, commit bool) (txn.Identity, error) {
	a, err := t.ask(ctx, txnRequest{op: txnEnd, id: id, who: who, commit: commit})
	return a.who, err
}
