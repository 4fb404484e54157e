package group

import (
	"bytes"
	"cmp"
	"errors"
	"maps"
	"math"
	"slices"
	"sort"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/pattern"
	"github.com/runnel-go/runnel/internal/wire"
	"github.com/runnel-go/runnel/record"
)

// Limits of what a group may hold. Zero fields mean the default.
type Limits struct {
	Members  int // of one group; 10,000
	Metadata int // bytes beside a committed offset; 4096, as for Kafka

	// Retention is how long a group without members is kept after its last commit
	// and after its last member left; 0 is for ever. No group expires before
	// ExpireFrom, so that the members of a process that was down for a long time can
	// join again first.
	Retention  time.Duration
	ExpireFrom time.Time

	// Classic is ServeClassic where the classic protocol is served. A program that does
	// not serve it does not link it: what the log has of such groups has no members then.
	Classic func(*Coordinator)

	// JoinDelay is how long an empty group of the classic protocol waits for further
	// members after each one that joins (group.initial.rebalance.delay.ms); 3 s.
	JoinDelay time.Duration

	Assignors map[string]consumer.PartitionAssignor // custom ones, by name
}

// Coordinator holds the groups of one partition of __consumer_offsets. See the
// package's documentation.
type Coordinator struct {
	limits  Limits
	groups  map[string]*group
	applied int64 // how many records were applied: the place of the next one

	// Transactions, by producer ID. See transaction.go.
	pending map[int64]*transaction
	ended   map[int64]ended
	crowded int // with more of ended, old ones are dropped

	// State that is not in the log.
	topics *Topics
	away   map[string]time.Time // when static members left, by member ID
	left   map[string]time.Time // when a group's last member left, by group, if this process saw it

	refused map[string]refusal // by group

	// Groups of the classic protocol as they live, by name, and expireClassic where it is
	// served, or else nil.
	rounds      map[string]*round
	expireRound func(groupName string, now time.Time) (next time.Time)

	// Derived from the groups when it is needed: a hash of each group's topics, and who
	// is to have which partition.
	hashes map[string]int64
	heirs  map[string]map[Partition]string

	// State of the current command.
	records []Record              // that it has made and applied
	cuts    []int                 // as Result.Cuts
	news    map[string]bool       // groups with a new target or a new assignment, in which all members may have to act
	freed   map[string]partitions // by group, what a member has given up in a heartbeat
	refuses []error               // as Result.Refused
	answers []Answer              // as Result.Answers
	err     error
}

// New returns a Coordinator without groups. The caller applies the log to it.
func New(limits Limits) *Coordinator {
	c := &Coordinator{
		limits: Limits{
			Members: cmp.Or(limits.Members, 10_000), Metadata: cmp.Or(limits.Metadata, 4096), JoinDelay: cmp.Or(limits.JoinDelay, 3*time.Second),
			Retention: limits.Retention, ExpireFrom: limits.ExpireFrom, Assignors: limits.Assignors,
		},
		groups: map[string]*group{}, topics: NewTopics(nil), away: map[string]time.Time{}, left: map[string]time.Time{},
		refused: map[string]refusal{}, pending: map[int64]*transaction{}, ended: map[int64]ended{}, crowded: endedCrowd,
		hashes: map[string]int64{}, heirs: map[string]map[Partition]string{}, rounds: map[string]*round{},
	}
	if limits.Classic != nil {
		limits.Classic(c)
	}
	return c
}

// Result is what a command did.
type Result struct {
	// Records are to be appended in this order. Cuts are the indexes in Records before
	// which an append may end; the records between two cuts must be appended together.
	Records []Record
	Cuts    []int

	// Wake are the IDs of the members, other than the caller, that should call
	// Heartbeat. Gone are the members that Expire removed, and GoneFrom their groups.
	Wake, Gone []string
	GoneFrom   []string

	Refused []error // assignments of custom assignors that were not valid

	// Answers to requests of the classic protocol, not only the command's, are to be given
	// once the Records count.
	Answers []Answer

	// Of, unless nil, is the transaction of which the Records are, or which a marker is to
	// end. They go into a batch of their own.
	Of *Transaction
}

