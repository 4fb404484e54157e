package catalogue

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/topic"
)

func spread(c *Catalogue, nodes []topic.Node) (leaders, replicas [2]int) {
	for i, l := range c.placer(nodes) {
		if i == 0 {
			leaders, replicas = [2]int{l.leaders, l.leaders}, [2]int{l.replicas, l.replicas}
		}
		leaders = [2]int{min(leaders[0], l.leaders), max(leaders[1], l.leaders)}
		replicas = [2]int{min(replicas[0], l.replicas), max(replicas[1], l.replicas)}
	}
	return leaders, replicas
}

// Whatever topics are made, no node has two replicas of a partition, and none has more than
// one leader more than another. Leaders come first: who has few of them leads, although it
// may have many replicas, so each topic may widen the difference in replicas, by two at most.
func TestPlacement(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := New()
		var nodes []topic.Node
		for n := range rapid.IntRange(1, 7).Draw(t, "nodes") {
			nodes = append(nodes, topic.Node{ID: int32(n + 1)})
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
			_, before := spread(c, nodes)
			name := string(rune('a' + i))
			c.topics[name] = &Topic{Name: name, Partitions: placed}
			leaders, copies := spread(c, nodes)
			require.LessOrEqual(t, leaders[1]-leaders[0], 1)
			require.LessOrEqual(t, copies[1]-copies[0], before[1]-before[0]+2)
		}
	})
}

// The followers of one leader are not always the same nodes.
func TestPlacementMixes(t *testing.T) {
	c := New()
	beside := map[int32]map[int32]bool{}
	for _, p := range c.placer([]topic.Node{{ID: 1}, {ID: 2}, {ID: 3}, {ID: 4}, {ID: 5}}).place(30, 2) {
		if beside[p.Leader] == nil {
			beside[p.Leader] = map[int32]bool{}
		}
		beside[p.Leader][p.Replicas[1]] = true
	}
	for leader, followers := range beside {
		require.Greater(t, len(followers), 1, "leader %d", leader)
	}
}

// However the nodes are spread over racks, a partition has a second replica in a rack only
// when it has one in each that has nodes left.
func TestPlacementOverRacks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := New()
		var nodes []topic.Node
		in := map[string]int{}
		rack := map[int32]string{}
		for n := range rapid.IntRange(1, 9).Draw(t, "nodes") {
			r := rapid.SampledFrom([]string{"a", "b", "c", ""}).Draw(t, "rack")
			nodes = append(nodes, topic.Node{ID: int32(n + 1), Rack: r})
			in[r]++
			rack[int32(n+1)] = r
		}
		replicas := rapid.IntRange(1, len(nodes)).Draw(t, "replicas")
		for _, p := range c.placer(nodes).place(rapid.IntRange(1, 12).Draw(t, "partitions"), replicas) {
			has := map[string]int{}
			for _, n := range p.Replicas {
				has[rack[n]]++
			}
			for r := range in {
				for other := range in {
					require.True(t, has[r] <= has[other]+1 || has[other] == in[other], "racks %v of replicas %v", has, p.Replicas)
				}
			}
		}
	})
}
