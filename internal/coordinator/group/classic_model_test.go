package group

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// classicWorld is a group of the classic protocol with clients that do what it tells
// them: consumers that share a topic, of which each generation's leader gives every member some
// partitions. While the group has no members, it takes consumers of the other protocol, which
// are those of its world.
type classicWorld struct {
	*world
	clients map[string]*classicMemberOf // by name
	waiting map[int64]*classicMemberOf
	tickets int64
	shared  Topic
	owners  map[string]string // who has had a partition in a generation, by "generation/partition"
}

// classicMemberOf is a client.
type classicMemberOf struct {
	name, id, instance string
	generation         int32
	follows            []JoinGroupMember // as the leader
	must               string            // what it has to do next: join, sync or nothing
	ticket             int64             // of the request that it waits for; 0 for none
	position           map[int32]int64   // of the partitions that it works on
}

// ask makes the request that a client has to make next.
func (w *classicWorld) ask(cl *classicMemberOf) {
	if cl.ticket != 0 || cl.must == "" {
		return
	}
	w.tickets++
	cl.ticket = w.tickets
	w.waiting[cl.ticket] = cl
	if cl.must == "join" {
		q := JoinGroupRequest{
			GroupID: "g", SessionTimeout: 10 * time.Second, RebalanceTimeout: time.Minute, ClientID: cl.name,
			MemberID: cl.id, GroupInstanceID: cl.instance, NewMemberID: fmt.Sprintf("%s-%d", cl.name, w.tickets),
			ProtocolType: ConsumerProtocol, Protocols: []Protocol{{Name: "range", Metadata: subscriptionOf("t")}},
			RequireKnownMemberID: true,
		}
		w.answered(w.c.JoinGroup(cl.ticket, q, w.now))
		return
	}
	q := SyncGroupRequest{GroupID: "g", GenerationID: cl.generation, MemberID: cl.id, GroupInstanceID: cl.instance}
	if cl.follows != nil {
		q.Assignments = map[string][]byte{}
		numbers := map[string][]string{}
		for n := range int(w.shared.Partitions) {
			id := cl.follows[n%len(cl.follows)].MemberID
			numbers[id] = append(numbers[id], fmt.Sprint(n))
		}
		for id, all := range numbers {
			q.Assignments[id] = assignmentOf(strings.Join(all, ","))
		}
	}
	w.answered(w.c.SyncGroup(cl.ticket, q, w.now))
}

// answered adds a result to the log and gives the answers to their clients.
func (w *classicWorld) answered(result Result, err error) {
	w.took(result, err)
	for _, a := range result.Answers {
		cl := w.waiting[a.Ticket]
		delete(w.waiting, a.Ticket)
		if cl == nil || cl.ticket != a.Ticket { // its client is no more
			continue
		}
		cl.ticket = 0
		if a.Join != nil {
			w.joined(cl, a.Join)
		} else {
			w.synced(cl, a.Sync)
		}
	}
}

func (w *classicWorld) joined(cl *classicMemberOf, a *JoinGroupResponse) {
	if a.Err != nil {
		w.refused(cl, a.Err)
		if fault.CodeOf(a.Err) == fault.MemberIDRequired {
			cl.id = a.MemberID
		}
		return
	}
	cl.id, cl.generation, cl.follows, cl.must = a.MemberID, a.GenerationID, a.Members, "sync"
	cl.position = nil // it gives all up before it joins
	require.Equal(w.t, a.Members != nil, a.Leader == a.MemberID)
}

func (w *classicWorld) synced(cl *classicMemberOf, a *SyncGroupResponse) {
	if a.Err != nil {
		w.refused(cl, a.Err)
		return
	}
	cl.must, cl.position = "", map[int32]int64{}
	committed := w.c.Offsets("g")
	for _, tp := range assigned(a.Assignment) {
		at := fmt.Sprintf("%d/%d", cl.generation, tp.Partition)
		owner := cl.name
		if cl.instance != "" {
			owner = cl.instance // which a new member continues
		}
		before, ok := w.owners[at]
		require.True(w.t, !ok || before == owner, "%s and %s own partition %d in generation %d", before, owner, tp.Partition, cl.generation)
		w.owners[at] = owner
		cl.position[tp.Partition] = committed[tp].Offset
	}
}