// Units returns Records divided at Cuts. Each part must be appended as a whole.
func (r *Result) Units() [][]Record {
	var units [][]Record
	from := 0
	for _, at := range append(r.Cuts, len(r.Records)) {
		if at > from {
			units = append(units, r.Records[from:at:at])
			from = at
		}
	}
	return units
}

// Member describes a member that joins a group.
type Member struct {
	Group            string
	ID               string // unique; a member that joins again uses a new one
	InstanceID       string // KIP-345, or empty
	ClientID         string
	Topics           []string // sorted
	Pattern          string   // a regular expression for further topics, or empty
	Assignor         string   // or empty
	Metadata         []byte   // for the assignor, or nil
	RebalanceTimeout time.Duration
	SessionTimeout   time.Duration
}

// Assignment is what a member may own.
type Assignment struct {
	Epoch      int32       // the member's
	Partitions []Partition // sorted by topic's ID and number; read-only
}

// Join adds a member to its group. A static member that comes back gets the place
// that it left, without a rebalance, unless its subscription or its assignor has
// changed. A member that has joined already gets what Heartbeat returns to one that owns
// nothing: its coordinator may have moved before it was told.
//
// Errors: fault.InconsistentProtocol if the group mixes consumers with members that
// share tasks, fault.UnreleasedInstance if another member has the instance's place,
// fault.PolicyViolation if the group is full, fault.UnsupportedAssignor, and
// fault.InvalidAssignment if a custom assignor fails for the group with the member.
func (c *Coordinator) Join(m Member) (Assignment, Result, error) {
	c.begin()
	if m.Assignor != "" && !c.knows(m.Assignor) {
		return Assignment{}, Result{}, fault.Newf(fault.UnsupportedAssignor, "%q", m.Assignor)
	}
	if err := checkTold(m); err != nil {
		return Assignment{}, Result{}, err
	}
	if c.hasClassic(m.Group) {
		return Assignment{}, Result{}, fault.Newf(fault.InconsistentProtocol, "the members of group %q speak the classic protocol", m.Group).
			Try("end them first; a group without members takes either protocol")
	}
	if _, err := pattern.Parse(m.Pattern); err != nil {
		return Assignment{}, Result{}, err
	}
	var before *member
	g := c.groups[m.Group]
	if g != nil {
		if joined := g.members[m.ID]; joined != nil && joined.epoch >= 0 {
			return c.heartbeat(g, joined, nil)
		}
		if err := g.checkKind(m); err != nil {
			return Assignment{}, Result{}, err
		}
		if id, ok := g.statics[m.InstanceID]; ok && m.InstanceID != "" {
			if before = g.members[id]; before.epoch != epochAway {
				return Assignment{}, Result{}, fault.Newf(fault.UnreleasedInstance, "%q in group %q", m.InstanceID, m.Group)
			}
		}
		if before == nil && len(g.members) >= c.limits.Members {
			return Assignment{}, Result{}, fault.Newf(fault.PolicyViolation, "group %q has %d members already", m.Group, len(g.members))
		}
	}
	metadata := memberMetadata{
		instanceID: m.InstanceID, clientID: m.ClientID, topics: m.Topics, pattern: m.Pattern, assignor: m.Assignor,
		rebalanceTimeout: m.RebalanceTimeout, sessionTimeout: m.SessionTimeout,
		told: m.Metadata,
	}
	joined := current{epoch: epochJoin, previousEpoch: epochJoin}
	bump := true
	if before != nil {
		bump = !slices.Equal(before.topics, m.Topics) || before.pattern != m.Pattern || before.assignor != m.Assignor || !bytes.Equal(before.told, m.Metadata)
		// With other metadata its partitions may belong to other tasks, so it starts
		// without any.
		if bytes.Equal(before.told, m.Metadata) {
			joined.state, joined.assigned, joined.revoking = before.state, before.assigned, before.revoking
		}
	}
	if bump {
		if err := c.tryOut(m, metadata, before); err != nil {
			return Assignment{}, Result{}, err
		}
	}
	if g != nil && g.classic != nil {
		c.eraseClassic(g)
	}
	if before != nil {
		target := g.targets[before.id]
		c.removeMember(g, before)
		c.emit(key{kind: keyTarget, group: m.Group, member: m.ID}, func(w *wire.Writer) { encodeTarget(w, target) })
	}
	c.emit(key{kind: keyMember, group: m.Group, member: m.ID}, metadata.encode)
	c.emit(key{kind: keyCurrent, group: m.Group, member: m.ID}, joined.encode)
	if c.err != nil {
		return Assignment{}, Result{}, c.err
	}
	g = c.groups[m.Group]
	if bump {
		c.raiseEpoch(g)
	}
	return c.heartbeat(g, g.members[m.ID], nil)
}

