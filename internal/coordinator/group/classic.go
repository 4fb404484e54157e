package group

import (
	"bytes"
	"maps"
	"slices"
	"time"

	"github.com/runnel-go/runnel/fault"
)

// The classic protocol's requests and responses have Kafka's fields, and an error for
// its error code. Requests that wait, as JoinGroup for the other members and SyncGroup
// for the leader, are known by tickets, which the caller chooses; see Result.Answers.

// ServeClassic makes a new Coordinator serve the classic protocol; see Limits.Classic.
func ServeClassic(c *Coordinator) { c.expireRound = c.expireClassic }

// JoinGroupRequest asks for a place in a group of the classic protocol.
type JoinGroupRequest struct {
	GroupID          string
	SessionTimeout   time.Duration
	RebalanceTimeout time.Duration
	MemberID         string // empty for a new member
	GroupInstanceID  string // KIP-345, or empty
	ProtocolType     string
	Protocols        []Protocol // in the order in which the member prefers them
	ClientID         string
	ClientHost       string

	NewMemberID          string // is the member's if it is new
	RequireKnownMemberID bool   // a new member has to ask again with its ID (KIP-394)
	SkipAssignment       bool   // the client knows JoinGroupResponse.SkipAssignment (KIP-814)
}

// Protocol is a way of assigning that a member knows, with what it tells the leader.
type Protocol struct {
	Name     string
	Metadata []byte
}

// JoinGroupResponse is a member's place in a generation.
type JoinGroupResponse struct {
	Err            error
	GenerationID   int32
	ProtocolType   string
	ProtocolName   string
	Leader         string
	SkipAssignment bool // the leader has nothing to assign
	MemberID       string
	Members        []JoinGroupMember // of the leader's response only; sorted by MemberID
}

// JoinGroupMember is a member as the leader sees it.
type JoinGroupMember struct {
	MemberID        string
	GroupInstanceID string
	Metadata        []byte
}

// SyncGroupRequest asks for a member's assignment; the leader's brings those of all.
type SyncGroupRequest struct {
	GroupID         string
	GenerationID    int32
	MemberID        string
	GroupInstanceID string
	ProtocolType    string            // empty: any
	ProtocolName    string            // empty: any
	Assignments     map[string][]byte // by member ID
}

// SyncGroupResponse is a member's assignment.
type SyncGroupResponse struct {
	Err          error
	ProtocolType string
	ProtocolName string
	Assignment   []byte
}

// HeartbeatRequest says that a member lives.
type HeartbeatRequest struct {
	GroupID         string
	GenerationID    int32
	MemberID        string
	GroupInstanceID string
}

// MemberIdentity names a member that leaves: by its ID, by its instance ID, or both.
type MemberIdentity struct {
	MemberID        string
	GroupInstanceID string
}

// Answer is the response to a request of the classic protocol: one of the two is set.
type Answer struct {
	Ticket int64
	Join   *JoinGroupResponse
	Sync   *SyncGroupResponse
}

// Limits of session timeouts of the classic protocol, as Kafka has them
// (group.min.session.timeout.ms, group.max.session.timeout.ms).
const (
	minSessionTimeout = 6 * time.Second
	maxSessionTimeout = 30 * time.Minute
)

// newMemberTimeout is how long a member that is new may wait in its first JoinGroup.
const newMemberTimeout = 5 * time.Minute

// ConsumerProtocol is the protocol type of consumers.
const ConsumerProtocol = "consumer"

// classicState is where a group of the classic protocol is.
//
//	                  a member joins            all have joined, or it is too late for the others
//	Empty ──────────────────▶ preparing ───────────────────────────▶ completing
//	  ▲                         ▲    │                                    │ the leader has
//	  │ none has joined         │    │        a member leaves or joins    │ assigned
//	  └─────────────────────────┼────┘◀──────────────┬────────────────────┤
//	                            └──── Stable ────────┘◀───────────────────┘
type classicState int8

const (
	classicEmpty classicState = iota
	classicPreparing
	classicCompleting
	classicStable
)

// classic is what the log has of a group of the classic protocol: its last generation
// that was complete. Only Apply changes it, as a whole.
type classic struct {
	protocolType string
	generation   int32
	protocol     string
	leader       string
	since        int64 // milliseconds
	members      map[string]classicMember
}

