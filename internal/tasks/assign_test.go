package tasks_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/tasks"
	"github.com/runnel-go/runnel/record"
)

// text writes an assignment as sub-topology/partition, member by member.
func text(assigned [][]tasks.Task) string {
	var all []string
	for _, of := range assigned {
		var words []string
		for _, t := range of {
			words = append(words, fmt.Sprintf("%s/%d", t.Topics, t.Partition))
		}
		all = append(all, strings.Join(words, " "))
	}
	return strings.Join(all, "; ")
}

func thread(process string, subs ...string) tasks.Member {
	m := tasks.Member{Metadata: tasks.Metadata{Process: process}}
	for _, sub := range subs {
		m.SubTopologies = append(m.SubTopologies, strings.Split(sub, ","))
	}
	return m
}

func TestATaskIsGivenWithAllOfItsPartitions(t *testing.T) {
	x, y := thread("x", "a,b"), thread("y", "a,b")
	assigned := tasks.Assign([]tasks.Member{x, y}, map[string]int32{"a": 4, "b": 2})
	require.Equal(t, "a,b/0 a,b/1; a,b/2 a,b/3", text(assigned))
	require.Equal(t, []record.TopicPartition{{Topic: "a", Partition: 1}, {Topic: "b", Partition: 1}}, assigned[0][1].Reads)
	require.Equal(t, []record.TopicPartition{{Topic: "a", Partition: 2}}, assigned[1][0].Reads)
}

func TestOddTasksAreSpreadOverProcesses(t *testing.T) {
	members := []tasks.Member{thread("x", "a", "b"), thread("x", "a", "b"), thread("y", "a", "b"), thread("y", "a", "b")}
	require.Equal(t, "a/0; b/0; a/1; b/1", text(tasks.Assign(members, map[string]int32{"a": 2, "b": 2})))
}

// During the rollout of a new version of a program, the sub-topologies of the
// majority count, and those that overlap with them wait.
func TestMembersOfDifferentTopologiesNeverShareATopic(t *testing.T) {
	older, newer := thread("old", "a", "b"), thread("new", "a,b", "c")
	counts := map[string]int32{"a": 2, "b": 1, "c": 1}
	require.Equal(t, "a/0 a/1 b/0; c/0", text(tasks.Assign([]tasks.Member{older, newer}, counts)))
	require.Equal(t, "; a,b/0 c/0; a,b/1", text(tasks.Assign([]tasks.Member{older, newer, newer}, counts)))
}

func TestMetadataIsReadAsItWasWritten(t *testing.T) {
	m := tasks.Metadata{Process: "p", SubTopologies: [][]string{{"a", "b"}, {"c"}}}
	b, err := m.Encode()
	require.NoError(t, err)
	read, err := tasks.Decode(b)
	require.NoError(t, err)
	require.Equal(t, m, read)

	newer := append([]byte{0, 1}, b[2:]...)
	_, err = tasks.Decode(newer)
	require.ErrorIs(t, err, fault.UnsupportedVersion)
	for n := range b {
		_, err := tasks.Decode(b[:n])
		require.ErrorIs(t, err, fault.InvalidRequest, "the first %d bytes", n)
	}
	twice, err := tasks.Metadata{SubTopologies: [][]string{{"a"}, {"a"}}}.Encode()
	require.NoError(t, err)
	_, err = tasks.Decode(twice)
	require.ErrorIs(t, err, fault.InvalidRequest)
	name := strings.Repeat("p", 32_000)
	_, err = tasks.Metadata{SubTopologies: slices.Repeat([][]string{{name}}, tasks.MaxMetadata/len(name)+1)}.Encode()
	require.ErrorIs(t, err, fault.InvalidConfig)
}

