package group

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// given is what an assignor gives, by member ID.
type given = map[string][]record.TopicPartition

// custom is an assignor that a test changes while it runs.
type custom struct {
	assign func(consumer.GroupSpec) (given, error)
	asked  []consumer.GroupSpec
}

func (*custom) Name() string { return "custom" }

func (a *custom) Assign(g consumer.GroupSpec) (given, error) {
	a.asked = append(a.asked, g)
	return a.assign(g)
}

// toFirst gives everything to the first member that wants it.
func toFirst(g consumer.GroupSpec) (given, error) {
	to := given{}
	for name, n := range g.Topics {
		at := slices.IndexFunc(g.Members, func(m consumer.MemberSubscription) bool { return slices.Contains(m.Topics, name) })
		for i := range n {
			to[g.Members[at].ID] = append(to[g.Members[at].ID], record.TopicPartition{Topic: name, Partition: int32(i)})
		}
	}
	return to, nil
}

func newCustomWorld(t require.TestingT, a *custom, topics ...int32) *world {
	w := newWorld(t)
	w.c = New(Limits{Assignors: map[string]consumer.PartitionAssignor{"custom": a}})
	var all []Topic
	for i, n := range topics {
		all = append(all, w.topicNamed(string(rune('a'+i)), n))
	}
	w.setTopics(all...)
	return w
}

func TestACustomAssignorDecides(t *testing.T) {
	a := &custom{assign: toFirst}
	w := newCustomWorld(t, a, 3, 1)
	one := w.join("g", "", "custom", "a")
	static := w.join("g", "static", "custom", "a", "b")
	w.settle()
	require.Empty(t, one.owned)
	require.Len(t, static.owned, 4)
	require.Equal(t, consumer.GroupSpec{
		Group: "g",
		Members: []consumer.MemberSubscription{
			{ID: static.ID, InstanceID: "static", ClientID: "test", Topics: []string{"a", "b"}},
			{ID: one.ID, ClientID: "test", Topics: []string{"a"}, Before: []record.TopicPartition{{Topic: "a"}, {Topic: "a", Partition: 1}, {Topic: "a", Partition: 2}}},
		},
		Topics: map[string]int{"a": 3, "b": 1},
	}, a.asked[len(a.asked)-1])
	d, err := w.c.Describe("g")
	require.NoError(t, err)
	require.Equal(t, "custom", d.Assignor)
	w.check()
	w.checkSettled()
}

// wrong are assignments of topic a's two partitions to the members one and two that are
// not valid, each in its own way.
var wrong = map[string]func(one, two string) (given, error){
	"to an unknown member": func(one, _ string) (given, error) { return given{one: at(0), "nobody": at(1)}, nil },
	"of a partition that does not exist": func(one, two string) (given, error) {
		return given{one: at(0), two: at(2)}, nil
	},
	"of a negative partition": func(one, _ string) (given, error) { return given{one: at(-1)}, nil },
	"of an unknown topic": func(one, _ string) (given, error) {
		return given{one: {{Topic: "unknown"}}}, nil
	},
	"of a topic to which the member does not subscribe": func(_, two string) (given, error) { return given{two: {{Topic: "b"}}}, nil },
	"of one partition to two members":                   func(one, two string) (given, error) { return given{one: at(0, 1), two: at(1)}, nil },
	"of one partition twice":                            func(one, _ string) (given, error) { return given{one: at(0, 0)}, nil },
	"that fails":                                        func(string, string) (given, error) { return nil, errors.New("no") },
	"that panics":                                       func(string, string) (given, error) { panic("no") },
}

func at(numbers ...int32) (all []record.TopicPartition) {
	for _, n := range numbers {
		all = append(all, record.TopicPartition{Topic: "a", Partition: n})
	}
	return all
}

