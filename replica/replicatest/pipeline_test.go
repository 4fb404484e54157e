package replicatest_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/internal/pipeline"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica/memory"
	"github.com/runnel-go/runnel/replica/replicatest"
	"github.com/runnel-go/runnel/topic"
)

var (
	pipelineFirst = flag.Uint64("exactly.first", 0, "the first seed of the pipelines on clusters")
	pipelineSeeds = flag.Int("exactly.seeds", 2, "how many seeds there are; make exactly has 100")
)

// clusterPipelines are the pipelines on clusters, in turn.
var clusterPipelines = []struct {
	pipeline.Pipeline
	nodes, rounds int
}{
	{pipeline.Pipeline{Partitions: [4]int{2, 3, 4, 2}, Replicas: 3, Keys: 10, Records: 2000, Batch: 10, Members: 2, Life: 5 * time.Second, Session: 6 * time.Second}, 3, 12},
	{pipeline.Pipeline{Partitions: [4]int{7, 11, 31, 7}, Replicas: 3, Keys: 50, Records: 1600, Batch: 10, Members: 2, Life: 5 * time.Second, Session: 6 * time.Second}, 5, 8},
}

// TestPipelineOnNodesThatDie runs pipelines on clusters whose leaders die or hand over while
// they are at work: those of the topics, of transactions and of groups, and the controller. In the end each
// input has its result once, in order, as every node says, and what groups had committed never went back.
func TestPipelineOnNodesThatDie(t *testing.T) {
	for i := range uint64(*pipelineSeeds) {
		seed := *pipelineFirst + i
		passed := t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { runOnDyingNodes(t, seed) })
		})
		if !passed {
			return
		}
	}
}

// dying is a cluster with a pipeline at work.
type dying struct {
	t    *testing.T
	c    *replicatest.Brokers
	l    pipeline.Pipeline
	draw *rand.Rand
	seen pipeline.Offsets

	mu    sync.Mutex
	homes map[int]*runnel.Broker // of the nodes that run
}

// where returns a broker for the next life of a member.
func (d *dying) where() pipeline.Backend {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, b := range d.homes { // any of them
		return b
	}
	return nil
}

func (d *dying) leave(id int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.homes, id)
}

func (d *dying) settle(id int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.homes[id] = d.c.Broker(id)
}

// led returns a partition to whose leader something is to happen.
func (d *dying) led() record.TopicPartition {
	switch n := d.draw.IntN(4); n {
	case 0:
		return anyOf(d, topic.TransactionState)
	case 1:
		return anyOf(d, topic.ConsumerOffsets)
	default:
		return anyOf(d, pipeline.Topic(d.draw.IntN(len(d.l.Partitions))))
	}
}

func anyOf(d *dying, name string) record.TopicPartition {
	awaitTopic(d.t, d.c, name)
	described, err := d.c.Broker(d.c.Running()[0]).DescribeTopics(d.t.Context(), name)
	require.NoError(d.t, err)
	return record.TopicPartition{Topic: name, Partition: int32(d.draw.IntN(len(described[0].Partitions)))}
}

func (d *dying) pause(longest time.Duration) {
	time.Sleep(time.Duration(d.draw.Int64N(int64(longest))))
}

// load has the input up to a record written, on one node after the other while they die.
func (d *dying) load(until int) error {
	for {
		err := d.l.Load(d.t.Context(), d.where(), until)
		if !pipeline.Closed(err) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// round has something happen to the leader of a partition: it hands over, stops or loses its power.
func (d *dying) round() {
	tp := d.led()
	d.pause(200 * time.Millisecond)
	leader := d.c.AwaitLeader(tp)
	down := d.c.Crash
	switch d.draw.IntN(4) {
	case 0:
		for _, id := range d.c.Running() {
			if id != leader && d.hasCopy(tp, id) {
				d.c.MoveLeader(tp, id)
				break
			}
		}
	case 1:
		down = d.c.Stop
		fallthrough
	default:
		d.leave(leader)
		down(leader)
		d.pause(3 * time.Second)
		d.c.Restart(leader)
		d.settle(leader)
	}
	commits, err := d.l.Committed(d.t.Context(), d.where())
	require.NoError(d.t, err)
	require.NoError(d.t, d.seen.Seen(commits))
}

func (d *dying) hasCopy(tp record.TopicPartition, id int) bool {
	described, err := d.c.Broker(id).DescribeTopics(d.t.Context(), tp.Topic)
	require.NoError(d.t, err)
	for _, r := range described[0].Partitions[tp.Partition].Replicas {
		if int(r) == id {
			return true
		}
	}
	return false
}

func runOnDyingNodes(t *testing.T, seed uint64) {
	shape := clusterPipelines[seed%uint64(len(clusterPipelines))]
	d := &dying{t: t, c: replicatest.Cluster(t, shape.nodes), l: shape.Pipeline, draw: rand.New(rand.NewPCG(seed, 1)), homes: map[int]*runnel.Broker{}}
	d.l.Excused = pipeline.Closed // a member's own node is gone; nothing else ends one
	d.c.Network().SetLinks(memory.Link{Delay: time.Millisecond, Jitter: 2 * time.Millisecond})
	require.NoError(t, d.l.Create(t.Context(), d.c.Broker(1)))
	for n := range d.l.Partitions {
		awaitTopic(t, d.c, pipeline.Topic(n))
	}
	for _, id := range d.c.Running() {
		d.settle(id)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ran := make(chan error, 1)
	began := time.Now()
	go func() { ran <- d.l.Run(ctx, seed, d.where) }()
	for round := range shape.rounds { // each has a part of the input, so that there is work
		loaded := make(chan error, 1)
		go func() { loaded <- d.load((round + 1) * d.l.Records / shape.rounds) }()
		d.round()
		require.NoError(t, <-loaded)
	}
	died := time.Since(began)
	late, end := context.WithTimeout(ctx, 10*time.Minute)
	defer end()
	awaited := make(chan error, 1)
	go func() {
		awaited <- d.l.Await(late, d.c.Broker(1))
		stop()
	}()
	err := <-ran
	stop()
	require.NoError(t, err)
	require.NoError(t, <-awaited)
	t.Logf("nodes died for %v, all was done after %v", died, time.Since(began))
	for _, id := range d.c.Running() {
		require.NoError(t, d.l.Check(t.Context(), d.c.Broker(id)), "on node %d", id)
		commits, err := d.l.Committed(t.Context(), d.c.Broker(id))
		require.NoError(t, err)
		require.NoError(t, d.seen.Seen(commits), "on node %d", id)
	}
}
