package group

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// quiet lets those members alone send heartbeats that were woken or have something to
// give up, until there are none.
func (w *world) quiet() {
	for range 1000 {
		var due []string
		for _, id := range slices.Sorted(maps.Keys(w.clients)) {
			if cl := w.clients[id]; slices.Contains(w.woken, id) || len(cl.owned) != len(cl.told) {
				due = append(due, id)
			}
		}
		w.woken = nil
		if len(due) == 0 {
			return
		}
		for _, id := range due {
			w.heartbeat(w.clients[id])
		}
	}
	require.Fail(w.t, "members do not stop waking each other")
}

// A member that has a step to take was woken: no session has to ask again and again.
func TestWhoHasAStepToTakeIsWoken(t *testing.T) {
	topologies := [][][]string{{{"a", "b"}, {"c"}}, {{"a"}, {"b", "c"}}, {{"a", "b", "c"}}}
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt)
		w.setTopics(w.topicNamed("a", 4), w.topicNamed("b", 3), w.topicNamed("c", 1))
		ofTasks := rapid.Bool().Draw(rt, "tasks")
		pick := func() (*client, bool) {
			if len(w.clients) == 0 {
				return nil, false
			}
			return w.clients[rapid.SampledFrom(slices.Sorted(maps.Keys(w.clients))).Draw(rt, "member")], true
		}
		rt.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { w.check() },
			"join": func(rt *rapid.T) {
				if ofTasks {
					w.joins(running(rt, "g", "", rapid.SampledFrom(topologies).Draw(rt, "topology")...))
					return
				}
				topics := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c"}), 1, 3, rapid.ID).Draw(rt, "topics")
				slices.Sort(topics)
				w.join("g", "", rapid.SampledFrom([]string{"", "range", "roundrobin", "sticky"}).Draw(rt, "assignor"), topics...)
			},
			"heartbeat": func(*rapid.T) {
				if cl, ok := pick(); ok {
					w.heartbeat(cl)
				}
			},
			"leave": func(*rapid.T) {
				if cl, ok := pick(); ok {
					w.leave(cl)
				}
			},
			"expire": func(rt *rapid.T) {
				cl, ok := pick()
				if !ok {
					return
				}
				w.now = w.now.Add(time.Minute)
				result, _, err := w.c.Expire(w.now, func(id string) Heard {
					if id == cl.ID {
						return Heard{}
					}
					return Heard{Fetch: w.now}
				})
				w.took(result, err)
				require.Equal(rt, []string{cl.ID}, result.Gone)
				delete(w.clients, cl.ID)
			},
			"grow": func(rt *rapid.T) {
				topics := slices.Clone(w.topics)
				topics[rapid.IntRange(0, len(topics)-1).Draw(rt, "topic")].Partitions++
				w.setTopics(topics...)
			},
			"quiet": func(*rapid.T) {
				w.quiet()
				for _, g := range w.c.groups {
					for _, m := range g.members {
						require.True(rt, g.settled(m), "%s has a step to take", m.id)
					}
				}
			},
		})
	})
}
