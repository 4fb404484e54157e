package replica

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"path/filepath"
	"slices"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
)

// A newcomer is a replica whose node finds nothing of it on its disk, or less than it had
// once. It must not take part under the identity that the group knows: it may have voted,
// and acknowledged what it has no more. So it asks the nodes of its group:
//
//	              all are new too; or a majority is, and nobody has begun
//	┌────────┐ ──────────────────────────────────────────────────────────▶ the first ID: it begins
//	│newcomer│
//	└────────┘ ──────────────────────────────────────────────────────────▶ a new ID: it learns
//	     │  ▲     a leader has made it a learner, under an ID drawn at random
//	     └──┘
//	   asks in every tick, then less often
//
// Until then it has no core, so it neither votes nor acknowledges anything, and its
// partition is an empty one in memory. What is on its disk stays there until the group has
// taken it in: only a leader whose group goes on without this replica does that.
type newcomer struct {
	id    ID              // under which it asks to be taken in
	lost  bool            // it had something once
	new   map[NodeID]bool // the nodes whose replicas have nothing either
	begun bool            // one of the others has something
	ticks int
	busy  bool // its disk is being made
}

func newNewcomer(node NodeID, lost bool) *newcomer {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return &newcomer{id: NewID(node, max(binary.BigEndian.Uint32(b[:]), 1)), lost: lost, new: map[NodeID]bool{node: !lost}}
}

// addNewcomer adds a replica that does not know yet what it is.
func (n *Node) addNewcomer(cfg GroupConfig, why error) (*Replica, log.Recovery, error) {
	var found log.Recovery
	lost := errors.Is(why, ErrLost)
	if lost {
		found.Damage = append(found.Damage, why)
	}
	empty := DiskConfig{Log: cfg.Disk.Log, ID: cfg.Disk.ID}
	empty.Log.FS, empty.Log.Begun = vfs.NewMemory(), nil
	for _, on := range []log.Config{cfg.Disk.Log, empty.Log} { // whoever opens a partition finds its directory
		if err := on.FS.MkdirAll(on.Dir); err != nil {
			return nil, found, fault.At(fault.OfDisk(err), on.Topic, on.Partition, -1).Because(err)
		}
	}
	if err := CreateDisk(empty, Membership{Voters: []ID{empty.ID}}); err != nil {
		return nil, found, err
	}
	home, _, err := OpenDisk(empty)
	if err != nil {
		return nil, found, err
	}
	r := &Replica{node: n, group: cfg.Group, cfg: cfg, home: home, gone: make(chan struct{}), newcomer: newNewcomer(n.cfg.ID, lost)}
	r.id.Store(uint64(cfg.Disk.ID))
	return r, found, n.adopt(r)
}

// isNew reports whether a replica certainly never voted, nor acknowledged anything.
func (s *Status) isNew() bool { return s.Epoch == 0 && s.LastIndex == 0 && s.StartIndex == 0 }

// ask asks the other nodes, and begins when it may.
func (s *stepper) ask(r *Replica) {
	c := r.newcomer
	if c.busy {
		return
	}
	all := r.cfg.Members.Voters
	if !c.lost && !c.begun {
		count := 0
		for _, v := range all {
			if c.new[v.Node()] {
				count++
			}
		}
		if count == len(all) || count > len(all)/2 && c.ticks > s.node.cfg.ElectionTicks {
			r.settle(r.cfg.Disk.ID, count == len(all))
			return
		}
	}
	if c.ticks++; c.ticks > 4*s.node.cfg.ElectionTicks && c.ticks%4 != 0 {
		return
	}
	for _, v := range all {
		if v.Node() != s.node.cfg.ID {
			s.address(r, &Message{Kind: KindJoin, From: c.id, To: NewID(v.Node(), 0), Reject: c.lost})
		}
	}
}

// greeted takes a newcomer's question, or an answer to its own.
func (s *stepper) greeted(r *Replica, m Message) {
	c := r.newcomer
	switch {
	case c != nil && m.Kind == KindJoin:
		c.new[m.From.Node()] = !m.Reject
		if !m.Reject && !slices.Contains(r.companions, m.From) {
			r.companions = append(r.companions, m.From)
		}
		s.address(r, &Message{Kind: KindJoinReply, From: c.id, To: m.From, Reject: c.lost})
	case c != nil && m.To == c.id && !c.busy:
		c.new[m.From.Node()] = m.Term == 0 && !m.Reject
		c.begun = c.begun || m.Reject
		if m.Term > 0 && !m.Reject {
			r.settle(c.id, false)
		}
	case r.core != nil && m.Kind == KindJoin:
		s.answer(r, m)
	}
}