func FuzzDecode(f *testing.F) {
	b, err := tasks.Metadata{Process: "p", SubTopologies: [][]string{{"a", "b"}, {"c"}}}.Encode()
	require.NoError(f, err)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := tasks.Decode(b)
		if err != nil {
			return
		}
		again, err := m.Encode()
		require.NoError(t, err)
		read, err := tasks.Decode(again)
		require.NoError(t, err)
		require.Equal(t, m, read)
	})
}

// Members come and go, and topics grow: each task has one owner at any time,
// all members have equally many, and no task moves without need.
func TestAnySequenceOfMembers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		subs := rapid.SampledFrom([][]string{{"a"}, {"a,b"}, {"a,b", "c"}, {"a", "b", "c"}}).Draw(t, "topology")
		counts := map[string]int32{}
		grow := func() {
			for _, name := range []string{"a", "b", "c"} {
				counts[name] += rapid.Int32Range(0, 4).Draw(t, name)
			}
		}
		grow()
		var members []tasks.Member
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"join", "join", "leave", "grow"}).Draw(t, "step") {
			case "join":
				at := rapid.IntRange(0, len(members)).Draw(t, "where")
				m := thread(rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "process"), subs...)
				members = append(members[:at:at], append([]tasks.Member{m}, members[at:]...)...)
			case "leave":
				if len(members) > 0 {
					at := rapid.IntRange(0, len(members)-1).Draw(t, "who")
					members = append(members[:at:at], members[at+1:]...)
				}
			case "grow":
				grow()
			}
			if len(members) > 0 {
				checkAssigned(t, subs, counts, members)
			}
		}
	})
}

// checkAssigned assigns, and makes the members own what they were assigned.
func checkAssigned(t *rapid.T, subs []string, counts map[string]int32, members []tasks.Member) {
	assigned := tasks.Assign(members, counts)
	owners := map[record.TopicPartition]int{}
	fewest, most := 1<<30, 0
	for i, of := range assigned {
		members[i].Owned = nil
		perSub := map[string]int{}
		for _, task := range of {
			perSub[task.Topics]++
			for _, tp := range task.Reads {
				require.NotContains(t, owners, tp)
				require.Equal(t, task.Partition, tp.Partition)
				owners[tp] = i
			}
			members[i].Owned = append(members[i].Owned, task.Reads...)
		}
		fewest, most = min(fewest, len(of)), max(most, len(of))
		for _, sub := range subs {
			n := int32(0)
			for name := range strings.SplitSeq(sub, ",") {
				n = max(n, counts[name])
			}
			require.Contains(t, []int{int(n) / len(members), (int(n) + len(members) - 1) / len(members)}, perSub[sub])
		}
	}
	require.LessOrEqual(t, most-fewest, 1)
	total := int32(0)
	for sub := range strings.SplitSeq(strings.Join(subs, ","), ",") {
		total += counts[sub]
	}
	require.Len(t, owners, int(total))
	require.Equal(t, text(assigned), text(tasks.Assign(members, counts)), "assigning once more moves something")
}

// With one sub-topology, a new member gets its share and the others keep the
// rest. When a member leaves, its tasks are distributed, and the others keep
// theirs.
func TestNothingMovesWithoutNeed(t *testing.T) {
	counts := map[string]int32{"a": 7, "b": 3}
	members := []tasks.Member{thread("x", "a,b"), thread("y", "a,b")}
	own := func(assigned [][]tasks.Task) {
		for i, of := range assigned {
			members[i].Owned = nil
			for _, task := range of {
				members[i].Owned = append(members[i].Owned, task.Reads...)
			}
		}
	}
	own(tasks.Assign(members, counts))
	members = append([]tasks.Member{thread("0", "a,b")}, members...)
	joined := tasks.Assign(members, counts)
	require.Equal(t, "a,b/3 a,b/6; a,b/0 a,b/1 a,b/2; a,b/4 a,b/5", text(joined))
	own(joined)
	members = members[1:]
	require.Equal(t, "a,b/0 a,b/1 a,b/2 a,b/3; a,b/4 a,b/5 a,b/6", text(tasks.Assign(members, counts)))
}
