package group

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/topic"
)

// crowd is a large group whose members do what the coordinator says: they send a
// heartbeat when they are woken, and whenever they have something to give up. It keeps
// no log.
type crowd struct {
	t       testing.TB
	c       *Coordinator
	topics  []string
	members map[string]*client
	woken   []string
	joined  int
	beats   int // heartbeats so far
}

func newCrowd(t testing.TB, assignor string, topics int, partitions int32, members int) *crowd {
	cr := &crowd{t: t, c: New(Limits{}), members: map[string]*client{}}
	var all []Topic
	for i := range topics {
		all = append(all, Topic{Name: fmt.Sprintf("t%05d", i), ID: topic.ID{1, byte(i >> 8), byte(i)}, Partitions: partitions})
		cr.topics = append(cr.topics, all[i].Name)
	}
	for range members {
		cr.join(assignor)
	}
	result, err := cr.c.SetTopics(NewTopics(all)) // so that all are assigned at once
	require.NoError(t, err)
	cr.woken = append(cr.woken, result.Wake...)
	cr.settle()
	return cr
}

func (cr *crowd) join(assignor string) *client {
	cr.joined++
	m := Member{
		Group: "g", ID: fmt.Sprintf("m%05d", cr.joined), ClientID: "crowd", Assignor: assignor,
		SessionTimeout: time.Minute, RebalanceTimeout: time.Minute, Topics: cr.topics,
	}
	a, result, err := cr.c.Join(m)
	require.NoError(cr.t, err)
	cl := &client{Member: m}
	cr.members[m.ID] = cl
	cl.obey(a)
	cr.woken = append(cr.woken, result.Wake...)
	return cl
}

func (cr *crowd) leave(cl *client) {
	delete(cr.members, cl.ID)
	result, err := cr.c.Leave("g", cl.ID, time.Time{})
	require.NoError(cr.t, err)
	cr.woken = append(cr.woken, result.Wake...)
}

// settle lets members send heartbeats until none is woken any more.
func (cr *crowd) settle() {
	for len(cr.woken) > 0 {
		woken := cr.woken
		cr.woken = nil
		slices.Sort(woken)
		for _, id := range slices.Compact(woken) { // a session that is woken twice sends one heartbeat
			cl := cr.members[id]
			if cl == nil {
				continue
			}
			for again := true; again; again = len(cl.owned) != len(cl.told) { // to report that it has given up
				cl.revoked += len(cl.owned.minus(cl.told))
				cl.owned = cl.owned.and(cl.told)
				a, result, err := cr.c.Heartbeat("g", id, cl.owned)
				require.NoError(cr.t, err)
				cl.obey(a)
				cr.woken = append(cr.woken, result.Wake...)
				cr.beats++
			}
		}
	}
}

func (cr *crowd) owned() map[string]partitions {
	all := map[string]partitions{}
	for id, cl := range cr.members {
		all[id] = cl.owned
	}
	return all
}

// checkRest holds what is true when no member is woken any more.
func (cr *crowd) checkRest() {
	g := cr.c.groups["g"]
	owners := map[Partition]string{}
	for id, m := range g.members {
		require.True(cr.t, g.settled(m), "%s has a step to take, and was not woken", id)
		require.Equal(cr.t, m.assigned, cr.members[id].owned)
		for _, p := range m.assigned {
			owners[p] = id
		}
	}
	for _, tp := range cr.c.topics.byName {
		for _, p := range tp.partitions() {
			if owners[p] == "" {
				require.Fail(cr.t, "a partition without an owner", "%v", p)
			}
		}
	}
}

// In a group of 1,000 members and 10,000 partitions, one more member takes partitions
// from those alone that have to give one up: nothing of the others is ever revoked, and
// each has sent one heartbeat, by which it reaches the new epoch.
func TestOneMoreMemberStopsNoOther(t *testing.T) {
	for _, assignor := range []string{"uniform", "sticky"} {
		t.Run(assignor, func(t *testing.T) {
			cr := newCrowd(t, assignor, 100, 100, 1000)
			cr.checkRest()
			before := cr.owned()
			cr.beats = 0
			for _, cl := range cr.members {
				cl.revoked = 0
			}
			joined := cr.join(assignor)
			cr.settle()
			cr.checkRest()
			require.Len(t, joined.owned, 9)
			gave := 0
			for id, owned := range before {
				now := cr.members[id]
				require.Empty(t, now.owned.minus(owned), "it got what another one had")
				gave += len(owned.minus(now.owned))
				require.Equal(t, len(owned.minus(now.owned)), now.revoked, "revoked from %s", id)
			}
			require.Equal(t, 9, gave)
			require.LessOrEqual(t, cr.beats, 1000+2*9+9, "heartbeats: one of each member, one more to revoke, and one of the new member for each")

			cr.leave(joined)
			cr.settle()
			cr.checkRest()
			for id, cl := range cr.members {
				require.LessOrEqual(t, cl.revoked, 1, "of %s", id)
			}
		})
	}
}

// BenchmarkJoinLargeGroup is a member that joins a group of 1,000 members and 10,000
// partitions, and one that leaves it, until all members are at rest.
func BenchmarkJoinLargeGroup(b *testing.B) {
	for _, assignor := range []string{"uniform", "range", "roundrobin", "sticky"} {
		for _, topics := range []int{1, 100} {
			b.Run(fmt.Sprintf("assignor=%s/topics=%d", assignor, topics), func(b *testing.B) {
				cr := newCrowd(b, assignor, topics, int32(10_000/topics), 1000)
				cr.beats = 0
				for b.Loop() {
					cl := cr.join(assignor)
					cr.settle()
					cr.leave(cl)
					cr.settle()
				}
				b.ReportMetric(float64(cr.beats)/float64(b.N), "heartbeats/op")
			})
		}
	}
}