// Heartbeat moves a member towards its target as far as it can go now. owned are
// the partitions that it has not revoked yet. fault.UnknownMember means that it is
// no longer in its group: it must drop all partitions and join with another ID.
func (c *Coordinator) Heartbeat(groupName, memberID string, owned []Partition) (Assignment, Result, error) {
	c.begin()
	g, m, err := c.find(groupName, memberID)
	if err != nil {
		return Assignment{}, Result{}, err
	}
	return c.heartbeat(g, m, newPartitions(slices.Clone(owned)))
}

func (c *Coordinator) heartbeat(g *group, m *member, owned partitions) (Assignment, Result, error) {
	c.retarget(g)
	// Revoking and receiving are two steps. A member that owns nothing that it must
	// revoke takes both at once.
	for {
		next := g.reconcile(m, c.topics, owned)
		if next.equal(m.current) {
			break
		}
		owned := m.assigned.plus(m.revoking)
		c.emit(key{kind: keyCurrent, group: g.name, member: m.id}, next.encode)
		if freed := owned.minus(m.assigned).minus(m.revoking); len(freed) > 0 {
			c.freed[g.name] = c.freed[g.name].plus(freed)
		}
	}
	result, err := c.end(m.id)
	return Assignment{Epoch: m.epoch, Partitions: m.assigned}, result, err
}

func (c current) equal(other current) bool {
	return c.epoch == other.epoch && c.state == other.state &&
		slices.Equal(c.assigned, other.assigned) && slices.Equal(c.revoking, other.revoking)
}

// Leave removes a member from its group. A static member keeps its place for its
// session timeout, counted from now. A member that is gone already is no error.
func (c *Coordinator) Leave(groupName, memberID string, now time.Time) (Result, error) {
	c.begin()
	if g, m, err := c.find(groupName, memberID); err == nil {
		c.depart(g, m, now)
	}
	return c.end(memberID)
}

// depart removes a dynamic member, and marks a static one as away: it keeps its
// partitions, so that a restart of its process moves none.
func (c *Coordinator) depart(g *group, m *member, now time.Time) {
	if m.instanceID == "" {
		c.evict(g, m, now)
		return
	}
	away := m.current
	away.epoch, away.previousEpoch = epochAway, m.epoch
	c.emit(key{kind: keyCurrent, group: g.name, member: m.id}, away.encode)
	c.away[m.id] = now
}

// evict removes a member, also a static one, and gives its partitions to others.
func (c *Coordinator) evict(g *group, m *member, now time.Time) {
	c.removeMember(g, m)
	c.emptied(g, now)
	c.raiseEpoch(g)
	c.retarget(g)
}

