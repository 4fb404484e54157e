package replica

import (
	"slices"
	"sync"
	"time"
)

// A stepper is the goroutine that drives some of a node's replicas. Everything that
// happens to them is an event in its inbox; events of one replica take effect in the
// order in which they came.
type stepper struct {
	node *Node

	// signal says that there is something in the inbox, or that a tick is due.
	signal chan struct{}

	mu    sync.Mutex
	inbox []event
	calls []func() // what is to be done whether or not a replica has a core
	bytes int      // of the batches in the inbox
	due   bool     // a tick is due; several count as one

	// The goroutine's own.
	replicas  []*Replica // all
	newcomers []*Replica // those without a core yet
	awake     []*Replica // those that do not rest, and some that have come to rest since the last tick
	work      []event
	touched   []*Replica
	out       Output
	mail      []addressed
}

// event is something that happens to a replica.
type event struct {
	replica *Replica
	do      func(*Core)
	bytes   int
}

// addressed is an envelope on its way to a node.
type addressed struct {
	to   NodeID
	lane Lane
	envelope
	from []sentTo // which replica is to know if it isn't sent
}

// sentTo is a message of a replica's to another one.
type sentTo struct {
	replica *Replica
	id      ID
	start   bool // it carries a Snapshot
}

func newStepper(n *Node) *stepper { return &stepper{node: n, signal: make(chan struct{}, 1)} }

