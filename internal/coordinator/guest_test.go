package coordinator

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator/group"
	"github.com/runnel-go/runnel/internal/host/hosttest"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// printers is a coordinator of group "printer", whose members are on node 2.
type printers struct {
	*GroupShard
	t      *testing.T
	led    *hosttest.Group
	number int64
}

func newPrinters(t *testing.T) *printers {
	t.Helper()
	r := hosttest.NewReplication()
	s := oneShard(t, hosttest.Replicated(t, r, topic.ConsumerOffsets, "orders"), 1<<10, 0)
	return &printers{s, t, r.Group("__consumer_offsets-0"), 0}
}

// next is the ticket of node 2's next request.
func (p *printers) next() ticket {
	epoch, _ := p.Partition().Leadership()
	p.number++
	return ticket{node: 2, epoch: epoch, number: p.number}
}

func (p *printers) add(id string) Assignment {
	p.t.Helper()
	l := &Listener{Group: "printer"}
	a, err := p.join(p.t.Context(), p.next(), group.Member{
		Group: "printer", ID: id, Topics: []string{"orders"}, SessionTimeout: 45 * time.Second, RebalanceTimeout: 5 * time.Minute,
	}, l)
	require.NoError(p.t, err)
	return a
}

func (p *printers) beat(t ticket, id string, owned ...group.Partition) (Assignment, error) {
	return p.heartbeat(p.t.Context(), t, id, owned, &Listener{Group: "printer"})
}

func (p *printers) knows(id string) bool {
	p.t.Helper()
	is, err := p.IsMember(p.t.Context(), "printer", id)
	require.NoError(p.t, err)
	return is
}

// A request whose sender has given up comes behind a later one, or to the coordinator of
// another leader epoch: it has no effect.
func TestALateRequestIsRefused(t *testing.T) {
	p := newPrinters(t)
	a := p.add("one")
	require.Len(t, a.Partitions, 1)
	late := p.next()
	require.NoError(t, p.commit(t.Context(), p.next(), "printer", "one", at(9)))
	require.ErrorIs(t, p.commit(t.Context(), late, "printer", "one", at(8)), fault.NotCoordinator)
	_, err := p.beat(late, "one")
	require.ErrorIs(t, err, fault.NotCoordinator)
	require.ErrorIs(t, p.leave(t.Context(), late, "printer", "one"), fault.NotCoordinator)
	require.EqualValues(t, 9, committed(t, p.GroupShard))

	before := p.next()
	before.number += 100
	p.led.Elect()
	require.ErrorIs(t, p.commit(t.Context(), before, "printer", "one", at(7)), fault.NotCoordinator)
	require.NoError(t, p.commit(t.Context(), p.next(), "printer", "one", at(10)))
	require.EqualValues(t, 10, committed(t, p.GroupShard))
}

// What an administrator asked for and gave up comes behind what he asked for since: it has
// no effect either. A process that begins again is another one.
func TestALateChangeOfAnAdministratorIsRefused(t *testing.T) {
	p := newPrinters(t)
	late := p.next()
	require.NoError(t, p.commit(t.Context(), p.next(), "printer", "", at(9)))
	require.ErrorIs(t, p.commit(t.Context(), late, "printer", "", at(8)), fault.NotCoordinator)
	require.ErrorIs(t, p.deleteOffsets(t.Context(), late, "printer", record.TopicPartition{Topic: "orders"}), fault.NotCoordinator)
	require.ErrorIs(t, p.delete(t.Context(), late, "printer"), fault.NotCoordinator)
	require.EqualValues(t, 9, committed(t, p.GroupShard))

	again := late
	again.number += 5 << ticketBits
	require.NoError(t, p.commit(t.Context(), again, "printer", "", at(10)))
	require.NoError(t, p.delete(t.Context(), p.next(), "printer"), "another process counts by itself")
}

// A member whose answer was lost joins again, and is the same one.
func TestJoiningAgain(t *testing.T) {
	p := newPrinters(t)
	first := p.add("one")
	again := p.add("one")
	require.Equal(t, first, again)
	d, err := p.Describe(t.Context(), "printer")
	require.NoError(t, err)
	require.Len(t, d.Members, 1)
	require.EqualValues(t, 1, d.Epoch)
}

