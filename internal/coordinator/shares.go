package coordinator

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator/group"
	"github.com/runnel-go/runnel/internal/coordinator/share"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/topic"
)

// SharesConfig configures Shares.
type SharesConfig struct {
	Host *host.Host

	// Ensure is as GroupsConfig.Ensure.
	Ensure func(context.Context, topic.Spec) (*host.Topic, error)

	// Reserve is as GroupsConfig.Reserve.
	Reserve *layout.Reserve

	// The rest is only for a Host with a Replication, and as in GroupsConfig.
	Node    int32
	Ask     func(ctx context.Context, node int32, request []byte) ([]byte, error)
	CatchUp func(context.Context) error
}

// Shares coordinates share groups. Each share-partition, which is what one group has of one
// partition, belongs to one partition of __share_group_state, and so to one shard, on the node
// that leads it. It is safe for concurrent use.
type Shares struct {
	cfg     SharesConfig
	shards  shards[*shareShard]
	work    sync.WaitGroup // goroutines that write, and that ask for news
	tickets atomic.Int64   // the latest request to another node
	process int64          // says of requests that this process has made them

	ctx context.Context // ends with Close
	end context.CancelFunc

	mu       sync.Mutex
	closed   bool // no goroutine starts any more
	lookouts map[int32]*shareLookout
}

// NewShares returns the coordinators of share groups. It reads no log: the first command of
// each shard does.
func NewShares(cfg SharesConfig) *Shares {
	s := &Shares{cfg: cfg, shards: newShards[*shareShard](), process: rand.Int64(), lookouts: map[int32]*shareLookout{}}
	s.ctx, s.end = context.WithCancel(context.Background())
	return s
}

// Close stops all shards. The caller has closed the sessions before.
func (s *Shares) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	for _, shard := range s.shards.close() {
		shard.shut()
	}
	s.work.Wait()
}

// LeadershipChanged tells the coordinators that a partition of __share_group_state is led
// here, or is not any more: then those who wait here wait elsewhere. It does not block.
func (s *Shares) LeadershipChanged(number int32) {
	if shards := s.shards.created.Load(); shards != nil && int(number) < len(*shards) {
		(*shards)[number].poke()
	}
}

// catchUp is as Groups.catchUp: to a coordinator that lacks topics yet, what it knows of their
// records would be that of deleted ones.
func (s *Shares) catchUp() error { return catchUp(s.ctx, s.cfg.CatchUp) }

// all returns all shards, and creates them at the first call. With create, it also creates
// their topic if it is missing.
func (s *Shares) all(ctx context.Context, create bool) ([]*shareShard, error) {
	return s.shards.all(ctx, s.cfg.Host, share.StateTopic, create, s.cfg.Ensure, func(of *host.Topic, number int32) *shareShard {
		shard := &shareShard{shares: s, waiting: map[share.Key]map[*Waiter]bool{}, latest: map[shareCaller]int64{}}
		shard.start(s.cfg.Host, of, number, shard, &s.work, s.cfg.Reserve)
		return shard
	})
}

// shard returns the shard of a share-partition. As in Kafka it is that of the hash of its
// name.
func (s *Shares) shard(ctx context.Context, k share.Key) (*shareShard, error) {
	shards, err := s.all(ctx, true)
	if err != nil {
		return nil, err
	}
	name := k.Group + ":" + k.Topic.String() + ":" + strconv.Itoa(int(k.Partition))
	return shards[group.PartitionOf(name, len(shards))], nil
}

// ask has the coordinator of the request's share-partition answer.
func (s *Shares) ask(ctx context.Context, q *shareRequest) (shareAnswer, error) {
	shard, err := s.shard(ctx, q.key)
	if err != nil {
		return shareAnswer{}, err
	}
	return s.call(ctx, shard, q)
}

// Initialize begins a share-partition at an offset, unless it exists.
func (s *Shares) Initialize(ctx context.Context, k share.Key, member string, start int64) error {
	_, err := s.ask(ctx, &shareRequest{op: shareInitialize, key: k, member: member, start: start})
	return err
}

