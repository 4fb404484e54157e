package coordinator

import (
	"context"
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

// GroupsConfig configures Groups.
type GroupsConfig struct {
	Host *host.Host

	// Ensure returns an internal topic, open. It creates the topic if it is missing.
	Ensure func(context.Context, topic.Spec) (*host.Topic, error)

	// Reserve is disk space that the first round of each shard may use.
	Reserve *layout.Reserve

	Retention time.Duration                  // as group.Limits.Retention
	Gone      func(groups, members []string) // is called with expired members and their groups
	Refused   func(error)                    // is called with assignments that were not valid; must not block

	Assignors map[string]consumer.PartitionAssignor // custom ones, by name

	Classic func(*group.Coordinator) // as group.Limits.Classic

	// The rest is only for a Host with a Replication. Node is this node's number. Ask has
	// another node's Groups serve a request; its errors are that node's, or else
	// fault.NetworkException where the request had no effect, and fault.UnknownOutcome.
	// CatchUp waits until the Host has everything that the catalogue had when it was called.
	Node    int32
	Ask     func(ctx context.Context, node int32, request []byte) ([]byte, error)
	CatchUp func(context.Context) error
}

// Groups coordinates consumer groups. Each group belongs to one partition of
// __consumer_offsets, and so to one GroupShard. It is safe for concurrent use.
type Groups struct {
	cfg     GroupsConfig
	shards  shards[*GroupShard]
	work    sync.WaitGroup // all goroutines
	tickets atomic.Int64   // the latest request to another node

	ctx context.Context // ends with Close
	end context.CancelFunc

	mu        sync.Mutex
	closed    bool                 // no goroutine starts any more
	attending map[int32]*attendees // by the partition's number
}

// Coordinator is the coordinator of a group as its members use it, on whichever node. It may
// move: a call that comes to where it was fails with fault.NotCoordinator, and has changed
// nothing. One whose answer is lost fails with fault.UnknownOutcome. Joining, a heartbeat,
// leaving, and committing the same again do no harm then.
type Coordinator interface {
	Join(ctx context.Context, m group.Member, l *Listener) (Assignment, error)
	Heartbeat(ctx context.Context, memberID string, owned []group.Partition, l *Listener) (Assignment, error)
	Leave(ctx context.Context, groupName, memberID string) error
	IsMember(ctx context.Context, groupName, memberID string) (bool, error)
	Commit(ctx context.Context, groupName, memberID string, offsets map[record.TopicPartition]consumer.Offset) error
	CommitPending(ctx context.Context, m consumer.GroupMetadata, who txn.Identity, offsets map[record.TopicPartition]consumer.Offset) error
	Committed(ctx context.Context, groupName string, stable bool, partitions ...record.TopicPartition) (map[record.TopicPartition]consumer.Offset, error)
}

// KnowsAssignor reports whether members may choose an assignor.
func (g *Groups) KnowsAssignor(name string) bool {
	return group.IsAssignor(name) || g.cfg.Assignors[name] != nil
}

// Find returns the coordinator of a group. It is nil if no group exists yet and create
// is false.
func (g *Groups) Find(ctx context.Context, groupName string, create bool) (Coordinator, error) {
	s, err := g.Shard(ctx, groupName, create)
	if s == nil {
		return nil, err
	}
	return g.place(s), err
}

// place returns a shard, wherever it leads.
func (g *Groups) place(s *GroupShard) shardOf {
	if !g.cfg.Host.IsReplicated() {
		return s
	}
	return &place{g, s}
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
			g.lookAgain(shards[number])
		}
	})
}

// NewGroups returns the coordinators of groups. It reads no log: the first command
// of each shard does.
func NewGroups(cfg GroupsConfig) *Groups {
	g := &Groups{cfg: cfg, shards: newShards[*GroupShard](), attending: map[int32]*attendees{}}
	g.ctx, g.end = context.WithCancel(context.Background())
	g.tickets.Store(rand.Int64N(1<<20) << ticketBits)
	return g
}

// Shard returns the shard of a group. It is nil if the topic doesn't exist and
// create is false.
func (g *Groups) Shard(ctx context.Context, groupName string, create bool) (*GroupShard, error) {
	shards, err := known(ctx, create, g.cfg.CatchUp, g.All)
	if err != nil || len(shards) == 0 {
		return nil, err
	}
	return shards[group.PartitionOf(groupName, len(shards))], nil
}

// All returns all shards, and creates them at the first call. With create, it also
// creates their topic if it is missing.
func (g *Groups) All(ctx context.Context, create bool) ([]*GroupShard, error) {
	return g.shards.all(ctx, g.cfg.Host, group.OffsetsTopic, create, g.cfg.Ensure, func(of *host.Topic, number int32) *GroupShard {
		shard := &GroupShard{groups: g, listeners: map[string]*Listener{}, neighbors: map[int32]*neighbor{}, changed: map[int32]int64{}}
		shard.start(g.cfg.Host, of, number, shard, &g.work, g.cfg.Reserve)
		return shard
	})
}

// EndTransaction ends a producer's transaction in a partition of __consumer_offsets, by a
// marker of a coordinator of that epoch.
func (g *Groups) EndTransaction(ctx context.Context, number int32, who txn.Identity, commit bool, coordinatorEpoch int32) error {
	shards, err := g.All(ctx, false)
	if err != nil {
		return err
	}
	if int(number) >= len(shards) {
		return fault.At(fault.UnknownTopic, group.OffsetsTopic.Name, number, -1)
	}
	return g.place(shards[number]).EndTransaction(ctx, who, commit, coordinatorEpoch)
}

// Close stops all shards. The caller has closed the sessions before.
func (g *Groups) Close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.end()
	for _, s := range g.shards.close() {
		s.stop()
	}
	g.work.Wait()
}
