package replicatest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica/memory"
	"github.com/runnel-go/runnel/replica/replicatest"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/topic"
)

var accounts = serde.For("accounts", serde.String, serde.String)

// historyOn reads a key's records on a node, by the index of keys.
func historyOn(ctx context.Context, b *runnel.Broker, key string, opts ...consumer.HistoryOption) (all []consumer.Record[string, string], err error) {
	for r, err := range consumer.History(ctx, b, accounts, key, opts...) {
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

func valuesOf(all []consumer.Record[string, string]) (values []string) {
	for _, r := range all {
		values = append(values, r.Value)
	}
	return values
}

// Nodes that have no copy of a topic judge conditions about its keys and read their histories as those do that
// have one, whichever of those run.
func TestHistoryOnNodesWithoutACopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 5)
		require.NoError(t, c.Broker(1).CreateTopics(t.Context(), topic.Spec{Name: accounts.Name, Replicas: 3, Config: topic.Config{KeyIndex: true}}))
		awaitTopic(t, c, accounts.Name)
		var want []string
		condition := producer.IfAbsent()
		for _, id := range c.Running() {
			p, err := producer.New(c.Broker(id))
			require.NoError(t, err)
			to := producer.To(p, accounts)
			_, err = to.Send(t.Context(), "bob", "of another key")
			require.NoError(t, err)
			value := fmt.Sprint("by node ", id)
			at, err := to.SendIf(t.Context(), "alice", value, condition)
			require.NoError(t, err, "on node %d", id)
			_, err = to.SendIf(t.Context(), "alice", "too late", condition)
			conflict, ok := errors.AsType[*producer.Conflict](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, at.Offset, conflict.Have)
			require.NoError(t, p.Close())
			want, condition = append(want, value), producer.IfKeyAt(at.Offset)
		}
		for _, id := range c.Running() {
			for _, opts := range [][]consumer.HistoryOption{nil, {consumer.ReadCommitted()}, {consumer.Since(1)}, {consumer.Scanning()}} {
				found, err := historyOn(t.Context(), c.Broker(id), "alice", opts...)
				require.NoError(t, err, "on node %d", id)
				require.Equal(t, want, valuesOf(found), "on node %d", id)
			}
			_, err := historyOn(t.Context(), c.Broker(id), "carol")
			require.NoError(t, err)
		}
		leader := c.AwaitLeader(record.TopicPartition{Topic: accounts.Name})
		described, err := c.Broker(leader).DescribeTopics(t.Context(), accounts.Name)
		require.NoError(t, err)
		for _, id := range c.Running() {
			if slices.Contains(described[0].Partitions[0].Replicas, int32(id)) {
				continue
			}
			// One that does not reach the leader asks another one.
			c.Cut(id, leader)
			c.Cut(leader, id)
			found, err := historyOn(t.Context(), c.Broker(id), "alice")
			require.NoError(t, err, "on node %d", id)
			require.Equal(t, want, valuesOf(found), "on node %d", id)
			c.Heal()
		}
		c.Crash(leader)
		for _, id := range c.Running() {
			found, err := historyOn(t.Context(), c.Broker(id), "alice")
			require.NoError(t, err, "on node %d", id)
			require.Equal(t, want, valuesOf(found), "on node %d", id)
		}
	})
}

// Where the topic has no index of keys, every node says so.
func TestHistoryWithoutAnIndex(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replicatest.Cluster(t, 5)
		require.NoError(t, c.Broker(1).CreateTopics(t.Context(), topic.Spec{Name: accounts.Name, Replicas: 3}))
		awaitTopic(t, c, accounts.Name)
		for _, id := range c.Running() {
			_, err := historyOn(t.Context(), c.Broker(id), "alice")
			require.ErrorIs(t, err, fault.InvalidConfig, "on node %d", id)
			require.ErrorContains(t, err, "consumer.Scanning")
		}
	})
}