// Acquire acquires offsets for a member; fault.GroupNotFound if the share-partition is not
// initialized. Where it gets none, w is woken once there may be some without a new record or
// the passing of time.
//
// After an error the offsets may be acquired: a call with the same Acquisition gets them, and
// Leave gives them back.
func (s *Shares) Acquire(ctx context.Context, k share.Key, d share.Demand, w *Waiter) (got share.Acquired, err error) {
	shard, err := s.shard(ctx, k)
	if err != nil {
		return got, err
	}
	q := &shareRequest{op: shareAcquire, key: k, member: d.Member, demand: d, waiter: w}
	a, err := s.call(ctx, shard, q)
	if err != nil {
		return got, err
	}
	if q.ticket.node != 0 && len(a.acquired.Ranges) == 0 {
		s.await(shard, k, w, awaited{a.acquired.Full, a.seen, q.ticket.epoch})
	}
	return a.acquired, nil
}

// Settle settles offsets that a member has acquired, each settlement by itself. See
// share.Coordinator.Settle.
func (s *Shares) Settle(ctx context.Context, k share.Key, member string, all []share.Settlement) ([]error, error) {
	a, err := s.ask(ctx, &shareRequest{op: shareSettle, key: k, member: member, all: all})
	if err == nil && len(a.errs) != len(all) {
		err = fault.Newf(fault.UnknownOutcome, "an answer about %d settlements of %d", len(a.errs), len(all))
	}
	return a.errs, err
}

// Promote ends a search. See share.Coordinator.Promote.
func (s *Shares) Promote(ctx context.Context, k share.Key, member string, search share.Search, found []int64, rest share.Rest, to int64) error {
	_, err := s.ask(ctx, &shareRequest{op: sharePromote, key: k, member: member, search: search, found: found, rest: rest, to: to})
	return err
}

// Leave makes available what a member has acquired of a share-partition.
func (s *Shares) Leave(ctx context.Context, k share.Key, member string, w *Waiter) error {
	shard, err := s.shard(ctx, k)
	if err != nil {
		return err
	}
	s.forget(shard.number, k, w)
	_, err = s.call(ctx, shard, &shareRequest{op: shareLeave, key: k, member: member, waiter: w})
	return err
}

// each has all shards answer a request, one after the other.
func (s *Shares) each(ctx context.Context, q shareRequest, take func(shareAnswer)) error {
	shards, err := known(ctx, false, s.cfg.CatchUp, s.all)
	for _, shard := range shards {
		one := q
		a, err := s.call(ctx, shard, &one)
		if err != nil {
			return err
		}
		take(a)
	}
	return err
}

// Groups lists the names of all share groups, sorted.
func (s *Shares) Groups(ctx context.Context) ([]string, error) {
	names := map[string]bool{}
	err := s.each(ctx, shareRequest{op: shareList}, func(a shareAnswer) {
		for _, name := range a.groups {
			names[name] = true
		}
	})
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// Describe describes the share-partitions of a group; fault.GroupNotFound.
func (s *Shares) Describe(ctx context.Context, groupName string) (all []share.Description, err error) {
	err = s.each(ctx, shareRequest{op: shareDescribe, key: share.Key{Group: groupName}}, func(a shareAnswer) { all = append(all, a.all...) })
	if err == nil && len(all) == 0 {
		err = fault.Newf(fault.GroupNotFound, "share group %q", groupName)
	}
	if err != nil {
		return nil, err
	}
	return all, nil
}

// Delete forgets a group; fault.GroupNotFound, and fault.NonEmptyGroup while members have
// records.
func (s *Shares) Delete(ctx context.Context, groupName string) error {
	all, err := s.Describe(ctx, groupName)
	if err != nil {
		return err
	}
	for _, d := range all { // of all shards, before the first one forgets
		if d.Acquired > 0 {
			return fault.Newf(fault.NonEmptyGroup, "members of share group %q have acquired %d records of partition %d", groupName, d.Acquired, d.Partition)
		}
	}
	return s.each(ctx, shareRequest{op: shareDelete, key: share.Key{Group: groupName}}, func(shareAnswer) {})
}

// Reset makes a group continue at an offset. See share.Coordinator.Reset.
func (s *Shares) Reset(ctx context.Context, k share.Key, start int64) error {
	_, err := s.ask(ctx, &shareRequest{op: shareReset, key: k, start: start})
	return err
}

// Forget makes a group forget what it has of a topic; fault.NonEmptyGroup while members have
// records of it.
func (s *Shares) Forget(ctx context.Context, groupName string, id topic.ID) error {
	return s.each(ctx, shareRequest{op: shareDelete, key: share.Key{Group: groupName, Topic: id}}, func(shareAnswer) {})
}