// refused does what a client does about an error.
func (w *classicWorld) refused(cl *classicMemberOf, err error) {
	cl.must = "join"
	switch fault.CodeOf(err) {
	case fault.UnknownMember:
		cl.id, cl.position = "", nil
	case fault.IllegalGeneration:
		cl.position = nil
	case fault.FencedInstance: // it ends
		cl.must, cl.position, cl.id = "", nil, ""
		delete(w.clients, cl.name)
	case fault.InconsistentProtocol:
		require.NotEmpty(w.t, w.world.clients, "nobody speaks the other protocol")
		delete(w.clients, cl.name)
	case fault.RebalanceInProgress, fault.MemberIDRequired:
	default:
		require.NoError(w.t, err)
	}
}

func (w *classicWorld) heartbeat(cl *classicMemberOf) {
	if cl.must == "join" || cl.id == "" || cl.ticket != 0 {
		return
	}
	if err := w.c.HeartbeatGroup(HeartbeatRequest{"g", cl.generation, cl.id, cl.instance}, w.now); err != nil {
		w.refused(cl, err)
	}
}

// commit works on a record of each of its partitions and commits. What a client of an
// older generation says is refused.
func (w *classicWorld) commit(cl *classicMemberOf) {
	if len(cl.position) == 0 {
		return
	}
	before := w.c.Offsets("g")
	offsets := map[record.TopicPartition]consumer.Offset{}
	for n := range cl.position {
		cl.position[n]++
		offsets[record.TopicPartition{Topic: "t", Partition: n}] = consumer.Offset{Offset: cl.position[n]}
	}
	result, err := w.c.CommitOffsets(HeartbeatRequest{"g", cl.generation, cl.id, cl.instance}, offsets, w.now)
	if err != nil {
		w.refused(cl, err)
		return
	}
	w.took(result, nil)
	for tp, o := range w.c.Offsets("g") {
		require.GreaterOrEqual(w.t, o.Offset, before[tp].Offset, "%v went back", tp)
	}
}

func (w *classicWorld) pass(d time.Duration) {
	w.now = w.now.Add(d)
	result, _, err := w.c.Expire(w.now, func(string) Heard { return Heard{Fetch: w.now} })
	w.answered(result, err)
}

// consume has a consumer of the other protocol join, which works if the group has no members
// of this one.
func (w *classicWorld) consume() {
	if !w.c.hasClassic("g") {
		w.join("g", "", "", "t")
		clear(w.owners) // generations begin again
		return
	}
	_, result, err := w.c.Join(Member{Group: "g", ID: "refused", ClientID: "test", Topics: []string{"t"}, SessionTimeout: time.Second, RebalanceTimeout: time.Second})
	require.ErrorIs(w.t, err, fault.InconsistentProtocol)
	require.Empty(w.t, result.Records)
}

// commitOf works on a record of each of a consumer's partitions and commits.
func (w *classicWorld) commitOf(cl *client) {
	offsets := map[record.TopicPartition]consumer.Offset{}
	before := w.c.Offsets("g")
	for _, p := range cl.owned {
		tp := record.TopicPartition{Topic: "t", Partition: p.Number}
		offsets[tp] = consumer.Offset{Offset: before[tp].Offset + 1}
	}
	if len(offsets) > 0 {
		w.took(w.c.Commit("g", cl.ID, offsets, w.now))
	}
}

// settle lets all clients do what they must, in small steps of time, until they have had
// nothing to do for longer than a session timeout.
func (w *classicWorld) settle() {
	for still, steps := 0, 0; still < 12; steps++ {
		require.Less(w.t, steps, 300, "the group does not come to rest")
		idle := true
		for _, name := range slices.Sorted(maps.Keys(w.clients)) {
			if cl := w.clients[name]; cl != nil {
				w.heartbeat(cl)
				w.ask(cl)
				idle = idle && cl.must == ""
			}
		}
		w.pass(time.Second)
		if still++; !idle {
			still = 0
		}
	}
}