// Whom an assignment that is not valid would let in does not come in, and nothing else
// changes.
func TestAnInvalidAssignmentRefusesTheMember(t *testing.T) {
	for name, give := range wrong {
		t.Run(name, func(t *testing.T) {
			a := &custom{assign: toFirst}
			w := newCustomWorld(t, a, 2, 1)
			one := w.join("g", "", "custom", "a", "b")
			before := len(w.log)
			a.assign = func(consumer.GroupSpec) (given, error) { return give(one.ID, "second") }
			_, result, err := w.c.Join(Member{Group: "g", ID: "second", Topics: []string{"a"}, Assignor: "custom"})
			require.ErrorIs(t, err, fault.InvalidAssignment)
			require.ErrorContains(t, err, `the assignor "custom" for group "g"`)
			require.Empty(t, result.Records)
			w.check()
			w.heartbeat(one)
			require.Len(t, one.owned, 3)
			require.Len(t, w.log, before)
			require.False(t, w.c.IsMember("g", "second"))
			w.checkSettled()
		})
	}
}

// Where no member joins, the members keep what they have, and the assignor is asked again
// when something changes.
func TestAGroupKeepsItsAssignmentWhereTheNextIsInvalid(t *testing.T) {
	a := &custom{assign: toFirst}
	w := newCustomWorld(t, a, 2)
	one, two := w.join("g", "", "custom", "a"), w.join("g", "", "custom", "a")
	three := w.join("g", "", "custom", "a")
	w.settle()
	a.assign = func(consumer.GroupSpec) (given, error) { return given{"nobody": at(0)}, nil }
	delete(w.clients, three.ID)
	result, err := w.c.Leave("g", three.ID, w.now)
	w.took(result, err)
	require.Len(t, result.Refused, 1)
	require.ErrorIs(t, result.Refused[0], fault.InvalidAssignment)
	asked := len(a.asked)
	w.settle()
	require.Len(t, one.owned, 2)
	require.Len(t, a.asked, asked, "in one epoch it is asked once")
	result, err = w.c.Commit("g", one.ID, map[record.TopicPartition]consumer.Offset{{Topic: "a"}: {Offset: 1}}, w.now)
	w.took(result, err)
	d, err := w.c.Describe("g")
	require.NoError(t, err)
	require.Equal(t, consumer.GroupAssigning, d.State)
	w.check()

	a.assign = toFirst
	grown := slices.Clone(w.topics)
	grown[0].Partitions = 3
	w.setTopics(grown...)
	w.settle()
	require.Len(t, one.owned, 3)
	require.Empty(t, two.owned)
	w.check()
	w.checkSettled()
}

// Whatever a custom assignor gives, no partition has two owners, what one owns it
// subscribes to, and a running group equals its replay.
func TestWhateverACustomAssignorGives(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a := &custom{}
		a.assign = func(g consumer.GroupSpec) (given, error) {
			if rapid.IntRange(0, 9).Draw(rt, "fails") == 0 {
				return nil, errors.New("no")
			}
			to := given{}
			for name, n := range g.Topics {
				for i := range n + 1 {
					if i == n && rapid.IntRange(0, 9).Draw(rt, "too many") > 0 {
						continue
					}
					if at := rapid.IntRange(-1, len(g.Members)-1).Draw(rt, "to"); at >= 0 && slices.Contains(g.Members[at].Topics, name) {
						to[g.Members[at].ID] = append(to[g.Members[at].ID], record.TopicPartition{Topic: name, Partition: int32(i)})
					}
				}
			}
			return to, nil
		}
		w := newCustomWorld(rt, a, 3, 2)
		pick := func() (*client, bool) {
			if len(w.clients) == 0 {
				return nil, false
			}
			var all []string
			for id := range w.clients {
				all = append(all, id)
			}
			slices.Sort(all)
			return w.clients[rapid.SampledFrom(all).Draw(rt, "member")], true
		}
		rt.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { w.check() },
			"join": func(rt *rapid.T) {
				topics := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b"}), 1, 2, rapid.ID).Draw(rt, "topics")
				slices.Sort(topics)
				w.ids++
				m := Member{Group: "g", ID: string(rune('A' + w.ids)), Topics: topics, Assignor: "custom", RebalanceTimeout: time.Minute, SessionTimeout: time.Minute}
				got, result, err := w.c.Join(m)
				if errors.Is(err, fault.InvalidAssignment) {
					return
				}
				w.took(result, err)
				cl := &client{Member: m}
				w.clients[m.ID] = cl
				cl.obey(got)
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
			"grow": func(*rapid.T) {
				grown := slices.Clone(w.topics)
				grown[0].Partitions++
				w.setTopics(grown...)
			},
		})
	})
}