// A watch is answered when a member has something to do, and tells of members that the group
// does not know.
func TestAWatchIsAnsweredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPrinters(t)
		p.add("one")
		watch := func(lost bool) (called, time.Duration) {
			began := time.Now()
			answer, err := p.Watch(t.Context(), p.next(), roll{lost: lost, wait: 3 * time.Second, members: []attendance{{"printer", "one", -1}}})
			require.NoError(t, err)
			return answer, time.Since(began)
		}
		answer, took := watch(false)
		require.Equal(t, called{}, answer)
		require.Equal(t, 3*time.Second, took)

		time.AfterFunc(time.Second, func() { p.add("two") })
		answer, took = watch(false)
		require.Equal(t, called{woken: []string{"one"}}, answer)
		require.Equal(t, time.Second, took)
		answer, took = watch(false)
		require.Equal(t, called{woken: []string{"one"}}, answer, "it has not done it yet")
		require.Equal(t, 3*time.Second, took)
		answer, took = watch(true)
		require.Equal(t, called{woken: []string{"one"}}, answer, "the answer may have been lost")
		require.Zero(t, took)

		answer, err := p.Watch(t.Context(), p.next(), roll{wait: time.Second, members: []attendance{{"printer", "three", -1}}})
		require.NoError(t, err)
		require.Equal(t, called{gone: []string{"three"}}, answer)

		over := make(chan called, 1)
		go func() {
			answer, _ := watch(false)
			over <- answer
		}()
		synctest.Wait()
		began := time.Now()
		go watch(false) // the node has given the first one up
		require.Equal(t, called{}, <-over)
		require.Zero(t, time.Since(began))
		p.led.Depose()
		_, err = p.Watch(t.Context(), p.next(), roll{wait: time.Second, members: []attendance{{"printer", "one", -1}}})
		require.ErrorIs(t, err, fault.NotCoordinator)
	})
}

// A member is expelled when its node falls silent, and when it does not fetch, but not while
// its node speaks for it.
func TestMembersOfASilentNodeAreExpelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPrinters(t)
		p.add("one")
		p.add("idle")
		speak := func(so time.Duration) {
			members := []attendance{{"printer", "one", -1}, {"printer", "idle", 0}}
			for began := time.Now(); time.Since(began) < so; {
				answer, err := p.Watch(t.Context(), p.next(), roll{wait: 3 * time.Second, members: members})
				require.NoError(t, err)
				if len(answer.gone) > 0 {
					require.Equal(t, []string{"idle"}, answer.gone)
					members = members[:1]
					continue
				}
				members[len(members)-1].away = max(0, time.Since(began))
				members[0].away = -1
			}
		}
		speak(5*time.Minute + 10*time.Second)
		require.True(t, p.knows("one"))
		require.False(t, p.knows("idle"))
		time.Sleep(40 * time.Second)
		require.True(t, p.knows("one"))
		time.Sleep(10 * time.Second)
		require.False(t, p.knows("one"))
	})
}

// A coordinator that leads again does not take members for silent that spoke to another one
// meanwhile.
func TestGuestsOfAnEarlierLeadership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPrinters(t)
		p.add("one")
		p.led.Depose()
		time.Sleep(10 * time.Minute)
		p.led.Elect()
		require.True(t, p.knows("one"))
		time.Sleep(40 * time.Second)
		require.True(t, p.knows("one"))
		_, err := p.beat(p.next(), "one")
		require.NoError(t, err)
		time.Sleep(40 * time.Second)
		require.True(t, p.knows("one"))
		time.Sleep(10 * time.Second)
		require.False(t, p.knows("one"))
	})
}

// A leader that is cut off, and has not heard of it, answers nothing: another one may have
// gone on.
func TestACoordinatorThatIsCutOffAnswersNothing(t *testing.T) {
	p := newPrinters(t)
	p.add("one")
	require.NoError(t, p.commit(t.Context(), p.next(), "printer", "one", at(7)))
	p.led.Doubt(true)
	_, err := p.Committed(t.Context(), "printer", false, orders)
	require.ErrorIs(t, err, fault.NotCoordinator)
	_, err = p.IsMember(t.Context(), "printer", "two")
	require.ErrorIs(t, err, fault.NotCoordinator)
	_, err = p.Describe(t.Context(), "other")
	require.ErrorIs(t, err, fault.NotCoordinator, "and not that there is no such group")
	_, err = p.beat(p.next(), "one", group.Partition{})
	require.ErrorIs(t, err, fault.NotCoordinator)
	p.led.Doubt(false)
	require.EqualValues(t, 7, committed(t, p.GroupShard))
}

// A new coordinator has what the catalogue has before it does anything: to one that lacks a
// topic, its offsets would be those of a deleted one.
func TestANewCoordinatorKnowsTheTopics(t *testing.T) {
	r := hosttest.NewReplication()
	h := hosttest.Replicated(t, r, topic.ConsumerOffsets, "orders")
	s := oneShard(t, h, 1<<10, 0)
	knows := false
	s.groups.cfg.CatchUp = func(context.Context) error {
		if !knows {
			return fault.NotLeader
		}
		return nil
	}
	end := r.Group("__consumer_offsets-0").EndOffset()
	err := s.Commit(t.Context(), "printer", "", at(7))
	require.ErrorIs(t, err, fault.CoordinatorLoading)
	require.True(t, IsElsewhere(err))
	require.Equal(t, end, r.Group("__consumer_offsets-0").EndOffset())
	knows = true
	require.NoError(t, s.Commit(t.Context(), "printer", "", at(7)))
	knows = false
	require.NoError(t, s.Commit(t.Context(), "printer", "", at(8)), "it asks once, when it begins")
	require.Equal(t, map[record.TopicPartition]int64{orders: 8}, map[record.TopicPartition]int64{orders: committed(t, s)})
}
