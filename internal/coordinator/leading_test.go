package coordinator

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator/group"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/internal/host/hosttest"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

var orders = record.TopicPartition{Topic: "orders"}

func at(offset int64) map[record.TopicPartition]consumer.Offset {
	return map[record.TopicPartition]consumer.Offset{orders: {Offset: offset, LeaderEpoch: record.NoLeaderEpoch}}
}

// committed returns the offset that a shard knows of group "printer".
func committed(t *testing.T, s *GroupShard) int64 {
	t.Helper()
	offsets, err := s.Committed(t.Context(), "printer", false, orders)
	require.NoError(t, err)
	return offsets[orders].Offset
}

// commitElsewhere has another node lead a group's partition for a while, and commit.
func commitElsewhere(t *testing.T, h *hosttest.Host, g *hosttest.Group, offset int64) {
	t.Helper()
	read, ok := h.Lookup("orders")
	require.True(t, ok)
	other := group.New(group.Limits{})
	_, err := other.SetTopics(group.NewTopics([]group.Topic{{Name: "orders", ID: read.ID, Partitions: 1}}))
	require.NoError(t, err)
	r, err := other.Commit("printer", "", at(offset), time.Now())
	require.NoError(t, err)
	b := record.NewBuilder(1 << 10)
	for _, rec := range r.Records {
		require.True(t, b.Add(1000, rec.Key, rec.Value, nil))
	}
	batch, err := b.Batch(nil, record.None, 0)
	require.NoError(t, err)
	raw := append([]byte(nil), batch.Bytes...)
	record.Stamp(raw, g.EndOffset(), g.LeaderEpoch())
	stored := make(outcome, 1)
	g.Store(raw, nil, stored)
	require.NoError(t, <-stored)
	g.Commit(g.EndOffset())
}

type outcome chan error

func (o outcome) Appended(_ int64, err error) { o <- err }

// TestAShardLeadsWhereItsPartitionDoes has a group's partition led elsewhere for a
// while: the shard does nothing meanwhile, and then knows what was committed there.
func TestAShardLeadsWhereItsPartitionDoes(t *testing.T) {
	r := hosttest.NewReplication()
	h := hosttest.Replicated(t, r, topic.ConsumerOffsets, "orders")
	s := oneShard(t, h, 1<<10, 0)
	require.NoError(t, s.Commit(t.Context(), "printer", "", at(7)))
	require.EqualValues(t, 7, committed(t, s))
	g := r.Group("__consumer_offsets-0")

	g.Depose()
	err := s.Commit(t.Context(), "printer", "", at(8))
	require.ErrorIs(t, err, fault.NotCoordinator)
	require.True(t, fault.Retriable(err))
	_, err = s.Committed(t.Context(), "printer", false, orders)
	require.ErrorIs(t, err, fault.NotCoordinator, "it may have moved on elsewhere")
	commitElsewhere(t, h, g, 9)
	g.Elect()
	require.EqualValues(t, 9, committed(t, s))

	// Without a command meanwhile, only the epoch tells that another node has led.
	g.Depose()
	commitElsewhere(t, h, g, 11)
	g.Elect()
	require.EqualValues(t, 11, committed(t, s))
	require.NoError(t, s.Commit(t.Context(), "printer", "", at(12)))
	require.EqualValues(t, 12, committed(t, s))
}

// TestACommandOnItsWayWhenALeaderFalls is neither acknowledged nor taken for done.
func TestACommandOnItsWayWhenALeaderFalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := hosttest.NewReplication()
		h := hosttest.Replicated(t, r, topic.ConsumerOffsets, "orders")
		s := oneShard(t, h, 1<<10, 0)
		require.NoError(t, s.Commit(t.Context(), "printer", "", at(7)))
		g := r.Group("__consumer_offsets-0")
		release := g.Hold()
		told := make(chan error, 1)
		go func() { told <- s.Commit(t.Context(), "printer", "", at(8)) }()
		synctest.Wait()
		require.Empty(t, told)
		cut := g.HighWatermark()
		g.Depose()
		require.ErrorIs(t, <-told, fault.UnknownOutcome)
		require.NoError(t, g.Truncate(cut))
		release()
		g.Elect()
		require.EqualValues(t, 7, committed(t, s), "the next leader did not have it")
	})
}

// TestANewLeaderExpelsMembersOfADeadNode has a member whose node dies together with the
// coordinator. The next one expels it when its rebalance timeout is over, without a
// command to tell it so.
func TestANewLeaderExpelsMembersOfADeadNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := hosttest.NewReplication()
		h := hosttest.Replicated(t, r, topic.ConsumerOffsets, "orders")
		groups := func(gone func(members []string)) *Groups {
			return NewGroups(GroupsConfig{
				Host: h.Host, Node: 7, Reserve: layout.NewReserve(nil, "", 0),
				Ensure: func(context.Context, topic.Spec) (*host.Topic, error) { return h.Topic(topic.ConsumerOffsets) },
				Gone:   func(_, members []string) { gone(members) },
			})
		}
		first := groups(func([]string) {})
		s, err := first.Shard(t.Context(), "printer", true)
		require.NoError(t, err)
		_, err = s.Join(t.Context(), group.Member{
			Group: "printer", ID: "dead", Topics: []string{"orders"}, SessionTimeout: 45 * time.Second, RebalanceTimeout: time.Minute,
		}, &Listener{Wake: func() {}, LastFetch: time.Now, Group: "printer"})
		require.NoError(t, err)
		first.Close()

		began, after := time.Now(), time.Duration(0)
		next := groups(func(members []string) {
			if len(members) > 0 {
				after = time.Since(began)
			}
		})
		defer next.Close()
		next.LeadershipChanged(0)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		require.InDelta(t, 45, after.Seconds(), 1, "a member of another node has its session timeout to find the coordinator")
	})
}
