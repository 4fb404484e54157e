package coordinator

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator/group"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// GroupsConfig configures Groups.
type GroupsConfig struct {
	Host *host.Host

	// Ensure returns an internal topic, open. It creates the topic if it is missing.
	Ensure func(context.Context, topic.Spec) (*host.Topic, error)

	// Reserve is disk space that the first round of each shard may use.
	Reserve *layout.Reserve

	Retention time.Duration                  // as group.Limits.Retention
	Gone      func(groups, members []string) // is called with expired members and their groups
}

// Groups coordinates consumer groups. Each group belongs to one partition of
// __consumer_offsets, and so to one GroupShard. It is safe for concurrent use.
type Groups struct {
	cfg     GroupsConfig
	loading chan struct{} // holds a token while the shards are created
	shards  atomic.Pointer[[]*GroupShard]
	work    sync.WaitGroup // goroutines that write

	mu     sync.Mutex
	closed bool // no goroutine of LeadershipChanged starts any more
}

// Coordinator is the coordinator of a group as its members use it. It may move: a call
// that comes to where it was fails with fault.NotCoordinator, and has changed nothing.
type Coordinator interface {
	Join(ctx context.Context, m group.Member, l *Listener) (Assignment, error)
	Heartbeat(ctx context.Context, groupName, memberID string, owned []group.Partition) (Assignment, error)
	Leave(ctx context.Context, groupName, memberID string) error
	IsMember(ctx context.Context, groupName, memberID string) (bool, error)
	Commit(ctx context.Context, groupName, memberID string, offsets map[record.TopicPartition]consumer.Offset) error
	Committed(ctx context.Context, groupName string, partitions ...record.TopicPartition) (map[record.TopicPartition]consumer.Offset, error)
}

var _ Coordinator = (*GroupShard)(nil)

// Find returns the coordinator of a group. It is nil if no group exists yet and create
// is false.
func (g *Groups) Find(ctx context.Context, groupName string, create bool) (Coordinator, error) {
	s, err := g.Shard(ctx, groupName, create)
	if s == nil {
		return nil, err
	}
	return s, err
}

// LeadershipChanged tells the groups that a partition of __consumer_offsets is led here,
// or is not any more: its shard loads, so that deadlines of members are kept, or lets
// go. It does not block.
func (g *Groups) LeadershipChanged(number int32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return
	}
	g.work.Go(func() {
		shards, err := g.All(context.Background(), false)
		if err == nil && int(number) < len(shards) {
			shards[number].poke()
		}
	})
}

// NewGroups returns the coordinators of groups. It reads no log: the first command
// of each shard does.
func NewGroups(cfg GroupsConfig) *Groups {
	return &Groups{cfg: cfg, loading: make(chan struct{}, 1)}
}

// Shard returns the shard of a group. It is nil if the topic doesn't exist and
// create is false.
func (g *Groups) Shard(ctx context.Context, groupName string, create bool) (*GroupShard, error) {
	shards, err := g.All(ctx, create)
	if err != nil || len(shards) == 0 {
		return nil, err
	}
	return shards[group.PartitionOf(groupName, len(shards))], nil
}

// All returns all shards, and creates them at the first call. With create, it also
// creates their topic if it is missing.
func (g *Groups) All(ctx context.Context, create bool) ([]*GroupShard, error) {
	if shards := g.shards.Load(); shards != nil {
		return *shards, nil
	}
	select {
	case g.loading <- struct{}{}:
		defer func() { <-g.loading }()
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-g.cfg.Host.Closing():
		return nil, fault.Closed
	}
	if shards := g.shards.Load(); shards != nil {
		return *shards, nil
	}
	if _, exists := g.cfg.Host.Lookup(group.OffsetsTopic.Name); !exists && !create {
		return nil, nil
	}
	t, err := g.cfg.Ensure(ctx, group.OffsetsTopic)
	if err != nil {
		return nil, err
	}
	shards := make([]*GroupShard, len(t.Partitions()))
	for i := range shards {
		shards[i] = &GroupShard{groups: g, listeners: map[string]*Listener{}}
		shards[i].start(g.cfg.Host, t, int32(i), shards[i], &g.work, g.cfg.Reserve)
	}
	g.shards.Store(&shards)
	return shards, nil
}

// Close stops all shards. The caller has closed the sessions before.
func (g *Groups) Close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.loading <- struct{}{} // keeps the token, so that no shards are created later
	if shards := g.shards.Load(); shards != nil {
		for _, s := range *shards {
			s.stop()
		}
	}
	g.work.Wait()
}
