package kafka

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/runnel-go/runnel/internal/tasks"
)

// claim is a thread that joins, with the partitions that it claims to own.
type claim struct {
	id         string
	generation int32
	owned      map[string][]int32
}

// balance returns the assignment of each member, without members that get
// nothing.
func balance(t *testing.T, counts map[string]int32, claims ...claim) map[string]map[string][]int32 {
	told, err := tasks.Metadata{SubTopologies: [][]string{{"a", "b"}}}.Encode()
	require.NoError(t, err)
	b := taskBalancer{told}
	var members []kmsg.JoinGroupResponseMember
	for _, c := range claims {
		m := kmsg.NewJoinGroupResponseMember()
		m.MemberID, m.ProtocolMetadata = c.id, b.JoinGroupMetadata([]string{"a", "b"}, c.owned, c.generation)
		members = append(members, m)
	}
	balancer, topics, err := b.MemberBalancer(members)
	require.NoError(t, err)
	require.Len(t, topics, 2)
	into, err := balancer.(kgo.GroupMemberBalancerOrError).BalanceOrError(counts)
	require.NoError(t, err)
	plan := make(map[string]map[string][]int32)
	for _, a := range into.IntoSyncAssignment() {
		given, err := b.ParseSyncAssignment(a.MemberAssignment)
		require.NoError(t, err)
		for _, partitions := range given {
			slices.Sort(partitions)
		}
		plan[a.MemberID] = given
	}
	return plan
}

type owning = map[string][]int32

// A task leaves its owner in one generation and reaches the next owner in
// another, as a whole.
func TestATaskMovesInTwoGenerations(t *testing.T) {
	counts := map[string]int32{"a": 4, "b": 2}
	all := owning{"a": {0, 1, 2, 3}, "b": {0, 1}}
	require.Equal(t, map[string]owning{"x": all}, balance(t, counts, claim{"x", -1, nil}))

	half := owning{"a": {0, 1}, "b": {0, 1}}
	joined := balance(t, counts, claim{"x", 1, all}, claim{"y", -1, nil})
	require.Equal(t, map[string]owning{"x": half, "y": {}}, joined, "x has not given up anything yet")
	moved := balance(t, counts, claim{"x", 2, half}, claim{"y", 2, nil})
	require.Equal(t, map[string]owning{"x": half, "y": {"a": {2, 3}}}, moved)
}

func TestATaskWaitsForAllOfIt(t *testing.T) {
	counts := map[string]int32{"a": 1, "b": 1}
	parted := balance(t, counts, claim{"x", 1, owning{"a": {0}}}, claim{"y", 1, owning{"b": {0}}})
	require.Equal(t, map[string]owning{"x": {}, "y": {}}, parted, "each has a part, and gives it up")

	grown := balance(t, map[string]int32{"a": 1, "b": 1}, claim{"x", 1, owning{"a": {0}}})
	require.Equal(t, map[string]owning{"x": {"a": {0}, "b": {0}}}, grown, "a new partition comes to the task's owner")
}

// A member that missed a generation claims partitions that another one has got
// since.
func TestAnOldClaimDoesNotCount(t *testing.T) {
	both := owning{"a": {0}, "b": {0}}
	for _, order := range [][]claim{{{"old", 1, both}, {"new", 3, both}}, {{"new", 3, both}, {"old", 1, both}}} {
		plan := balance(t, map[string]int32{"a": 1, "b": 1}, order...)
		require.Equal(t, map[string]owning{"old": {}, "new": both}, plan)
	}
}