// removeMember makes the tombstones of a member's records.
func (c *Coordinator) removeMember(g *group, m *member) {
	delete(c.away, m.id)
	for _, kind := range []int16{keyCurrent, keyTarget, keyMember} {
		c.emit(key{kind: kind, group: g.name, member: m.id}, nil)
	}
}

// Restart removes the members that the log has: they belonged to a process that has
// ended. It must be the first command after the log was read. Static members become
// away, and their session timeout counts from now.
func (c *Coordinator) Restart(now time.Time) (Result, error) {
	c.begin()
	for _, name := range slices.Sorted(maps.Keys(c.groups)) {
		g := c.groups[name]
		for _, m := range g.sorted() {
			switch {
			case m.instanceID == "":
				c.removeMember(g, m)
				c.emptied(g, now)
				c.news[name] = true
			case m.epoch == epochAway:
				c.away[m.id] = now
			default:
				c.depart(g, m, now)
			}
		}
		if c.news[name] {
			c.raiseEpoch(g)
		}
		c.cut()
	}
	// The first member that joins computes the targets. It may subscribe to topics that
	// the coordinator doesn't know yet.
	return c.end("")
}

// SetTopics sets which topics exist. Groups whose topics have changed get a new
// target, and the offsets of deleted topics are removed.
func (c *Coordinator) SetTopics(topics *Topics) (Result, error) {
	c.begin()
	c.topics = topics
	clear(c.hashes)
	for _, name := range slices.Sorted(maps.Keys(c.groups)) {
		g := c.groups[name]
		for _, tp := range slices.SortedFunc(maps.Keys(g.offsets), record.TopicPartition.Compare) {
			if !c.topicExists(tp, g.offsets[tp]) {
				c.emit(key{kind: keyOffset, group: name, topic: tp.Topic, partition: tp.Partition}, nil)
				c.cut()
			}
		}
		c.retarget(g)
		c.cut()
	}
	return c.end("")
}

// topicExists reports whether the topic for which an offset was committed exists:
// not just its name, but its ID, unless the offset's version has none.
func (c *Coordinator) topicExists(tp record.TopicPartition, o offset) bool {
	t, ok := c.topics.byName[tp.Topic]
	return ok && (o.id == t.ID || o.id == Partition{}.ID)
}

// Delete deletes a group with its offsets; fault.GroupNotFound,
// fault.NonEmptyGroup.
func (c *Coordinator) Delete(groupName string) (Result, error) {
	c.begin()
	g := c.groups[groupName]
	if err := c.noMembers(groupName); err != nil {
		return Result{}, err
	}
	if g == nil {
		return Result{}, fault.Newf(fault.GroupNotFound, "%q", groupName)
	}
	c.erase(g, func() {})
	return c.end("")
}

// erase deletes a group without members, and calls between after each offset.
func (c *Coordinator) erase(g *group, between func()) {
	for _, tp := range c.pendingOf(g.name) {
		if _, ok := g.offsets[tp]; !ok {
			c.emit(key{kind: keyOffset, group: g.name, topic: tp.Topic, partition: tp.Partition}, nil)
			between()
		}
	}
	for _, tp := range slices.SortedFunc(maps.Keys(g.offsets), record.TopicPartition.Compare) {
		c.emit(key{kind: keyOffset, group: g.name, topic: tp.Topic, partition: tp.Partition}, nil)
		between()
	}
	c.eraseClassic(g)
	c.eraseConsumers(g)
	delete(c.rounds, g.name)
	delete(c.left, g.name)
	delete(c.refused, g.name)
	delete(c.hashes, g.name)
}

// eraseConsumers makes the tombstones of a group without members, but for its offsets.
func (c *Coordinator) eraseConsumers(g *group) {
	for _, id := range slices.Sorted(maps.Keys(g.targets)) {
		c.emit(key{kind: keyTarget, group: g.name, member: id}, nil)
	}
	if g.epoch != 0 || g.targetEpoch != 0 {
		c.emit(key{kind: keyTargetMetadata, group: g.name}, nil)
		c.emit(key{kind: keyGroup, group: g.name}, nil)
	}
}

