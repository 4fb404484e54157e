package coordinator

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

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
}

// Shares coordinates share groups. Each share-partition, which is what one group has of one
// partition, belongs to one partition of __share_group_state, and so to one shard. It is safe
// for concurrent use.
type Shares struct {
	cfg    SharesConfig
	shards shards[*shareShard]
	work   sync.WaitGroup // goroutines that write
}

// NewShares returns the coordinators of share groups. It reads no log: the first command of
// each shard does.
func NewShares(cfg SharesConfig) *Shares {
	return &Shares{cfg: cfg, shards: newShards[*shareShard]()}
}

// Close stops all shards. The caller has closed the sessions before.
func (s *Shares) Close() {
	for _, shard := range s.shards.close() {
		shard.shut()
	}
	s.work.Wait()
}

// all returns all shards, and creates them at the first call. With create, it also creates
// their topic if it is missing.
func (s *Shares) all(ctx context.Context, create bool) ([]*shareShard, error) {
	return s.shards.all(ctx, s.cfg.Host, share.StateTopic, create, s.cfg.Ensure, func(of *host.Topic, number int32) *shareShard {
		shard := &shareShard{waiting: map[share.Key]map[*Waiter]bool{}}
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

// Initialize begins a share-partition at an offset, unless it exists.
func (s *Shares) Initialize(ctx context.Context, k share.Key, start int64) error {
	shard, err := s.shard(ctx, k)
	if err != nil {
		return err
	}
	return shard.run(ctx, func(c *share.Coordinator) (share.Result, error) { return c.Initialize(k, start, time.Now()) })
}

// Acquire acquires offsets for a member; fault.GroupNotFound if the share-partition is not
// initialized. Where it gets none, w is woken once there may be some without a new record or
// the passing of time.
//
// If ctx ends meanwhile, the offsets may be acquired: Leave gives them back.
func (s *Shares) Acquire(ctx context.Context, k share.Key, d share.Demand, w *Waiter) (got share.Acquired, err error) {
	shard, err := s.shard(ctx, k)
	if err != nil {
		return got, err
	}
	var found share.Acquired // which the command may still set after ctx has ended
	err = shard.run(ctx, func(c *share.Coordinator) (result share.Result, err error) {
		found, result, err = c.Acquire(k, d, time.Now())
		if err == nil && len(found.Ranges) == 0 {
			shard.wait(k, w, found.Full)
		}
		return result, err
	})
	if err != nil {
		return got, err
	}
	return found, nil
}

// Settle settles offsets that a member has acquired, each settlement by itself. See
// share.Coordinator.Settle.
func (s *Shares) Settle(ctx context.Context, k share.Key, member string, all []share.Settlement) ([]error, error) {
	shard, err := s.shard(ctx, k)
	if err != nil {
		return nil, err
	}
	var errs []error // which the command may still set after ctx has ended
	err = shard.run(ctx, func(c *share.Coordinator) (result share.Result, err error) {
		errs, result, err = c.Settle(k, member, all, time.Now())
		return result, err
	})
	if err != nil {
		return nil, err
	}
	return errs, nil
}

// Promote ends a search. See share.Coordinator.Promote.
func (s *Shares) Promote(ctx context.Context, k share.Key, search share.Search, found []int64, rest share.Rest, to int64) error {
	shard, err := s.shard(ctx, k)
	if err != nil {
		return err
	}
	return shard.run(ctx, func(c *share.Coordinator) (share.Result, error) {
		return c.Promote(k, search, found, rest, to, time.Now())
	})
}

// Leave makes available what a member has acquired of a share-partition.
func (s *Shares) Leave(ctx context.Context, k share.Key, member string, w *Waiter) error {
	shard, err := s.shard(ctx, k)
	if err != nil {
		return err
	}
	return shard.run(ctx, func(c *share.Coordinator) (share.Result, error) {
		delete(shard.waiting[k], w)
		return c.Leave(k, member, time.Now())
	})
}

// view calls fn with the share-partitions of each shard in turn.
func (s *Shares) view(ctx context.Context, fn func(*share.Coordinator)) error {
	shards, err := s.all(ctx, false)
	for _, shard := range shards {
		if err == nil {
			err = shard.view(ctx, func(c *share.Coordinator) error {
				fn(c)
				return nil
			})
		}
	}
	return err
}

// Groups lists the names of all share groups, sorted.
func (s *Shares) Groups(ctx context.Context) ([]string, error) {
	names := map[string]bool{}
	err := s.view(ctx, func(c *share.Coordinator) {
		for _, name := range c.Groups() {
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
	err = s.view(ctx, func(c *share.Coordinator) { all = append(all, c.Describe(groupName, time.Now())...) })
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
	shards, err := s.all(ctx, false)
	for _, shard := range shards {
		if err == nil {
			err = shard.run(ctx, func(c *share.Coordinator) (share.Result, error) { return c.Delete(groupName, time.Now()) })
		}
	}
	return err
}

// Reset makes a group continue at an offset. See share.Coordinator.Reset.
func (s *Shares) Reset(ctx context.Context, k share.Key, start int64) error {
	shard, err := s.shard(ctx, k)
	if err != nil {
		return err
	}
	return shard.run(ctx, func(c *share.Coordinator) (share.Result, error) { return c.Reset(k, start, time.Now()) })
}