// wake makes the goroutine look again.
func (s *stepper) wake() {
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

// tick says that a tick has passed.
func (s *stepper) tick() {
	s.mu.Lock()
	s.due = true
	s.mu.Unlock()
	s.wake()
}

// post adds an event. Events that were posted before Close are done; later ones may be
// dropped.
func (s *stepper) post(e event) {
	s.mu.Lock()
	s.inbox = append(s.inbox, e)
	s.bytes += e.bytes
	s.mu.Unlock()
	s.wake()
}

// errand adds a call, which is made behind the events so far.
func (s *stepper) errand(do func()) {
	s.mu.Lock()
	s.calls = append(s.calls, do)
	s.mu.Unlock()
	s.wake()
}

// receive posts a message from another node, unless too much waits already.
func (s *stepper) receive(r *Replica, m Message) {
	bytes := messageHeaderLen
	for _, b := range m.Batches {
		bytes += len(b)
	}
	if m.Kind == KindJoin || m.Kind == KindJoinReply {
		s.errand(func() { s.greeted(r, m) })
		return
	}
	s.mu.Lock()
	full := s.bytes+bytes > s.node.cfg.InboxBytes && s.bytes > 0
	s.mu.Unlock()
	if full {
		return
	}
	if m.Kind == KindRest {
		s.post(event{r, func(c *Core) { r.mayRest(c.Status(), m) }, bytes})
		return
	}
	s.post(event{r, func(c *Core) {
		r.heard(m.Kind)
		_ = c.Step(m)
	}, bytes})
}

// run is the goroutine.
func (s *stepper) run() {
	for {
		select {
		case <-s.node.ended:
			return
		case <-s.signal:
			s.round()
		}
	}
}

// round does what is in the inbox, and sends what comes of it.
func (s *stepper) round() {
	s.mu.Lock()
	s.work, s.inbox = s.inbox, s.work[:0]
	calls, due := s.calls, s.due
	s.calls, s.bytes, s.due = nil, 0, false
	s.mu.Unlock()
	for i := range s.work {
		e := &s.work[i]
		if e.replica.core != nil {
			e.do(e.replica.core)
			s.touch(e.replica)
		}
		*e = event{}
	}
	for _, do := range calls {
		do()
	}
	if due {
		s.tickAll()
	}
	for i, r := range s.touched {
		r.activity.touched = false
		if r.core != nil {
			s.advance(r)
		}
		s.touched[i] = nil
	}
	s.touched = s.touched[:0]
	s.sendMail()
}

// tickAll lets a tick pass for the replicas that do not rest.
func (s *stepper) tickAll() {
	now := time.Now()
	awake := s.awake[:0]
	for _, r := range s.awake {
		if r.activity.idle++; r.activity.idle > restAfter && !r.activity.rests && r.core != nil {
			s.rest(r)
		}
		if r.activity.rests || r.core == nil {
			r.activity.awake = false
			continue
		}
		awake = append(awake, r)
		r.core.Tick(now)
		r.demand.count(r.core)
		r.tenure.recounts = r.tenure.refused
		if r.tenure.epoch != 0 && len(r.core.members.Learners) > 0 {
			r.promote()
		}
		s.touch(r)
	}
	clear(s.awake[len(awake):])
	s.awake = awake
	for _, r := range s.newcomers {
		s.ask(r)
	}
	s.rebalance()
	for _, id := range s.node.silent() {
		for _, r := range s.replicas {
			if r.activity.rests && r.Status().Leader.Node() == id {
				r.wakes()
			}
		}
	}
	for _, id := range s.node.gone() {
		for _, r := range s.replicas {
			if r.core != nil && r.core.role == Follower && r.core.leader != 0 && r.core.leader.Node() == id {
				r.wakes()
				r.core.LeaderGone()
				s.touch(r)
			}
		}
	}
}

func (s *stepper) touch(r *Replica) {
	if !r.activity.touched {
		r.activity.touched = true
		s.touched = append(s.touched, r)
	}
}

// advance does what a core has put out.
func (s *stepper) advance(r *Replica) {
	s.out.Reset()
	r.core.Advance(&s.out)
	if s.out.StateChanged {
		r.stepDown() // before the partition hears of what the next leader has committed
	}
	for i := range s.out.Messages {
		s.address(r, &s.out.Messages[i])
	}
	if len(s.out.Writes) > 0 {
		r.disk.write(s.out.Writes)
	}
	r.recount()
	for _, l := range s.out.Loads {
		r.disk.load(l)
	}
	if s.out.HighWatermarkMoved {
		r.part.Load().Commit(s.out.HighWatermark)
	}
	if s.out.Enough > 0 {
		r.part.Load().Acknowledge(s.out.Enough)
	}
	for _, reply := range s.out.Replies {
		reply.Done(reply.Result)
	}
	if s.out.StateChanged {
		r.changed()
	}
}

// address puts a message into the envelope for its node.
func (s *stepper) address(r *Replica, m *Message) {
	to, lane := m.To.Node(), LaneControl
	if m.Kind == KindAppend || m.Kind == KindSnapshot {
		lane = LaneBulk
	}
	limit := s.node.cfg.Transport.MaxFrame(lane)
	for i := range s.mail {
		a := &s.mail[i]
		if a.to != to || a.lane != lane {
			continue
		}
		if !a.add(r.group, m, min(limit, joinedBytes)) {
			s.send(a)
			a.add(r.group, m, limit)
		}
		a.from = append(a.from, sentTo{r, m.To, m.Snapshot != nil})
		return
	}
	s.mail = append(s.mail, addressed{to: to, lane: lane})
	a := &s.mail[len(s.mail)-1]
	a.add(r.group, m, limit)
	a.from = append(a.from, sentTo{r, m.To, m.Snapshot != nil})
}

// joinedBytes is how large a frame of several messages may become. One of a single
// message may be as large as the transport allows.
const joinedBytes = 1 << 20

// send gives an envelope to the transport. What certainly does not arrive is reported
// to the cores, which then send less until they hear from the other replica.
func (s *stepper) send(a *addressed) {
	if a.messages == 0 {
		return
	}
	sent := s.node.cfg.Transport.Send(a.to, a.lane, a.frame())
	for _, m := range a.from {
		if m.replica.core == nil || sent && !m.start {
			continue
		}
		if m.start {
			m.replica.core.SnapshotSent(m.id, sent)
		}
		if !sent {
			m.replica.core.Unreachable(m.id)
		}
	}
	clear(a.from)
	a.from = a.from[:0]
}

func (s *stepper) sendMail() {
	for i := range s.mail {
		s.send(&s.mail[i])
	}
}

// adopt makes the stepper drive a replica, from its next round on. A replica that is its
// group's only voter leads at once: there is no other leader to hear of.
func (s *stepper) adopt(r *Replica) {
	if r.newcomer != nil {
		s.errand(func() {
			s.replicas, s.newcomers = append(s.replicas, r), append(s.newcomers, r)
			s.ask(r)
		})
		return
	}
	s.post(event{r, func(c *Core) {
		s.replicas = append(s.replicas, r)
		r.wakes()
		if m := c.Status().Members; len(m.Outgoing) == 0 && slices.Equal(m.Voters, []ID{r.ID()}) {
			c.Tick(time.Now()) // the time of what it begins its epoch with
			_ = c.Campaign()   // a failure is in its Status
		}
	}, 0})
}

// abandon makes the stepper forget a replica; done is called on its goroutine.
func (s *stepper) abandon(r *Replica, done func()) {
	s.errand(func() {
		is := func(other *Replica) bool { return other == r }
		s.replicas, s.newcomers = slices.DeleteFunc(s.replicas, is), slices.DeleteFunc(s.newcomers, is)
		r.core, r.newcomer = nil, nil
		done()
	})
}