// classicMember is a member in classic.
type classicMember struct {
	instanceID, clientID, clientHost string
	rebalanceTimeout, sessionTimeout time.Duration
	subscription, assignment         []byte
}

// round is a group of the classic protocol as it lives: what of a rebalance is not in the
// log. A coordinator that reads the log finds the last complete generation, as Kafka's
// does; members of a later one join again. While the group is Stable or Empty, the round
// is what the log has.
type round struct {
	state        classicState
	protocolType string
	protocol     string
	generation   int32
	leader       string
	members      map[string]*participant
	pending      map[string]time.Time // IDs that were given out, and until when they count (KIP-394)
	deadline     time.Time            // of the joins, or of the syncs
	latest       time.Time            // how far new members may move the deadline of a first rebalance; zero in others
}

// participant is a member of a round.
type participant struct {
	id string
	classicMember
	protocols []Protocol
	joining   int64 // the ticket of its JoinGroup that waits; 0 if none does
	syncing   int64 // the same of SyncGroup
	synced    bool  // has asked for its assignment in this generation
	isNew     bool  // its first JoinGroup waits
	heard     time.Time
}

// metadata returns what the member says about a protocol.
func (p *participant) metadata(protocol string) []byte {
	for _, known := range p.protocols {
		if known.Name == protocol {
			return known.Metadata
		}
	}
	return nil
}

// says reports whether the member knows exactly these protocols.
func (p *participant) says(protocols []Protocol) bool {
	return slices.EqualFunc(p.protocols, protocols, func(a, b Protocol) bool {
		return a.Name == b.Name && bytes.Equal(a.Metadata, b.Metadata)
	})
}

// expires returns when the member is too late, unless it is heard of; zero while a
// request of it waits here.
func (p *participant) expires() time.Time {
	switch {
	case p.joining != 0 && p.isNew:
		return p.heard.Add(newMemberTimeout)
	case p.joining != 0 || p.syncing != 0:
		return time.Time{}
	}
	return p.heard.Add(p.sessionTimeout)
}

// round returns a group of the classic protocol as it lives; nil for a group that has no
// member and no generation of it.
func (c *Coordinator) round(groupName string, now time.Time) *round {
	if r := c.rounds[groupName]; r != nil {
		return r
	}
	g := c.groups[groupName]
	if g == nil || g.classic == nil {
		return nil
	}
	r := newRound()
	r.protocolType, r.protocol, r.generation, r.leader = g.classic.protocolType, g.classic.protocol, g.classic.generation, g.classic.leader
	for id, m := range g.classic.members {
		r.state = classicStable
		r.members[id] = &participant{
			id: id, classicMember: m, heard: now, synced: true,
			protocols: []Protocol{{Name: r.protocol, Metadata: m.subscription}},
		}
	}
	c.rounds[groupName] = r
	return r
}

func newRound() *round {
	return &round{members: map[string]*participant{}, pending: map[string]time.Time{}}
}

// static returns the member of an instance; nil without one.
func (r *round) static(instanceID string) *participant {
	for _, p := range r.members {
		if instanceID != "" && p.instanceID == instanceID {
			return p
		}
	}
	return nil
}

// sorted returns the members, sorted by ID.
func (r *round) sorted() []*participant {
	all := make([]*participant, 0, len(r.members))
	for _, id := range slices.Sorted(maps.Keys(r.members)) {
		all = append(all, r.members[id])
	}
	return all
}

// find returns the member that a request is of; fault.UnknownMember, or
// fault.FencedInstance where another member has the instance's place.
func (r *round) find(memberID, instanceID string) (*participant, error) {
	if r == nil {
		return nil, fault.Newf(fault.UnknownMember, "%q: the group has no members", memberID)
	}
	if instanceID != "" {
		static := r.static(instanceID)
		switch {
		case static == nil:
			return nil, fault.Newf(fault.UnknownMember, "no member is instance %q", instanceID)
		case static.id != memberID:
			return nil, fault.Newf(fault.FencedInstance, "instance %q is now another member", instanceID)
		}
		return static, nil
	}
	if p := r.members[memberID]; p != nil {
		return p, nil
	}
	return nil, fault.Newf(fault.UnknownMember, "%q", memberID)
}

