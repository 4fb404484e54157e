package group

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// world is a coordinator with its log and with clients that follow its answers.
type world struct {
	t       require.TestingT
	c       *Coordinator
	log     []entry
	topics  []Topic
	now     time.Time
	ids     int
	clients map[string]*client
	woken   []string // members that were woken and have not sent a heartbeat since
}

// client is one member: owned is what it works on.
type client struct {
	Member
	epoch int32
	owned partitions
	told  partitions // what the last response allowed

	revoked int // how many partitions it has given up; a crowd counts them
}

func newWorld(t require.TestingT, topics ...Topic) *world {
	w := &world{t: t, c: New(Limits{}), now: time.UnixMilli(1_000_000), clients: map[string]*client{}}
	w.setTopics(topics...)
	return w
}

func (w *world) topicNamed(name string, n int32) Topic {
	w.ids++
	return Topic{Name: name, ID: topic.ID{byte(w.ids), byte(w.ids >> 8), 1}, Partitions: n}
}

func (w *world) setTopics(topics ...Topic) {
	w.topics = topics
	result, err := w.c.SetTopics(NewTopics(topics))
	w.took(result, err)
}

func (w *world) took(result Result, err error) {
	require.NoError(w.t, err)
	w.add(result)
	w.woken = append(w.woken, result.Wake...)
}

func (w *world) join(group, instance, assignor string, topics ...string) *client {
	return w.joins(Member{Group: group, InstanceID: instance, Topics: topics, Assignor: assignor})
}

func (w *world) joins(m Member) *client {
	w.ids++
	m.ID, m.ClientID, m.RebalanceTimeout, m.SessionTimeout = fmt.Sprintf("m%03d", w.ids), "test", time.Minute, 10*time.Second
	cl := &client{Member: m}
	a, result, err := w.c.Join(cl.Member)
	w.took(result, err)
	w.clients[cl.ID] = cl
	cl.obey(a)
	return cl
}

// obey takes what is new at once, and leaves giving up to the next heartbeat.
func (cl *client) obey(a Assignment) {
	cl.epoch, cl.told = a.Epoch, a.Partitions
	cl.owned = cl.owned.plus(cl.told)
}

// heartbeat gives up what is to be given up and reports it.
func (w *world) heartbeat(cl *client) {
	cl.owned = cl.owned.and(cl.told)
	a, result, err := w.c.Heartbeat(cl.Group, cl.ID, cl.owned)
	w.took(result, err)
	target := w.c.groups[cl.Group].targets[cl.ID]
	require.Empty(w.t, cl.owned.minus(a.Partitions).and(target), "it is to give up what it may keep")
	cl.obey(a)
}

// settle lets everybody call until nothing changes any more.
func (w *world) settle() {
	for range 10 * (len(w.clients) + 1) {
		before := len(w.log)
		for _, id := range slices.Sorted(maps.Keys(w.clients)) {
			w.heartbeat(w.clients[id])
		}
		if len(w.log) == before {
			return
		}
	}
	require.Fail(w.t, "the group does not settle")
}

func (w *world) leave(cl *client) {
	delete(w.clients, cl.ID)
	result, err := w.c.Leave(cl.Group, cl.ID, w.now)
	w.took(result, err)
}

// check holds what is true at any moment.
func (w *world) check() {
	replayed := w.replay(w.log)
	require.Equal(w.t, w.c.groups, replayed.groups, "the running state differs from its replay")
	require.Equal(w.t, w.c.pending, replayed.pending, "the running state differs from its replay")
	compacted := w.replay(lastOfEachKey(w.log))
	require.Equal(w.t, unordered(w.c.groups), unordered(compacted.groups), "the running state differs from the replay of the compacted log")
	require.Equal(w.t, w.c.Pending(), compacted.Pending(), "the running state differs from the replay of the compacted log")
	for _, g := range w.c.groups {
		n := 0
		for _, m := range g.members {
			for _, p := range m.assigned.plus(m.revoking) {
				require.Equal(w.t, m.id, g.owner(p))
				n++
			}
		}
		require.Len(w.t, g.owners, n)
	}
	working := map[string]string{}
	for _, cl := range w.clients {
		for _, p := range cl.owned {
			at := fmt.Sprint(cl.Group, p)
			require.Empty(w.t, working[at], "two members work on one partition")
			working[at] = cl.ID
		}
	}
}

