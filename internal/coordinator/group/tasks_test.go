package group

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/tasks"
)

// running returns a thread of an application with those sub-topologies.
func running(t require.TestingT, group, instance string, subs ...[]string) Member {
	told, err := tasks.Metadata{Process: instance, SubTopologies: subs}.Encode()
	require.NoError(t, err)
	topics := slices.Concat(subs...)
	slices.Sort(topics)
	return Member{Group: group, InstanceID: instance, Topics: topics, Assignor: tasks.Assignor, Metadata: told}
}

// tasksOf returns what a client works on, as topic/number, sorted.
func (w *world) tasksOf(cl *client) (all []string) {
	for _, p := range cl.owned {
		if name, ok := w.c.topics.Name(p.ID); ok {
			all = append(all, fmt.Sprintf("%s/%d", name, p.Number))
		}
	}
	slices.Sort(all)
	return all
}

func TestATaskMovesAsAWhole(t *testing.T) {
	w := newWorld(t)
	w.setTopics(w.topicNamed("a", 4), w.topicNamed("b", 2))
	x := w.joins(running(t, "app", "", []string{"a", "b"}))
	w.settle()
	require.Equal(t, []string{"a/0", "a/1", "a/2", "a/3", "b/0", "b/1"}, w.tasksOf(x))
	y := w.joins(running(t, "app", "", []string{"a", "b"}))
	w.settle()
	require.Equal(t, []string{"a/0", "a/1", "b/0", "b/1"}, w.tasksOf(x))
	require.Equal(t, []string{"a/2", "a/3"}, w.tasksOf(y))

	grown := slices.Clone(w.topics)
	grown[1].Partitions = 4
	w.setTopics(grown...)
	w.settle()
	require.Equal(t, []string{"a/2", "a/3", "b/2", "b/3"}, w.tasksOf(y), "the task gains a partition where it is")
	w.leave(x)
	w.settle()
	require.Len(t, y.owned, 8)
	w.check()
}

func TestTasksAndPartitionsAreNotSharedInOneGroup(t *testing.T) {
	w := newWorld(t)
	w.setTopics(w.topicNamed("a", 4))
	w.joins(running(t, "app", "", []string{"a"}))
	w.join("group", "", "range", "a")
	for _, m := range []Member{running(t, "group", "", []string{"a"}), {Group: "app", Topics: []string{"a"}}} {
		m.ID = "other"
		_, _, err := w.c.Join(m)
		require.ErrorIs(t, err, fault.InconsistentProtocol)
	}
}

func TestWhatIsToldMustMakeSense(t *testing.T) {
	w := newWorld(t)
	good := running(t, "app", "", []string{"a"})
	for name, change := range map[string]func(*Member){
		"nothing told":         func(m *Member) { m.Metadata = nil },
		"told to another":      func(m *Member) { m.Assignor = "range" },
		"bytes":                func(m *Member) { m.Metadata = []byte("bytes") },
		"too much":             func(m *Member) { m.Metadata = make([]byte, tasks.MaxMetadata+1) },
		"no such subscription": func(m *Member) { m.Topics = []string{"b"} },
	} {
		t.Run(name, func(t *testing.T) {
			m := good
			m.ID = "m"
			change(&m)
			_, _, err := w.c.Join(m)
			require.Error(t, err)
			require.Contains(t, []fault.Code{fault.InvalidRequest, fault.UnsupportedVersion}, fault.CodeOf(err))
		})
	}
}

// checkTasks holds that no two members work on one task, nor on tasks of
// different topologies that share a topic.
func (w *world) checkTasks() {
	owner := map[string]string{}
	for _, id := range slices.Sorted(maps.Keys(w.clients)) {
		cl := w.clients[id]
		told, err := tasks.Decode(cl.Metadata)
		require.NoError(w.t, err)
		mine := map[string]bool{}
		for _, p := range cl.owned {
			name, ok := w.c.topics.Name(p.ID)
			if !ok {
				continue // its topic is no more, so there is nothing to work on
			}
			sub, ok := told.SubTopology(name)
			require.True(w.t, ok)
			for _, topic := range told.SubTopologies[sub] {
				mine[fmt.Sprintf("%s %s/%d", cl.Group, topic, p.Number)] = true
			}
		}
		for task := range mine {
			require.Empty(w.t, owner[task], "%s and %s work on the task of %s", owner[task], id, task)
			owner[task] = id
		}
	}
}

// Whatever threads come and go, topics grow and versions of a program replace
// each other: a task never has two owners.
func TestATaskNeverHasTwoOwners(t *testing.T) {
	topologies := [][][]string{{{"a", "b"}, {"c"}}, {{"a", "b"}, {"c"}}, {{"a"}, {"b", "c"}}, {{"a", "b", "c"}}}
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt)
		w.setTopics(w.topicNamed("a", 4), w.topicNamed("b", 2), w.topicNamed("c", 1))
		pick := func() (*client, bool) {
			if len(w.clients) == 0 {
				return nil, false
			}
			id := rapid.SampledFrom(slices.Sorted(maps.Keys(w.clients))).Draw(rt, "member")
			return w.clients[id], true
		}
		rt.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) {
				w.check()
				w.checkTasks()
			},
			"join": func(rt *rapid.T) {
				instance := rapid.SampledFrom([]string{"", "", "", "s1", "s2"}).Draw(rt, "instance")
				for _, cl := range w.clients {
					if instance != "" && cl.InstanceID == instance {
						return
					}
				}
				w.joins(running(rt, "app", instance, rapid.SampledFrom(topologies).Draw(rt, "topology")...))
			},
			"heartbeat": func(rt *rapid.T) {
				if cl, ok := pick(); ok {
					w.heartbeat(cl)
				}
			},
			"leave": func(rt *rapid.T) {
				if cl, ok := pick(); ok {
					w.leave(cl)
				}
			},
			"expire": func(rt *rapid.T) {
				w.now = w.now.Add(time.Duration(rapid.IntRange(0, 70).Draw(rt, "seconds")) * time.Second)
				result, _, err := w.c.Expire(w.now, func(string) Heard { return Heard{Fetch: w.now} })
				w.took(result, err)
			},
			"grow": func(rt *rapid.T) {
				topics := slices.Clone(w.topics)
				topics[rapid.IntRange(0, len(topics)-1).Draw(rt, "topic")].Partitions++
				w.setTopics(topics...)
			},
			"settle": func(*rapid.T) { w.settle() },
		})
		w.settle()
		w.checkTasks()
	})
}