// answer answers a newcomer's question: with a term if its group has taken it in, with none
// if this replica is new, too, or was when the other one asked first, and else with a
// refusal, while the leader sees to it.
func (s *stepper) answer(r *Replica, m Message) {
	status := r.core.Status()
	reply := &Message{Kind: KindJoinReply, From: r.ID(), To: m.From}
	switch {
	case status.Members.Has(m.From):
		reply.Term = max(uint64(status.Epoch), 1)
	case status.isNew() || slices.Contains(r.companions, m.From):
	default:
		reply.Reject = true
		if status.Leading {
			r.takeIn(status, m.From)
		}
	}
	s.address(r, reply)
}

// takeIn makes a newcomer a learner, if it is to take the place of a replica on its node.
// Learners there that have not got that far are replaced at once.
func (r *Replica) takeIn(s Status, id ID) {
	if !slices.ContainsFunc(r.cfg.Members.Voters, func(v ID) bool { return v.Node() == id.Node() }) {
		return
	}
	changes := []Change{{ID: id, Kind: AddLearner}}
	for _, l := range s.Members.Learners {
		if l.Node() == id.Node() {
			changes = append(changes, Change{ID: l, Kind: Remove})
		}
	}
	r.change(s, changes)
}

// promote gives a learner that has caught up the place of the replica on its node.
func (r *Replica) promote() {
	s := r.core.Status()
	for _, p := range s.Peers {
		if !p.InSync || !slices.Contains(s.Members.Learners, p.ID) {
			continue
		}
		changes := []Change{{ID: p.ID, Kind: AddVoter}}
		for _, v := range s.Members.Voters {
			if v.Node() == p.ID.Node() {
				changes = append(changes, Change{ID: v, Kind: Remove})
			}
		}
		r.change(s, changes)
		return
	}
}

// holds reports whether a replica has its node's place in the group, and no other one is
// about to take it.
func (m *Membership) holds(id ID) bool {
	return slices.Contains(m.Voters, id) && !slices.ContainsFunc(m.Learners, func(l ID) bool { return l.Node() == id.Node() })
}

// change proposes a change of members, one at a time.
func (r *Replica) change(s Status, changes []Change) {
	t := &r.tenure
	if !s.Leading || t.changing || len(s.Members.Outgoing) > 0 {
		return
	}
	r.wakes()
	t.changing = true
	r.core.ProposeMembers(changes, func(Result) { t.changing = false })
	r.stepper.touch(r)
}

// settle makes the newcomer's disk, behind whatever is done there, and lets it begin.
func (r *Replica) settle(id ID, first bool) {
	c := r.newcomer
	c.busy = true
	r.disk.then(func() {
		cfg := r.cfg.Disk
		cfg.ID = id
		home, state, err := makeDisk(cfg, r.cfg.Members)
		if err == nil {
			placeholder, part := r.home, r.part.Load()
			r.home = home
			r.id.Store(uint64(id))
			r.attach()
			part.Abandon()
			_ = placeholder.Close()
		}
		r.stepper.errand(func() {
			if r.newcomer != c {
				return
			}
			if c.busy = false; err == nil {
				r.begin(state, first)
			}
		})
	})
}

// begin gives the replica its core. Where all are new, the preferred leader need not wait
// for an election to become due.
func (r *Replica) begin(state DiskState, first bool) {
	core, err := r.newCore(state)
	if err != nil {
		return
	}
	s := r.stepper
	r.core, r.newcomer = core, nil
	s.newcomers = slices.DeleteFunc(s.newcomers, func(other *Replica) bool { return other == r })
	r.published.store(r.published.next(), core.Status())
	r.wakes()
	core.Tick(time.Now())
	if first && r.cfg.Preferred == r.node.cfg.ID {
		_ = core.Campaign() // a failure is in its Status
	}
	s.touch(r)
}

// makeDisk makes the directory of a replica that begins with nothing, in place of what is
// there. A replica that is none of members joins their group.
func makeDisk(cfg DiskConfig, members Membership) (*Disk, DiskState, error) {
	fsys, dir := cfg.Log.FS, cfg.Log.Dir
	var err error
	if _, failed := fsys.Stat(dir); failed == nil {
		// The file that makes it a replica's goes first.
		for _, name := range []string{baseName, stateName} {
			if _, failed := fsys.Stat(filepath.Join(dir, name)); failed == nil {
				err = errors.Join(err, fsys.Remove(filepath.Join(dir, name)), fsys.SyncDir(dir))
			}
		}
		err = errors.Join(err, clearLog(fsys, dir), fsys.SyncDir(filepath.Dir(dir)))
	}
	if err == nil {
		err = createDisk(cfg, members)
	}
	if err != nil {
		return nil, DiskState{}, fault.At(fault.OfDisk(err), cfg.Log.Topic, cfg.Log.Partition, -1).Because(err)
	}
	return OpenDisk(cfg)
}