// checkSettled checks what must hold when no member has a step left to take.
func (w *world) checkSettled() {
	for name, g := range w.c.groups {
		wanted := map[Partition]bool{}
		for _, tn := range g.topics(w.c.topics) {
			if tp, ok := w.c.topics.byName[tn]; ok {
				for _, p := range tp.partitions() {
					wanted[p] = true
				}
			}
		}
		away := 0
		for _, m := range g.members {
			if m.epoch == epochAway {
				away++
			}
			for _, p := range m.assigned {
				if wanted[p] {
					require.Contains(w.t, m.topics, w.c.topics.byID[p.ID].Name, "a member got what it did not subscribe to")
				}
				delete(wanted, p)
			}
		}
		if away > 0 || len(g.members) == 0 {
			continue
		}
		require.Empty(w.t, wanted, "partitions of group %s without an owner", name)
		require.Equal(w.t, consumer.GroupStable, g.state())
	}
}

func (w *world) owned(clients ...*client) [][]int32 {
	var all [][]int32
	for _, cl := range clients {
		var numbers []int32
		for _, p := range cl.owned {
			numbers = append(numbers, p.Number)
		}
		all = append(all, numbers)
	}
	return all
}

func TestMembersShareWhatThereIs(t *testing.T) {
	w := newWorld(t)
	w.setTopics(w.topicNamed("a", 6))
	one := w.join("g", "", "", "a")
	require.Equal(t, [][]int32{{0, 1, 2, 3, 4, 5}}, w.owned(one))

	two := w.join("g", "", "", "a")
	require.Equal(t, [][]int32{{0, 1, 2, 3, 4, 5}, nil}, w.owned(one, two), "nothing is free before it is given up")
	w.heartbeat(one)
	w.heartbeat(two)
	require.Equal(t, [][]int32{{0, 1, 2, 3, 4, 5}, nil}, w.owned(one, two), "told to give up is not given up")
	w.heartbeat(one)
	w.heartbeat(two)
	require.Equal(t, [][]int32{{0, 1, 2}, {3, 4, 5}}, w.owned(one, two))
	w.check()

	w.leave(one)
	w.heartbeat(two)
	require.Equal(t, [][]int32{{0, 1, 2, 3, 4, 5}}, w.owned(two))
	w.check()
	w.checkSettled()
}

func TestOnlyThoseWithNewsAreWoken(t *testing.T) {
	w := newWorld(t)
	w.setTopics(w.topicNamed("a", 2))
	one, two := w.join("g", "", "", "a"), w.join("g", "", "", "a")
	w.settle()
	three := w.join("g", "", "", "a")
	_, result, err := w.c.Heartbeat("g", one.ID, one.owned)
	w.took(result, err)
	require.NotContains(t, result.Wake, one.ID, "who called knows already")
	w.settle()
	require.Equal(t, [][]int32{{0}, {1}, nil}, w.owned(one, two, three))

	_, result, err = w.c.Heartbeat("g", two.ID, two.owned)
	require.NoError(t, err)
	require.Empty(t, result.Records, "a heartbeat without news writes nothing")
	require.Empty(t, result.Wake)

	result, err = w.c.Leave("g", one.ID, w.now)
	w.took(result, err)
	delete(w.clients, one.ID)
	require.ElementsMatch(t, []string{two.ID, three.ID}, result.Wake)
	w.settle()
	require.Equal(t, [][]int32{{1}, {0}}, w.owned(two, three))
}

func TestStaticMemberComesBackWithoutRebalance(t *testing.T) {
	w := newWorld(t)
	w.setTopics(w.topicNamed("a", 4))
	one, two := w.join("g", "one", "", "a"), w.join("g", "two", "", "a")
	w.settle()
	before := one.owned
	epoch := w.c.groups["g"].epoch

	_, _, err := w.c.Join(Member{Group: "g", ID: "other", InstanceID: "one", Topics: []string{"a"}})
	require.ErrorIs(t, err, fault.UnreleasedInstance)

	w.leave(one)
	w.heartbeat(two)
	require.Len(t, two.owned, 2, "the place of a static member is kept")
	again := w.join("g", "one", "", "a")
	require.Equal(t, before, again.owned)
	require.Equal(t, epoch, w.c.groups["g"].epoch, "coming back is no rebalance")
	w.check()

	w.leave(again)
	w.now = w.now.Add(9 * time.Second)
	heard := func(string) Heard { return Heard{Fetch: w.now} }
	result, next, err := w.c.Expire(w.now, heard)
	w.took(result, err)
	require.Equal(t, time.Second, next.Sub(w.now))
	w.now = next
	result, _, err = w.c.Expire(w.now, heard)
	w.took(result, err)
	require.Equal(t, []string{two.ID}, result.Wake)
	w.settle()
	require.Len(t, two.owned, 4)
	w.check()
}