// Clients on all nodes, with a copy of the partition and without, append to keys under the condition that nobody else
// has meanwhile, while leaders die. So each key's records are a chain, of which every one rests on the one before
// it, and what was acknowledged is there.
func TestConditionsAboutKeysWhileLeadersDie(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { appendToKeysWhileLeadersDie(t, rand.New(rand.NewPCG(seed, 11))) })
		})
	}
}

// chains are clients that append to keys.
type chains struct {
	t *testing.T

	mu       sync.Mutex
	acked    map[string]map[int64]bool // of each key, the offsets of what was acknowledged
	refused  int
	appended int
}

// run is one client, on one node, until that dies.
func (h *chains) run(ctx context.Context, b *runnel.Broker, rng *rand.Rand) {
	p, err := producer.New(b)
	if err != nil {
		return
	}
	defer p.Close()
	to, last := producer.To(p, accounts), map[string]int64{}
	for ctx.Err() == nil {
		key := string(rune('a' + rng.IntN(3)))
		at, known := last[key]
		condition := producer.IfKeyAt(at)
		if !known || at < 0 {
			condition, at = producer.IfAbsent(), -1
		}
		position, err := to.SendIf(ctx, key, strconv.FormatInt(at, 10), condition)
		conflict, refused := errors.AsType[*producer.Conflict](err)
		h.mu.Lock()
		switch {
		case err == nil:
			h.acked[key][position.Offset] = true
			last[key] = position.Offset
			h.appended++
		case refused:
			last[key] = conflict.Have
			h.refused++
		case ctx.Err() == nil && !errors.Is(err, fault.Closed):
			h.t.Errorf("a client: %v", err)
		}
		h.mu.Unlock()
		if err != nil && !refused {
			return
		}
		time.Sleep(time.Duration(rng.IntN(20_000)) * time.Microsecond)
	}
}

func appendToKeysWhileLeadersDie(t *testing.T, draw *rand.Rand) {
	c := replicatest.Cluster(t, 5)
	require.NoError(t, c.Broker(1).CreateTopics(t.Context(), topic.Spec{Name: accounts.Name, Replicas: 3, Config: topic.Config{KeyIndex: true, SegmentBytes: 4096}}))
	awaitTopic(t, c, accounts.Name)
	c.Network().SetLinks(memory.Link{Delay: time.Millisecond, Jitter: 2 * time.Millisecond})
	h := &chains{t: t, acked: map[string]map[int64]bool{"a": {}, "b": {}, "c": {}}}
	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	begin := func(id int) {
		b, rng := c.Broker(id), rand.New(rand.NewPCG(draw.Uint64(), 0))
		clients.Go(func() { h.run(ctx, b, rng) })
	}
	for _, id := range c.Running() {
		begin(id)
	}
	for range 10 {
		time.Sleep(time.Duration(draw.IntN(300)) * time.Millisecond)
		victim := c.AwaitLeader(record.TopicPartition{Topic: accounts.Name})
		c.Crash(victim)
		time.Sleep(time.Duration(draw.IntN(2)*draw.IntN(3000)) * time.Millisecond)
		c.Restart(victim)
		awaitTopic(t, c, accounts.Name)
		begin(victim)
	}
	stop()
	clients.Wait()
	require.NotZero(t, h.refused)
	t.Logf("%d appended, %d refused", h.appended, h.refused)
	for key, acked := range h.acked {
		for _, id := range c.Running() {
			found, err := historyOn(t.Context(), c.Broker(id), key)
			require.NoError(t, err, "on node %d", id)
			before, there := int64(-1), map[int64]bool{}
			for _, r := range found {
				require.Equal(t, strconv.FormatInt(before, 10), r.Value, "of key %s at %d, on node %d", key, r.Offset, id)
				before, there[r.Offset] = r.Offset, true
			}
			for offset := range acked {
				require.True(t, there[offset], "what was acknowledged of key %s at %d, on node %d", key, offset, id)
			}
		}
	}
}