// TestClassicModel lets members of a group of the classic protocol come, go, be slow and
// be replaced, consumers of the other protocol come in between, the topic grow, and the
// coordinator start again.
func TestClassicModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &classicWorld{world: newWorld(rt), clients: map[string]*classicMemberOf{}, waiting: map[int64]*classicMemberOf{}, owners: map[string]string{}}
		w.c = New(Limits{Classic: ServeClassic})
		w.shared = w.topicNamed("t", 6)
		w.setTopics(w.shared)
		names := 0
		grown := false // the topic, since the members settled
		pick := func() *classicMemberOf {
			if len(w.clients) == 0 {
				return nil
			}
			return w.clients[rapid.SampledFrom(slices.Sorted(maps.Keys(w.clients))).Draw(rt, "client")]
		}
		consuming := func(do func(*client)) func(*rapid.T) {
			return func(*rapid.T) {
				if len(w.world.clients) > 0 {
					do(w.world.clients[rapid.SampledFrom(slices.Sorted(maps.Keys(w.world.clients))).Draw(rt, "consumer")])
				}
			}
		}
		each := func(do func(*classicMemberOf)) func(*rapid.T) {
			return func(*rapid.T) {
				if cl := pick(); cl != nil {
					do(cl)
				}
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) {
				w.check()
				w.checkRound("g")
				g := w.c.groups["g"]
				require.False(rt, g != nil && len(g.members) > 0 && w.c.hasClassic("g"), "members of both protocols")
			},
			"consume":           func(*rapid.T) { w.consume() },
			"consumer's beat":   consuming(w.world.heartbeat),
			"consumer's commit": consuming(w.commitOf),
			"consumer's leave":  consuming(w.leave),
			"consumers leave": func(*rapid.T) {
				for _, id := range slices.Sorted(maps.Keys(w.world.clients)) {
					w.leave(w.world.clients[id])
				}
			},
			"all leave": func(*rapid.T) {
				for _, name := range slices.Sorted(maps.Keys(w.clients)) {
					if cl := w.clients[name]; cl != nil {
						result, _, err := w.c.LeaveGroup("g", []MemberIdentity{{MemberID: cl.id}}, w.now)
						w.answered(result, err)
						delete(w.clients, name)
					}
				}
			},
			"grow": func(*rapid.T) {
				grown = true
				w.shared.Partitions = min(w.shared.Partitions+1, 12)
				result, err := w.c.SetTopics(NewTopics([]Topic{w.shared}))
				w.topics = []Topic{w.shared}
				w.answered(result, err)
				for _, cl := range w.clients { // clients look at the topic's metadata, and join again
					if cl.must == "" && cl.ticket == 0 {
						cl.must = "join"
					}
				}
			},
			"come": func(rt *rapid.T) {
				names++
				cl := &classicMemberOf{name: fmt.Sprint("c", names), must: "join"}
				cl.instance = rapid.SampledFrom([]string{"", "", "one", "two"}).Draw(rt, "instance")
				for _, other := range w.clients { // of an instance there is one process, unless the one before has crashed
					if cl.instance != "" && other.instance == cl.instance {
						delete(w.clients, other.name)
					}
				}
				w.clients[cl.name] = cl
			},
			"ask":       each(w.ask),
			"heartbeat": each(w.heartbeat),
			"commit":    each(w.commit),
			"leave": each(func(cl *classicMemberOf) {
				result, errs, err := w.c.LeaveGroup("g", []MemberIdentity{{MemberID: cl.id}}, w.now)
				if cl.id != "" && cl.instance == "" {
					require.Contains(rt, []fault.Code{0, fault.UnknownMember}, codeOf(errs[0]))
				}
				w.answered(result, err)
				delete(w.clients, cl.name)
			}),
			"crash": each(func(cl *classicMemberOf) { delete(w.clients, cl.name) }),
			"pass": func(rt *rapid.T) {
				w.pass(time.Duration(rapid.IntRange(1, 12).Draw(rt, "seconds")) * time.Second)
			},
			"restart": func(*rapid.T) { // the requests that wait are lost; their clients ask again
				w.reread(Limits{Classic: ServeClassic})
				clear(w.waiting)
				for _, cl := range w.clients {
					if cl.ticket != 0 {
						cl.ticket, cl.must = 0, "join"
					}
				}
			},
			"settle": func(*rapid.T) {
				w.settle()
				if grown && slices.ContainsFunc(slices.Collect(maps.Values(w.clients)), func(cl *classicMemberOf) bool { return cl.instance != "" }) {
					// A static member that takes a place gets the assignment that was there
					// before the topic grew, without a rebalance (KIP-345). Its client sees
					// what is missing and joins once more.
					for _, cl := range w.clients {
						cl.must = "join"
					}
					w.settle()
				}
				grown = false
				owned := map[int32]string{}
				for name, cl := range w.clients {
					for n := range cl.position {
						require.Empty(rt, owned[n], "two own partition %d", n)
						owned[n] = name
					}
				}
				if len(w.world.clients) > 0 {
					require.Empty(rt, owned)
					w.world.settle()
					w.checkSettled()
				} else if len(w.clients) > 0 {
					require.Len(rt, owned, int(w.shared.Partitions), "partitions without an owner")
				}
			},
		})
	})
}

func codeOf(err error) fault.Code {
	if err == nil {
		return 0
	}
	return fault.CodeOf(err)
}
