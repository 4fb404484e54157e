package coordinator

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/runnel-go/runnel/internal/coordinator/group"
)

// A guest is a member on another node. The writer owns it.
type guest struct {
	heard  time.Time // when its node spoke of it last
	away   time.Time // when it left Fetch; zero within
	number int64     // of its latest request
}

// lastFetch is its Listener's LastFetch.
func (g *guest) lastFetch() time.Time {
	if g.away.IsZero() {
		return time.Now()
	}
	return g.away
}

// ticket says who sends a request. The zero ticket is of this process.
//
// A request that its sender has given up may arrive late: after a later one of the same
// member, what it says is no longer true. So a member's requests count in the order of their
// numbers, and only in the leader epoch for which they were made; and so do the changes of a
// node's administrators, who are no members.
type ticket struct {
	node   int32
	epoch  int32 // 0: the sender does not know it
	number int64 // rises with each request of the node, from one drawn when its process began
}

// ticketBits is how many bits of a ticket's number count, behind those that were drawn.
const ticketBits = 40

// precedes reports whether a ticket is not later than one with that number of the same process.
func (t ticket) precedes(number int64) bool {
	return t.number <= number && t.number>>ticketBits == number>>ticketBits
}

// admit refuses what comes too late, and makes members of other nodes guests. It belongs to
// a command.
func (s *GroupShard) admit(c *group.Coordinator, t ticket, groupName, memberID string) (*guest, error) {
	if t.node == 0 {
		return nil, nil
	}
	if t.epoch != 0 && t.epoch != s.epoch {
		return nil, s.notCoordinator().Detailf("the request is for leader epoch %d, and it is %d", t.epoch, s.epoch)
	}
	if memberID == "" {
		if t.precedes(s.changed[t.node]) {
			return nil, s.notCoordinator().Detailf("a later request of node %d came first", t.node)
		}
		s.changed[t.node] = t.number
		return nil, nil
	}
	g, _ := s.guest(c, t.node, groupName, memberID)
	if g == nil {
		return nil, nil
	}
	if t.number <= g.number {
		return nil, s.notCoordinator().Detailf("a later request of the member came first")
	}
	g.number, g.heard = t.number, time.Now()
	return g, nil
}

// guest returns a member on another node; nil if it is none.
func (s *GroupShard) guest(c *group.Coordinator, node int32, groupName, memberID string) (g *guest, found bool) {
	if l := s.listeners[memberID]; l != nil {
		return l.guest, true
	}
	if !c.IsMember(groupName, memberID) {
		return nil, false
	}
	l := s.invite(node, groupName, memberID)
	s.listeners[memberID] = l
	return l.guest, false
}

// invite returns the Listener of a member on another node.
func (s *GroupShard) invite(node int32, groupName, memberID string) *Listener {
	n := s.neighbors[node]
	if n == nil {
		n = &neighbor{news: make(chan struct{}, 1), woken: map[string]struct{}{}}
		s.neighbors[node] = n
	}
	g := &guest{heard: time.Now()}
	return &Listener{Group: groupName, Wake: func() { n.wake(memberID) }, LastFetch: g.lastFetch, guest: g}
}

// neighbor is another node with guests. It asks for those that should send a heartbeat.
type neighbor struct {
	news chan struct{} // holds a token after wake

	mu    sync.Mutex
	woken map[string]struct{}
	ended chan struct{} // is closed when the node asks again; nil while it does not ask
}

// wake is a guest's Listener.Wake.
func (n *neighbor) wake(memberID string) {
	n.mu.Lock()
	n.woken[memberID] = struct{}{}
	n.mu.Unlock()
	select {
	case n.news <- struct{}{}:
	default:
	}
}

// begin ends an earlier wait, whose answer is not taken any more.
func (n *neighbor) begin() (ended <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended != nil {
		close(n.ended)
	}
	n.ended = make(chan struct{})
	return n.ended
}

func (n *neighbor) take() (woken []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id := range n.woken {
		woken = append(woken, id)
	}
	clear(n.woken)
	slices.Sort(woken)
	return woken
}

// Watch takes the roll of another node's members, and waits until some of them should send
// a heartbeat.
func (s *GroupShard) Watch(ctx context.Context, t ticket, r roll) (called, error) {
	var n *neighbor
	answer, err := look(ctx, s, func(c *group.Coordinator) (called, error) {
		if t.epoch != 0 && t.epoch != s.epoch {
			return called{}, s.notCoordinator()
		}
		n = s.neighbors[t.node]
		return s.call(c, t.node, r), nil
	})
	if err != nil || n == nil || len(answer.woken)+len(answer.gone) > 0 {
		return answer, err
	}
	late := time.NewTimer(r.wait)
	defer late.Stop()
	ended := n.begin()
	select {
	case <-n.news:
		answer.woken = n.take()
	case <-late.C:
		return look(ctx, s, func(c *group.Coordinator) (again called, err error) {
			for _, m := range r.members {
				if c.HasNews(m.group, m.member) { // whatever became of an earlier answer
					again.woken = append(again.woken, m.member)
				}
			}
			return again, nil
		})
	case <-ended:
	case <-ctx.Done():
		return called{}, ctx.Err()
	case <-s.host.Closing():
		return called{}, s.notCoordinator()
	}
	return answer, err
}

// call notes how members are that another node speaks of. One of which this coordinator has
// not heard yet sends a heartbeat, with all that it has to say.
func (s *GroupShard) call(c *group.Coordinator, node int32, r roll) (answer called) {
	now := time.Now()
	for _, m := range r.members {
		g, known := s.guest(c, node, m.group, m.member)
		if g == nil {
			answer.gone = append(answer.gone, m.member)
			continue
		}
		g.heard, g.away = now, time.Time{}
		if m.away >= 0 {
			g.away = now.Add(-m.away)
		}
		if !known || r.lost && c.HasNews(m.group, m.member) {
			answer.woken = append(answer.woken, m.member)
		}
	}
	return answer
}

// readmit takes members of this process whose coordinator has come here, and wakes them.
func (s *GroupShard) readmit(ctx context.Context, members map[string]*Listener) error {
	return s.View(ctx, func(c *group.Coordinator) error {
		for id, l := range members {
			if c.IsMember(l.Group, id) {
				s.listeners[id] = l
			}
			l.Wake() // it may have missed something on the way
		}
		return nil
	})
}

// dismissGuests forgets the guests of an earlier leadership: their nodes bring them again.
func (s *GroupShard) dismissGuests() {
	for id, l := range s.listeners {
		if l.guest != nil {
			delete(s.listeners, id)
		}
	}
}
