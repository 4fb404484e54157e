package replicatest

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica"
	"github.com/runnel-go/runnel/topic"
)

// movedAtOnce is how many leaderships MoveLeaders moves in an interval.
const movedAtOnce = 32

// catalogueID is the ID that Kafka gives __cluster_metadata.
var catalogueID = topic.ID{15: 1}

// MoveLeaders hands leaderships over until stop is called: in every interval those of some
// partitions, in turn, each to another replica that is in sync. It moves those that which
// chooses; nil is all, those of groups and the catalogue among them. It does not wait until
// the others lead. stop returns how many began to move; the test's end stops, too.
func (c *Brokers) MoveLeaders(every time.Duration, which func(record.TopicPartition) bool) (stop func() (moved int)) {
	c.t.Helper()
	m := &mover{cluster: c, which: which, draw: rand.New(rand.NewPCG(c.seed, 0))}
	ctx, end := context.WithCancel(context.Background())
	var moving sync.WaitGroup
	moving.Go(func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				m.move(ctx)
			}
		}
	})
	stop = func() int {
		end()
		moving.Wait()
		return m.moved
	}
	c.t.Cleanup(func() { stop() }) // of a test that fails before it stops
	return stop
}

// mover is what MoveLeaders does. It is one goroutine's.
type mover struct {
	cluster *Brokers
	which   func(record.TopicPartition) bool
	draw    *rand.Rand
	passed  int // partitions of which the turn has been
	moved   int
}

// led is a partition, and which node leads it.
type led struct {
	record.TopicPartition
	group  replica.GroupID
	leader int32
}

// move moves the next leaderships.
func (m *mover) move(ctx context.Context) {
	all := m.partitions(ctx)
	for i := range min(movedAtOnce, len(all)) {
		m.handOver(all[(m.passed+i)%len(all)])
	}
	m.passed += movedAtOnce
}

// partitions returns the partitions with a leader. A node that cannot say is left out.
func (m *mover) partitions(ctx context.Context) (all []led) {
	running := m.cluster.Running()
	if len(running) == 0 {
		return nil
	}
	b := m.cluster.Broker(running[m.draw.IntN(len(running))])
	add := func(l led) {
		if l.leader > 0 && (m.which == nil || m.which(l.TopicPartition)) {
			all = append(all, l)
		}
	}
	if nodes, err := b.DescribeCluster(ctx); err == nil {
		add(led{record.TopicPartition{Topic: topic.ClusterMetadata}, replica.GroupID{Topic: catalogueID}, nodes.Controller})
	}
	described, _ := b.DescribeTopics(ctx)
	for _, name := range []string{topic.ConsumerOffsets, topic.TransactionState} {
		internal, _ := b.DescribeTopics(ctx, name) // an error until it is used
		described = append(described, internal...)
	}
	for _, d := range described {
		for _, p := range d.Partitions {
			add(led{record.TopicPartition{Topic: d.Name, Partition: p.Number}, replica.GroupID{Topic: d.ID, Partition: p.Number}, p.Leader})
		}
	}
	return all
}

// handOver has a partition's leader hand it over to one of the others.
func (m *mover) handOver(l led) {
	r, ok := m.cluster.of(int(l.leader)).node.Replica(l.group)
	if !ok {
		return
	}
	others := r.Status().Members.Voters
	for _, i := range m.draw.Perm(len(others)) {
		if others[i] != r.ID() {
			if r.Transfer(others[i]) == nil { // otherwise it leads no more
				m.moved++
			}
			return
		}
	}
}