// find returns a member that is in its group and not away, or fault.UnknownMember.
func (c *Coordinator) find(groupName, memberID string) (*group, *member, error) {
	if g := c.groups[groupName]; g != nil {
		if m := g.members[memberID]; m != nil && m.epoch >= 0 {
			return g, m, nil
		}
	}
	return nil, nil, fault.Newf(fault.UnknownMember, "%q in group %q", memberID, groupName)
}

// raiseEpoch begins the group's next epoch. Its record has a hash of the topics, by
// which retarget notices that they have changed.
func (c *Coordinator) raiseEpoch(g *group) {
	next := groupMetadata{epoch: max(g.epoch, 0)%math.MaxInt32 + firstEpoch, hash: c.hash(g)}
	c.emit(key{kind: keyGroup, group: g.name}, next.encode)
	c.news[g.name] = true
}

// hash returns a hash of the topics to which g subscribes, as they are.
func (c *Coordinator) hash(g *group) int64 {
	h, ok := c.hashes[g.name]
	if !ok {
		h = c.topics.hash(g.topics(c.topics))
		c.hashes[g.name] = h
	}
	return h
}

// retarget computes the target assignment of the group's epoch, unless it exists or was
// refused.
// If the group's topics have changed, it begins a new epoch first.
func (c *Coordinator) retarget(g *group) {
	if len(g.members) > 0 && g.hash != c.hash(g) {
		c.raiseEpoch(g)
	}
	if g.targetEpoch == g.epoch || c.refused[g.name].epoch == g.epoch {
		return
	}
	delete(c.refused, g.name)
	if len(g.members) > 0 {
		all, err := c.assign(g)
		if err != nil {
			c.refused[g.name] = refusal{g.epoch, err}
			c.refuses = append(c.refuses, err)
			return
		}
		sort.Slice(all, func(i, j int) bool { return all[i].id < all[j].id })
		for _, s := range all {
			target := newPartitions(s.target)
			if before, ok := g.targets[s.id]; ok && slices.Equal(before, target) {
				continue
			}
			c.emit(key{kind: keyTarget, group: g.name, member: s.id}, func(w *wire.Writer) { encodeTarget(w, target) })
		}
	}
	epoch := g.epoch
	c.emit(key{kind: keyTargetMetadata, group: g.name}, func(w *wire.Writer) { encodeTargetEpoch(w, epoch) })
	c.news[g.name] = true
}

// begin starts a command. Every exported command calls it first, and end last.
func (c *Coordinator) begin() {
	c.records, c.cuts, c.news, c.freed, c.refuses, c.err = nil, nil, map[string]bool{}, map[string]partitions{}, nil, nil
	c.answers = nil
}

// cut allows the append to end here. A crash in between must leave a state from which
// the same command, run again, does the rest.
func (c *Coordinator) cut() { c.cuts = append(c.cuts, len(c.records)) }

// emit makes a record and applies it. It encodes the value first: Apply then decodes
// the same bytes that a reader of the log will, so the two can't differ.
func (c *Coordinator) emit(k key, value func(*wire.Writer)) {
	r, err := encodeRecord(k, value)
	if err != nil {
		c.err = errors.Join(c.err, err)
		return
	}
	c.records = append(c.records, r)
	c.err = errors.Join(c.err, c.Apply(r.Key, r.Value))
}

// encodeRecord returns the record of a key; a tombstone if value is nil.
func encodeRecord(k key, value func(*wire.Writer)) (Record, error) {
	var kw, vw wire.Writer
	k.encode(&kw)
	if value != nil {
		value(&vw)
	}
	return Record{Key: kw.B, Value: vw.B}, errors.Join(kw.Err(), vw.Err())
}