// findIn is find for requests that are made in a generation; fault.IllegalGeneration.
func (r *round) findIn(generation int32, memberID, instanceID string) (*participant, error) {
	p, err := r.find(memberID, instanceID)
	if err == nil && generation != r.generation {
		return nil, fault.Newf(fault.IllegalGeneration, "generation %d, and it is %d", generation, r.generation)
	}
	return p, err
}

// common returns the protocols that all members know. With also, another one that knows
// these takes the place of one of them, unless except is nil.
func (r *round) common(also []Protocol, except *participant) map[string]bool {
	counts := make(map[string]int)
	count := func(protocols []Protocol) {
		for i, p := range protocols {
			if !slices.ContainsFunc(protocols[:i], func(before Protocol) bool { return before.Name == p.Name }) {
				counts[p.Name]++
			}
		}
	}
	all := 0
	for _, p := range r.members {
		if p != except {
			count(p.protocols)
			all++
		}
	}
	if also != nil {
		count(also)
		all++
	}
	known := make(map[string]bool)
	for name, n := range counts {
		if n == all {
			known[name] = true
		}
	}
	return known
}

// vote returns the protocol that most members prefer among those that all know; of
// several, the first by name.
func (r *round) vote() string {
	known := r.common(nil, nil)
	votes := make(map[string]int)
	for _, p := range r.members {
		for _, protocol := range p.protocols {
			if known[protocol.Name] {
				votes[protocol.Name]++
				break
			}
		}
	}
	chosen := ""
	for _, name := range slices.Sorted(maps.Keys(votes)) {
		if votes[name] > votes[chosen] {
			chosen = name
		}
	}
	return chosen
}

// place returns what JoinGroup returns to a member of the present generation.
func (r *round) place(p *participant) *JoinGroupResponse {
	answer := &JoinGroupResponse{
		GenerationID: r.generation, ProtocolType: r.protocolType, ProtocolName: r.protocol, Leader: r.leader, MemberID: p.id,
	}
	if p.id == r.leader {
		answer.Members = r.forLeader()
	}
	return answer
}

func (r *round) forLeader() (all []JoinGroupMember) {
	for _, m := range r.sorted() {
		all = append(all, JoinGroupMember{MemberID: m.id, GroupInstanceID: m.instanceID, Metadata: m.metadata(r.protocol)})
	}
	return all
}

// complete is the generation as a record has it.
func (r *round) complete(now time.Time) *classic {
	v := &classic{
		protocolType: r.protocolType, generation: r.generation, protocol: r.protocol, leader: r.leader,
		since: now.UnixMilli(), members: map[string]classicMember{},
	}
	for id, p := range r.members {
		m := p.classicMember
		m.subscription = p.metadata(r.protocol)
		v.members[id] = m
	}
	return v
}

// store makes the record of the present generation. What the group had in the other
// protocol, before it lost its members, goes.
func (c *Coordinator) store(groupName string, r *round, now time.Time) {
	if g := c.groups[groupName]; g != nil {
		c.eraseConsumers(g)
	}
	v := r.complete(now)
	c.emit(key{kind: keyClassic, group: groupName}, v.encode)
}

// eraseClassic makes the tombstone of what a group without members was in the classic
// protocol.
func (c *Coordinator) eraseClassic(g *group) {
	delete(c.rounds, g.name)
	if g.classic != nil {
		c.emit(key{kind: keyClassic, group: g.name}, nil)
	}
}

// classicMembers returns how many members of the classic protocol a group has.
func (c *Coordinator) classicMembers(groupName string) int {
	if r := c.rounds[groupName]; r != nil {
		return len(r.members)
	}
	if g := c.groups[groupName]; g != nil && g.classic != nil && c.expireRound != nil {
		return len(g.classic.members)
	}
	return 0 // or they are of another time
}

// hasClassic reports whether a group has members of the classic protocol, or will have.
func (c *Coordinator) hasClassic(groupName string) bool {
	r := c.rounds[groupName]
	return c.classicMembers(groupName) > 0 || r != nil && len(r.pending) > 0
}

// topics returns the topics to which the members subscribe, if they are consumers.
func (v *classic) topics() (all []string) {
	for _, m := range v.members {
		if v.protocolType == ConsumerProtocol {
			all = append(all, subscribed(m.subscription)...)
		}
	}
	return all
}

func (r *round) topics() []string { return r.complete(time.Time{}).topics() }
