package coordinator

import (
	"context"
	"fmt"
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

// oneShard returns the coordinator of all groups of a host in memory, whose batches
// hold at most that many bytes.
func oneShard(t *testing.T, h *hosttest.Host, most int, retention time.Duration) *GroupShard {
	t.Helper()
	g := NewGroups(GroupsConfig{
		Host: h.Host, Node: 7, Retention: retention, Classic: group.ServeClassic,
		Ensure:  func(context.Context, topic.Spec) (*host.Topic, error) { return h.Topic(topic.ConsumerOffsets) },
		Reserve: layout.NewReserve(nil, "", 0),
		Gone:    func(groups, members []string) {},
	})
	t.Cleanup(g.Close)
	s, err := g.Shard(t.Context(), "any", true)
	require.NoError(t, err)
	s.most = most
	return s
}

// groupsOf returns how many groups there are, and how many with offsets.
func groupsOf(t *testing.T, s *GroupShard) (groups, withOffsets int) {
	t.Helper()
	require.NoError(t, s.View(t.Context(), func(c *group.Coordinator) error {
		for _, g := range c.Groups() {
			groups++
			if len(c.Offsets(g.Name)) > 0 {
				withOffsets++
			}
		}
		return nil
	}))
	return groups, withOffsets
}

const manyGroups = 50

// committing makes groups with one offset each, one command after the other.
func committing(t *testing.T, s *GroupShard) {
	t.Helper()
	for i := range manyGroups {
		require.NoError(t, s.Commit(t.Context(), fmt.Sprint("group-", i), "", map[record.TopicPartition]consumer.Offset{
			{Topic: "orders"}: {Offset: 7, LeaderEpoch: record.NoLeaderEpoch},
		}))
	}
}

// Deleting a topic takes the offsets of all groups with it, in as many batches as
// they need.
func TestTombstonesOfADeletedTopicFillSeveralBatches(t *testing.T) {
	h := hosttest.New(t, topic.ConsumerOffsets, "orders", "kept")
	s := oneShard(t, h, 300, 0)
	committing(t, s)
	_, with := groupsOf(t, s)
	require.Equal(t, manyGroups, with)
	require.NoError(t, h.Remove("orders"))
	_, with = groupsOf(t, s)
	require.Zero(t, with)

	again := oneShard(t, h, 300, 0) // from the log
	_, with = groupsOf(t, again)
	require.Zero(t, with)
}

// The same holds for groups that expire at once.
func TestTombstonesOfExpiredGroupsFillSeveralBatches(t *testing.T) {
	h := hosttest.New(t, topic.ConsumerOffsets, "orders")
	before := oneShard(t, h, 1<<20, time.Hour)
	committing(t, before)
	s := oneShard(t, h, 300, time.Nanosecond)
	require.NoError(t, s.run(t.Context(), func(*group.Coordinator) (group.Result, error) {
		s.members = true // so that the round looks for what expires
		return group.Result{}, nil
	}))
	groups, _ := groupsOf(t, s)
	require.Zero(t, groups)
}

// What belongs together is never split: it is refused, and the rest goes on.
func TestOffsetsOfOneCommitAreNotSplit(t *testing.T) {
	h := hosttest.New(t, topic.ConsumerOffsets, "orders", "kept")
	s := oneShard(t, h, 150, 0)
	err := s.Commit(t.Context(), "g", "", map[record.TopicPartition]consumer.Offset{
		{Topic: "orders"}: {Offset: 7}, {Topic: "kept"}: {Offset: 7},
	})
	require.ErrorIs(t, err, fault.RecordListTooLarge)
	groups, _ := groupsOf(t, s)
	require.Zero(t, groups)
	require.NoError(t, s.Commit(t.Context(), "g", "", map[record.TopicPartition]consumer.Offset{{Topic: "kept"}: {Offset: 7}}))
}

// A ctx that ends while its command waits leaves the outcome of a change unknown. A
// command that only reads has none, nor has one that did not begin.
func TestContextsOfCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hosttest.New(t, topic.ConsumerOffsets, "orders")
		s := oneShard(t, h, 1<<20, 0)
		look := func(ctx context.Context) error {
			return s.View(ctx, func(*group.Coordinator) error { return nil })
		}
		commit := func(ctx context.Context) error {
			return s.Commit(ctx, "g", "", map[record.TopicPartition]consumer.Offset{{Topic: "orders"}: {Offset: 7}})
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		require.Equal(t, context.Canceled, look(ended))
		require.Equal(t, context.Canceled, commit(ended))

		begun, goOn, over := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		go func() {
			over <- s.View(t.Context(), func(*group.Coordinator) error {
				close(begun)
				<-goOn
				return nil
			})
		}()
		<-begun
		for _, test := range []struct {
			command func(context.Context) error
			unknown bool
		}{{look, false}, {commit, true}} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			err := test.command(ctx)
			cancel()
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Equal(t, test.unknown, fault.CodeOf(err) == fault.UnknownOutcome, "%v", err)
		}
		close(goOn)
		require.NoError(t, <-over)
	})
}