func TestMemberThatDoesNotPollLosesItsPlace(t *testing.T) {
	w := newWorld(t)
	w.setTopics(w.topicNamed("a", 2))
	lazy, busy := w.join("g", "", "", "a"), w.join("g", "", "", "a")
	w.settle()
	start := w.now
	heard := func(id string) Heard {
		if id == busy.ID {
			return Heard{Fetch: w.now}
		}
		return Heard{Fetch: start}
	}
	w.now = start.Add(time.Minute - 1)
	result, next, err := w.c.Expire(w.now, heard)
	w.took(result, err)
	require.Empty(t, result.Records)
	require.Equal(t, start.Add(time.Minute), next)
	w.now = next
	result, next, err = w.c.Expire(w.now, heard)
	w.took(result, err)
	require.Equal(t, w.now.Add(time.Minute), next)
	require.Equal(t, []string{lazy.ID}, result.Gone)
	delete(w.clients, lazy.ID)
	w.settle()
	require.Len(t, busy.owned, 2)
	_, _, err = w.c.Heartbeat("g", lazy.ID, lazy.owned)
	require.ErrorIs(t, err, fault.UnknownMember)
	_, err = w.c.Commit("g", lazy.ID, nil, w.now)
	require.ErrorIs(t, err, fault.UnknownMember)
	w.check()
}

func TestTopicsComeGrowAndGo(t *testing.T) {
	w := newWorld(t)
	one := w.join("g", "", "", "a", "b")
	require.Empty(t, one.owned)
	a := w.topicNamed("a", 1)
	w.setTopics(a)
	w.settle()
	require.Equal(t, partitions{{ID: a.ID}}, one.owned)
	a.Partitions = 2
	w.setTopics(a)
	w.settle()
	require.Len(t, one.owned, 2)
	w.check()

	tp := record.TopicPartition{Topic: "a"}
	result, err := w.c.Commit("g", one.ID, map[record.TopicPartition]consumer.Offset{tp: {Offset: 7}}, w.now)
	w.took(result, err)
	require.Equal(t, int64(7), w.c.Offsets("g")[tp].Offset)
	again := w.topicNamed("a", 1)
	w.setTopics(again)
	require.Empty(t, w.c.Offsets("g"), "offsets of a topic that was deleted are not those of its successor")
	w.settle()
	require.Equal(t, partitions{{ID: again.ID}}, one.owned)
	w.check()
	w.setTopics()
	w.settle()
	require.Empty(t, one.owned)
	w.check()
}

func TestCommit(t *testing.T) {
	w := newWorld(t)
	w.setTopics(w.topicNamed("a", 2))
	at := func(n int32, o consumer.Offset) map[record.TopicPartition]consumer.Offset {
		return map[record.TopicPartition]consumer.Offset{{Topic: "a", Partition: n}: o}
	}
	good := consumer.Offset{Offset: 1, LeaderEpoch: 3, Metadata: "mine"}
	result, err := w.c.Commit("alone", "", at(1, good), w.now)
	w.took(result, err)
	require.Equal(t, at(1, good), w.c.Offsets("alone"))
	require.Equal(t, at(1, good), w.c.Offsets("alone", record.TopicPartition{Topic: "a", Partition: 1}, record.TopicPartition{Topic: "a"}))
	require.Empty(t, w.c.Offsets("unknown"))

	one, two := w.join("g", "", "", "a"), w.join("g", "", "", "a")
	w.settle()
	for _, test := range []struct {
		name    string
		member  string
		offsets map[record.TopicPartition]consumer.Offset
		want    error
	}{
		{"its own", one.ID, at(one.owned[0].Number, good), nil},
		{"another's", one.ID, at(two.owned[0].Number, good), fault.StaleMemberEpoch},
		{"a stranger", "x", at(0, good), fault.UnknownMember},
		{"from outside", "", at(0, good), fault.NonEmptyGroup},
		{"no such partition", one.ID, at(2, good), fault.UnknownTopic},
		{"a negative offset", one.ID, at(one.owned[0].Number, consumer.Offset{Offset: -1}), fault.OffsetOutOfRange},
		{"long words", one.ID, at(one.owned[0].Number, consumer.Offset{Metadata: string(make([]byte, 4097))}), fault.OffsetMetadataTooLarge},
	} {
		t.Run(test.name, func(t *testing.T) {
			result, err := w.c.Commit("g", test.member, test.offsets, w.now)
			require.ErrorIs(t, err, test.want)
			w.add(result)
		})
	}
	w.check()

	_, err = w.c.Delete("g")
	require.ErrorIs(t, err, fault.NonEmptyGroup)
	w.leave(one)
	w.leave(two)
	result, err = w.c.Delete("g")
	w.took(result, err)
	_, err = w.c.Delete("g")
	require.ErrorIs(t, err, fault.GroupNotFound)
	require.Equal(t, []consumer.GroupListing{{Name: "alone", State: consumer.GroupEmpty}}, w.c.Groups())
	w.check()
}

