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
	"github.com/runnel-go/runnel/internal/host/hosttest"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

func classicJoin(id string) group.JoinGroupRequest {
	return group.JoinGroupRequest{
		GroupID: "g", ProtocolType: group.ConsumerProtocol, Protocols: []group.Protocol{{Name: "range", Metadata: []byte("m")}},
		SessionTimeout: 10 * time.Second, RebalanceTimeout: time.Minute, MemberID: "", NewMemberID: id, ClientID: "client",
	}
}

// Two members of the classic protocol share a group, through requests that wait for each
// other; the silent one is expelled without any request.
func TestClassicMembersShareAGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hosttest.New(t, "orders", topic.ConsumerOffsets)
		s := oneShard(t, h, 1<<20, 0)
		ctx := t.Context()
		joined := make(chan group.JoinGroupResponse, 2)
		for _, id := range []string{"a", "b"} {
			go func() { joined <- s.JoinGroup(ctx, classicJoin(id)) }()
		}
		a, b := <-joined, <-joined
		if a.Leader != a.MemberID {
			a, b = b, a
		}
		require.NoError(t, a.Err)
		require.NoError(t, b.Err)
		require.Len(t, a.Members, 2)
		require.Empty(t, b.Members)
		require.Equal(t, a.GenerationID, b.GenerationID)

		synced := make(chan group.SyncGroupResponse, 1)
		go func() {
			synced <- s.SyncGroup(ctx, group.SyncGroupRequest{GroupID: "g", GenerationID: b.GenerationID, MemberID: b.MemberID})
		}()
		led := s.SyncGroup(ctx, group.SyncGroupRequest{
			GroupID: "g", GenerationID: a.GenerationID, MemberID: a.MemberID,
			Assignments: map[string][]byte{a.MemberID: []byte("for a"), b.MemberID: []byte("for b")},
		})
		require.NoError(t, led.Err)
		require.Equal(t, "for a", string(led.Assignment))
		require.Equal(t, "for b", string((<-synced).Assignment))

		me := group.HeartbeatRequest{GroupID: "g", GenerationID: a.GenerationID, MemberID: a.MemberID}
		require.NoError(t, s.HeartbeatGroup(ctx, me))
		require.NoError(t, s.CommitOffsets(ctx, me, map[record.TopicPartition]consumer.Offset{{Topic: "orders"}: {Offset: 1}}))
		me.GenerationID--
		require.ErrorIs(t, s.HeartbeatGroup(ctx, me), fault.IllegalGeneration)
		require.ErrorIs(t, s.CommitOffsets(ctx, me, nil), fault.IllegalGeneration)

		time.Sleep(11 * time.Second)
		synctest.Wait()
		d, err := s.Describe(ctx, "g")
		require.NoError(t, err)
		require.Equal(t, consumer.GroupEmpty, d.State, "both were silent")
		errs, err := s.LeaveGroup(ctx, "g", []group.MemberIdentity{{MemberID: a.MemberID}})
		require.NoError(t, err)
		require.ErrorIs(t, errs[0], fault.UnknownMember)
	})
}

// A request that waits ends with its context, and when the coordinator starts again.
func TestAClassicRequestDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hosttest.New(t, topic.ConsumerOffsets)
		s := oneShard(t, h, 1<<20, 0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, s.JoinGroup(ctx, classicJoin("a")).Err, context.DeadlineExceeded)

		joined := make(chan group.JoinGroupResponse, 1)
		go func() { joined <- s.JoinGroup(t.Context(), classicJoin("b")) }()
		synctest.Wait()
		require.NoError(t, s.View(t.Context(), func(*group.Coordinator) error { s.requests.abandon(); return nil }))
		require.ErrorIs(t, (<-joined).Err, fault.NotCoordinator)
	})
}
