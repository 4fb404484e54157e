package catalogue

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func spread(c *Catalogue, nodes []int32) (leaders, replicas [2]int) {
	for i, l := range c.placer(nodes) {
		if i == 0 {
			leaders, replicas = [2]int{l.leaders, l.leaders}, [2]int{l.replicas, l.replicas}
		}
		leaders = [2]int{min(leaders[0], l.leaders), max(leaders[1], l.leaders)}
		replicas = [2]int{min(replicas[0], l.replicas), max(replicas[1], l.replicas)}
	}
	return leaders, replicas
}

// Whatever topics are made, no node has two replicas of a partition, and no node has more
// than one leader or two replicas more than another.
func TestPlacement(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := New()
		var nodes []int32
		for n := range rapid.IntRange(1, 7).Draw(t, "nodes") {
			nodes = append(nodes, int32(n+1))
		}
		for i := range rapid.IntRange(1, 6).Draw(t, "topics") {
			replicas := rapid.IntRange(1, len(nodes)).Draw(t, "replicas")
			count := rapid.IntRange(1, 12).Draw(t, "partitions")
			placed := c.placer(nodes).place(count, replicas)
			require.Len(t, placed, count)
			for _, p := range placed {
				require.Len(t, p.Replicas, replicas)
				require.Equal(t, p.Replicas[0], p.Leader)
				seen := map[int32]bool{}
				for _, n := range p.Replicas {
					require.False(t, seen[n], "two replicas on node %d", n)
					seen[n] = true
				}
			}
			name := string(rune('a' + i))
			c.topics[name] = &Topic{Name: name, Partitions: placed}
			leaders, copies := spread(c, nodes)
			require.LessOrEqual(t, leaders[1]-leaders[0], 1)
			require.LessOrEqual(t, copies[1]-copies[0], 2)
		}
	})
}

// The followers of one leader are not always the same nodes.
func TestPlacementMixes(t *testing.T) {
	c := New()
	beside := map[int32]map[int32]bool{}
	for _, p := range c.placer([]int32{1, 2, 3, 4, 5}).place(30, 2) {
		if beside[p.Leader] == nil {
			beside[p.Leader] = map[int32]bool{}
		}
		beside[p.Leader][p.Replicas[1]] = true
	}
	for leader, followers := range beside {
		require.Greater(t, len(followers), 1, "leader %d", leader)
	}
}
