package group

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/topic"
)

func testTopics(sizes ...int32) []Topic {
	var all []Topic
	for i, n := range sizes {
		all = append(all, Topic{Name: fmt.Sprintf("t%d", i), ID: topic.ID{byte(i + 1)}, Partitions: n})
	}
	return all
}

func targets(subscribers []*subscriber) []string {
	var all []string
	for _, s := range subscribers {
		text := ""
		for i, p := range newPartitions(s.target) {
			if i > 0 {
				text += " "
			}
			text += fmt.Sprintf("%d/%d", p.ID[0]-1, p.Number)
		}
		all = append(all, text)
	}
	return all
}

func TestAssignors(t *testing.T) {
	both, same := testTopics(3, 2), testTopics(3, 3)
	for _, test := range []struct {
		assignor string
		topics   [][]Topic // of each member
		want     []string
	}{
		{"uniform", [][]Topic{both, both}, []string{"0/0 0/1 0/2", "1/0 1/1"}},
		{"uniform", [][]Topic{both, both, both, both, both, both}, []string{"0/0", "0/1", "0/2", "1/0", "1/1", ""}},
		{"uniform", [][]Topic{both, both[1:]}, []string{"0/0 0/1 0/2", "1/0 1/1"}},
		{"range", [][]Topic{same, same}, []string{"0/0 0/1 1/0 1/1", "0/2 1/2"}},
		{"range", [][]Topic{both, both}, []string{"0/0 0/1 1/0", "0/2 1/1"}},
		{"range", [][]Topic{same, same[:1]}, []string{"0/0 0/1 1/0 1/1 1/2", "0/2"}},
		{"roundrobin", [][]Topic{both, both}, []string{"0/0 0/2 1/1", "0/1 1/0"}},
		{"roundrobin", [][]Topic{both, both[:1]}, []string{"0/0 0/2 1/0 1/1", "0/1"}},
		{"sticky", [][]Topic{same, same[:1]}, []string{"1/0 1/1 1/2", "0/0 0/1 0/2"}},
	} {
		t.Run(fmt.Sprintf("%s %d", test.assignor, len(test.topics)), func(t *testing.T) {
			var all []*subscriber
			for _, topics := range test.topics {
				all = append(all, &subscriber{topics: topics})
			}
			assignors[test.assignor](all)
			require.Equal(t, test.want, targets(all))
		})
	}
}

// TestAssignorsKeepTheirWord holds for each assignor what its comment says, on
// assignments that went before.
func TestAssignorsKeepTheirWord(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		name := rapid.SampledFrom([]string{"uniform", "range", "roundrobin", "sticky"}).Draw(rt, "assignor")
		topics := testTopics(rapid.SliceOfN(rapid.Int32Range(1, 7), 1, 4).Draw(rt, "partitions")...)
		alike := rapid.Bool().Draw(rt, "alike")
		n := rapid.IntRange(1, 6).Draw(rt, "members")
		all := make([]*subscriber, n)
		for i := range all {
			all[i] = &subscriber{id: fmt.Sprint(i), order: fmt.Sprint(i)}
			for _, tp := range topics {
				if alike || rapid.Bool().Draw(rt, "subscribes") {
					all[i].topics = append(all[i].topics, tp)
				}
				for _, p := range tp.partitions() {
					if rapid.IntRange(0, n).Draw(rt, "owner") == i {
						all[i].before = append(all[i].before, p)
					}
				}
			}
		}
		assignors[name](all)
		given := map[Partition]int{}
		for _, s := range all {
			for _, p := range s.target {
				given[p]++
				require.True(rt, valid(s, p), "got what it does not subscribe to")
			}
		}
		for _, tp := range topicsOf(all) {
			for _, p := range tp.partitions() {
				require.Equal(rt, 1, given[p], "%v", p)
			}
		}
		least, most := 1<<30, 0
		for _, s := range all {
			least, most = min(least, len(s.target)), max(most, len(s.target))
		}
		if alike && name != "range" {
			require.LessOrEqual(rt, most-least, 1, "uneven")
		}
		if name == "roundrobin" {
			return
		}
		// Asked again about what it just said, it says the same.
		again := make([]*subscriber, n)
		for i, s := range all {
			again[i] = &subscriber{id: s.id, order: s.order, topics: s.topics, before: newPartitions(s.target)}
		}
		assignors[name](again)
		for i := range all {
			require.Equal(rt, newPartitions(all[i].target), newPartitions(again[i].target), "moved for nothing")
		}
	})
}
