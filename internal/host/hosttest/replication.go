package hosttest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Replication stands in for what keeps replicas on several nodes. Each partition is a
// group of one: what is appended goes the way of a proposal, is stored, and counts
// when the group commits it, which a test may put off with Hold. It is a
// runnel.Replication.
type Replication struct {
	node   int32
	leader *Replication // nil: this node leads everything

	mu     sync.Mutex
	groups map[string]*Group // by the partition's name
	placed []topic.Placement // as Open was asked for
	answer func(context.Context, []byte) []byte
}

// NewReplication returns a Replication without partitions.
func NewReplication() *Replication { return &Replication{node: 7, groups: map[string]*Group{}} }

// Beside returns a Replication for a second node. It follows the catalogue of this one,
// with a copy of its own, and reaches this one's other partitions without one.
func (r *Replication) Beside() *Replication {
	return &Replication{node: r.node + 1, leader: r, groups: map[string]*Group{}}
}

// Node returns 7, or 8 for the second node: numbers that nothing takes for a default.
func (r *Replication) Node() int32 { return r.node }

// Nodes returns this node.
func (r *Replication) Nodes() []topic.Node { return []topic.Node{{ID: r.Node(), Alive: true}} }

// Open opens the partition and makes it lead.
func (r *Replication) Open(at topic.Placement, cfg partition.Config) (partition.Opened, log.Recovery, error) {
	if !cfg.Replica {
		return nil, log.Recovery{}, fmt.Errorf("%s is not opened as a replica", at.TopicPartition)
	}
	if r.leader != nil && at.Topic != topic.ClusterMetadata {
		g := r.leader.Group(at.String())
		if g == nil || g.id != at.ID {
			return nil, log.Recovery{}, fault.At(fault.LeaderNotAvailable, at.Topic, at.Partition, -1)
		}
		return remote{g}, log.Recovery{}, nil
	}
	p, found, err := partition.Open(cfg)
	if err != nil {
		return nil, found, err
	}
	g := &Group{Partition: p, node: r.node, id: at.ID}
	if r.leader == nil {
		p.Commit(p.EndOffset()) // whatever it has, the group has
		g.Elect()
	} else if err := r.leader.Group(at.String()).feed(g); err != nil {
		return nil, found, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.groups[at.String()] = g
	r.placed = append(r.placed, at)
	return g, found, nil
}

// Call brings a request to the first node.
func (r *Replication) Call(ctx context.Context, node int32, request []byte) ([]byte, error) {
	if r.leader == nil || node != r.leader.node {
		return nil, fault.Newf(fault.NetworkException, "there is no node %d", node)
	}
	r.leader.mu.Lock()
	answer := r.leader.answer
	r.leader.mu.Unlock()
	if answer == nil {
		return nil, fault.Newf(fault.NetworkException, "node %d answers nothing", node)
	}
	return answer(ctx, request), nil
}

// Serve sets what answers the second node.
func (r *Replication) Serve(answer func(context.Context, []byte) []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

// Group returns the group of a partition that is open, by name: orders-0.
func (r *Replication) Group(name string) *Group {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.groups[name]
}

// Placed returns the placements of the partitions that were opened, in order.
func (r *Replication) Placed() []topic.Placement {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.placed
}

// Group is a partition with its group of one.
type Group struct {
	*partition.Partition
	node int32
	id   topic.ID

	mu     sync.Mutex
	epoch  int32
	leads  bool
	holds  bool
	doubts bool
	delays bool   // other does not learn what is committed
	stored int64  // the offset after what is stored
	other  *Group // which it feeds
	source *Group // which feeds it
}

// feed has a follower store everything that the group has and will have.
func (g *Group) feed(follower *Group) error {
	for at := int64(0); at < g.EndOffset(); {
		s, err := g.ReadLog(at, 1<<20, nil)
		if err != nil {
			return err
		}
		for rest := append([]byte(nil), s.Bytes...); len(rest) > 0; {
			h, err := record.ParseHeader(rest)
			if err != nil {
				return err
			}
			follower.Store(rest[:h.Size():h.Size()], nil, ignored{})
			rest, at = rest[h.Size():], h.NextOffset()
		}
	}
	follower.Commit(g.HighWatermark())
	g.mu.Lock()
	defer g.mu.Unlock()
	g.other, follower.source = follower, g
	return nil
}

// ignored is a Completion of no interest.
type ignored struct{}

func (ignored) Appended(int64, error) {}

// remote is a partition of which this node has no copy: what works on files, and who
// closes it, gets nothing.
type remote struct{ partition.Opened }

func (remote) Copy() *partition.Partition       { return nil }
func (remote) Configure(partition.Settings)     {}
func (remote) SetSegments(int64, time.Duration) {}
func (remote) Abandon()                         {}
func (remote) Delete() error                    { return nil }
func (remote) Close() error                     { return nil }

// Propose implements partition.Proposer: it stores the batch, whose outcome commits it.
func (g *Group) Propose(batch []byte) error {
	g.mu.Lock()
	other := g.other
	g.mu.Unlock()
	if other != nil {
		other.Store(append([]byte(nil), batch...), nil, ignored{})
	}
	g.Store(batch, nil, stored{g})
	return nil
}

// stored is the Completion of what a group stores.
type stored struct{ group *Group }

// Appended commits everything that is stored, unless the group holds back.
func (s stored) Appended(_ int64, err error) {
	g := s.group
	end := g.EndOffset()
	g.mu.Lock()
	g.stored = max(g.stored, end)
	holds, other := g.holds, g.other
	if g.delays {
		other = nil
	}
	g.mu.Unlock()
	if err == nil && !holds {
		g.Commit(end)
		if other != nil {
			other.Commit(end)
		}
	}
}

// Hold keeps the group from committing until release is called.
func (g *Group) Hold() (release func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.holds = true
	return func() {
		g.mu.Lock()
		g.holds = false
		end := g.stored
		g.mu.Unlock()
		g.Commit(end)
	}
}

// Delay keeps the group that it feeds from learning what is committed until hears is called.
func (g *Group) Delay() (hears func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.delays = true
	return func() {
		g.mu.Lock()
		g.delays = false
		other, end := g.other, g.HighWatermark()
		g.mu.Unlock()
		other.Commit(end)
	}
}

// Elect makes the partition lead, in the next epoch.
func (g *Group) Elect() {
	g.mu.Lock()
	g.epoch, g.leads = max(g.epoch, g.LeaderEpoch())+1, true
	epoch := g.epoch
	g.mu.Unlock()
	g.Lead(epoch, g)
}

// Depose makes the partition a follower, of nobody.
func (g *Group) Depose() {
	g.mu.Lock()
	g.epoch, g.leads = g.epoch+1, false
	epoch := g.epoch
	g.mu.Unlock()
	g.Follow(epoch)
}

// Doubt keeps the group from confirming that the partition leads, as where a leader is cut
// off and has not heard of the next one.
func (g *Group) Doubt(doubts bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.doubts = doubts
}

// Confirm returns whether the partition leads in an epoch.
func (g *Group) Confirm(epoch int32) error {
	g.mu.Lock()
	doubts := g.doubts
	g.mu.Unlock()
	if doubts {
		return fault.NotLeader
	}
	return g.Partition.Confirm(epoch)
}

// Replicas returns 1.
func (g *Group) Replicas() int { return 1 }

// Group returns who leads.
func (g *Group) Group() (partition.Group, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.source != nil {
		return g.source.Group()
	}
	if !g.leads {
		return partition.Group{Leader: -1, Epoch: g.epoch}, true
	}
	return partition.Group{Leader: g.node, Epoch: g.epoch, InSync: []int32{g.node}}, true
}
