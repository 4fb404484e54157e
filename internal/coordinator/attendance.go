package coordinator

import (
	"context"
	"maps"
	"time"

	"github.com/runnel-go/runnel/fault"
)

// attendees are this node's members in one partition's groups. While another node
// coordinates these, a goroutine keeps in touch with it: it tells how the members are, and
// learns which of them should send a heartbeat.
//
//	            a member is here, the coordinator is not
//	at rest ──────────────────────────────────────────────▶ watching
//	   ▲                                                       │
//	   └───────────────────────────────────────────────────────┘
//	     no member is left; or the coordinator is here, and knows all
//
// Groups.mu guards it.
type attendees struct {
	members  map[string]*Listener // by member ID
	watching bool
	again    bool // look again before coming to rest: a member has come, or the leadership has changed
}

// heartbeatEvery is how often a node speaks of its members: Kafka's
// heartbeat.interval.ms. It is less where a session timeout is short.
const heartbeatEvery = 3 * time.Second

// enter notes that a member of this process has a place in a group.
func (g *Groups) enter(p *place, memberID string, l *Listener) {
	at, err := p.at()
	_, away := at.(*elsewhere)
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.attending[p.local.number]
	if a == nil {
		a = &attendees{members: map[string]*Listener{}}
		g.attending[p.local.number] = a
	}
	a.members[memberID] = l
	if away || err != nil {
		g.watchLocked(p, a)
	}
}

// exit forgets a member.
func (g *Groups) exit(p *place, memberID string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if a := g.attending[p.local.number]; a != nil {
		delete(a.members, memberID)
	}
}

// lookAgain has the members' coordinator looked for, which may be here or not any more.
func (g *Groups) lookAgain(s *GroupShard) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if a := g.attending[s.number]; a != nil {
		g.watchLocked(&place{g, s}, a)
	}
}

// watchLocked starts the goroutine, unless it runs or there is nothing to do.
func (g *Groups) watchLocked(p *place, a *attendees) {
	if a.watching {
		a.again = true
	}
	if g.closed || a.watching || len(a.members) == 0 {
		return
	}
	a.watching = true
	g.work.Go(func() { g.watch(p, a) })
}

// rest ends the goroutine if it may.
func (g *Groups) rest(a *attendees) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	a.watching = a.again && len(a.members) > 0 && !g.closed
	a.again = false
	return !a.watching
}

// watch is the goroutine.
func (g *Groups) watch(p *place, a *attendees) {
	pause, lost := time.Duration(0), false
	for {
		members := g.present(a)
		done, err := g.look(p, a, members, &lost)
		if done && g.rest(a) {
			return
		}
		if err == nil {
			pause = 0
			continue
		}
		pause = min(max(2*pause, insistFirst), insistEvery)
		select {
		case <-time.After(pause):
		case <-g.ctx.Done():
		}
	}
}

// present returns the members.
func (g *Groups) present(a *attendees) map[string]*Listener {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(a.members)
}

// look finds the coordinator once. done means that the goroutine need not look again.
func (g *Groups) look(p *place, a *attendees, members map[string]*Listener, lost *bool) (done bool, err error) {
	if len(members) == 0 || g.ctx.Err() != nil {
		return true, nil
	}
	at, err := p.at()
	if err != nil {
		return false, err
	}
	there, ok := at.(*elsewhere)
	if !ok {
		err := p.local.readmit(g.ctx, members)
		return err == nil, err
	}
	called, err := there.watch(g.ctx, rollOf(members, *lost))
	*lost = err != nil
	if err != nil {
		return false, err
	}
	g.wake(a, called)
	return false, nil
}

// wake wakes members, of which some may have come since the roll was made, and forgets those
// that are gone.
func (g *Groups) wake(a *attendees, c called) {
	var woken []*Listener
	g.mu.Lock()
	for _, id := range append(c.woken, c.gone...) {
		if l := a.members[id]; l != nil {
			woken = append(woken, l)
		}
	}
	for _, id := range c.gone {
		delete(a.members, id)
	}
	g.mu.Unlock()
	for _, l := range woken {
		l.Wake()
	}
}

// rollOf returns how members are.
func rollOf(members map[string]*Listener, lost bool) roll {
	r, now := roll{lost: lost, wait: heartbeatEvery}, time.Now()
	for id, l := range members {
		away := now.Sub(l.LastFetch())
		if away <= 0 { // it is within Fetch
			away = -1
		}
		r.members = append(r.members, attendance{l.Group, id, away})
		r.wait = min(r.wait, max(l.SessionTimeout/3, time.Millisecond))
	}
	return r
}

// catchUpFor is how long a new coordinator waits for what the catalogue has.
const catchUpFor = 5 * time.Second

// catchUp waits until this node has everything that the catalogue had when it was called.
// To a coordinator that lacks topics, their offsets would be those of deleted ones.
func (g *Groups) catchUp() error { return catchUp(g.ctx, g.cfg.CatchUp) }

func catchUp(ctx context.Context, do func(context.Context) error) error {
	if do == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, catchUpFor)
	defer cancel()
	if err := do(ctx); err != nil {
		return fault.Newf(fault.CoordinatorLoading, "the coordinator does not know which topics there are yet").Because(err)
	}
	return nil
}