func TestLimits(t *testing.T) {
	c := New(Limits{Members: 1})
	_, _, err := c.Join(Member{Group: "g", ID: "1"})
	require.NoError(t, err)
	_, _, err = c.Join(Member{Group: "g", ID: "2"})
	require.ErrorIs(t, err, fault.PolicyViolation)
	_, _, err = c.Join(Member{Group: "h", ID: "3", Assignor: "fair"})
	require.ErrorIs(t, err, fault.UnsupportedAssignor)
	_, _, err = c.Join(Member{Group: "h", ID: "4", ClientID: string(make([]byte, 1<<15))})
	require.ErrorIs(t, err, fault.InvalidRequest)
}

// TestAnySequence lets members come, go and be slow while topics change, and
// holds the invariants after every step.
func TestAnySequence(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt)
		groups, names := []string{"g", "h"}, []string{"a", "b", "c"}
		pick := func() (*client, bool) {
			if len(w.clients) == 0 {
				return nil, false
			}
			id := rapid.SampledFrom(slices.Sorted(maps.Keys(w.clients))).Draw(rt, "member")
			return w.clients[id], true
		}
		rt.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { w.check() },
			"join": func(rt *rapid.T) {
				instance := rapid.SampledFrom([]string{"", "", "s1", "s2"}).Draw(rt, "instance")
				groupName := rapid.SampledFrom(groups).Draw(rt, "group")
				for _, cl := range w.clients {
					if instance != "" && cl.InstanceID == instance && cl.Group == groupName {
						return
					}
				}
				topics := rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 3, rapid.ID).Draw(rt, "topics")
				slices.Sort(topics)
				assignor := rapid.SampledFrom([]string{"", "uniform", "range", "roundrobin", "sticky", "cooperative-sticky"}).Draw(rt, "assignor")
				w.join(groupName, instance, assignor, topics...)
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
			"commit": func(rt *rapid.T) {
				cl, ok := pick()
				if !ok || len(cl.owned) == 0 {
					return
				}
				p := rapid.SampledFrom([]Partition(cl.owned)).Draw(rt, "partition")
				name, ok := w.c.topics.Name(p.ID)
				if !ok || p.Number >= w.c.topics.byName[name].Partitions {
					return
				}
				tp := record.TopicPartition{Topic: name, Partition: p.Number}
				o := consumer.Offset{Offset: rapid.Int64Min(0).Draw(rt, "offset"), LeaderEpoch: 1, Metadata: "x"}
				result, err := w.c.Commit(cl.Group, cl.ID, map[record.TopicPartition]consumer.Offset{tp: o}, w.now)
				w.took(result, err)
				require.Equal(rt, o, w.c.Offsets(cl.Group)[tp])
			},
			"send offsets": func(rt *rapid.T) {
				cl, ok := pick()
				if !ok || len(cl.owned) == 0 {
					return
				}
				p := rapid.SampledFrom([]Partition(cl.owned)).Draw(rt, "partition")
				name, ok := w.c.topics.Name(p.ID)
				if !ok || p.Number >= w.c.topics.byName[name].Partitions {
					return
				}
				w.sendOffsets(rapid.Int64Range(1, 3).Draw(rt, "producer"), cl, record.TopicPartition{Topic: name, Partition: p.Number}, rapid.Int64Min(0).Draw(rt, "offset"))
			},
			"end": func(rt *rapid.T) {
				w.end(rapid.Int64Range(1, 3).Draw(rt, "producer"), rapid.Bool().Draw(rt, "commit"))
			},
			"expire": func(rt *rapid.T) {
				w.now = w.now.Add(time.Duration(rapid.IntRange(0, 70).Draw(rt, "seconds")) * time.Second)
				result, _, err := w.c.Expire(w.now, func(string) Heard { return Heard{Fetch: w.now} })
				w.took(result, err)
			},
			"topics": func(rt *rapid.T) {
				var topics []Topic
				for _, name := range names {
					old := slices.IndexFunc(w.topics, func(t Topic) bool { return t.Name == name })
					switch rapid.SampledFrom([]string{"keep", "keep", "grow", "new", "none"}).Draw(rt, name) {
					case "keep":
						if old >= 0 {
							topics = append(topics, w.topics[old])
						}
					case "grow":
						if old >= 0 {
							grown := w.topics[old]
							grown.Partitions++
							topics = append(topics, grown)
						}
					case "new":
						topics = append(topics, w.topicNamed(name, int32(rapid.IntRange(1, 5).Draw(rt, "partitions"))))
					}
				}
				w.setTopics(topics...)
			},
			"restart": func(rt *rapid.T) {
				w.c, w.clients = w.replay(w.log), map[string]*client{}
				w.setTopics(w.topics...)
				result, err := w.c.Restart(w.now)
				w.took(result, err)
			},
			"settle": func(*rapid.T) {
				w.settle()
				w.checkSettled()
			},
		})
	})
}
