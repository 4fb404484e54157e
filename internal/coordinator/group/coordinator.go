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

	// Retention is how long a group without members is kept after its last
	// commit, and after its last member left; 0 is for ever. None expires before
	// ExpireFrom, so that who comes back after a long time finds its group.
	Retention  time.Duration
	ExpireFrom time.Time
}

// Coordinator holds the groups of one partition of __consumer_offsets. See the
// package's documentation.
type Coordinator struct {
	limits Limits
	groups map[string]*group

	// What is not in the log.
	topics *Topics
	away   map[string]time.Time // by the IDs of static members that are away: since when
	left   map[string]time.Time // by the names of groups: when their last member left, as far as this process saw it

	// Of the command at work.
	records []Record
	cuts    []int
	news    map[string]bool // groups with other assignments than before
	err     error
}

// New returns a Coordinator without groups, to which the log is to be applied.
func New(limits Limits) *Coordinator {
	return &Coordinator{
		limits: Limits{
			Members: cmp.Or(limits.Members, 10_000), Metadata: cmp.Or(limits.Metadata, 4096),
			Retention: limits.Retention, ExpireFrom: limits.ExpireFrom,
		},
		groups: map[string]*group{}, topics: NewTopics(nil), away: map[string]time.Time{}, left: map[string]time.Time{},
	}
}

// Result is what a command did.
type Result struct {
	Records []Record // to be appended, in this order, all or none but for Cuts
	Cuts    []int    // where what is appended may end: how many of Records go before

	// Wake are the members, by their IDs, for whom there is news, but for the
	// one whose command it was. Gone are those that Expire took out.
	Wake, Gone []string
	GoneFrom   []string // the groups of those that are Gone
}

// Units returns Records in parts, each to be appended as a whole.
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

// Member says who joins a group.
type Member struct {
	Group            string
	ID               string // unique; a member that joins again has another
	InstanceID       string // KIP-345, or empty
	ClientID         string
	Topics           []string // sorted
	Pattern          string   // a regular expression for further topics, or empty
	Assignor         string   // or empty
	Metadata         []byte   // what it tells its assignor, or nil
	RebalanceTimeout time.Duration
	SessionTimeout   time.Duration
}

// Assignment is what a member may own.
type Assignment struct {
	Epoch      int32       // the member's
	Partitions []Partition // sorted by topic's ID and number; read-only
}

// Join takes a member into its group. A static member that comes back gets the
// place that it left, without a rebalance.
//
// fault.InconsistentProtocol says that only some of the members share tasks,
// fault.UnreleasedInstance that another member has the instance's place,
// fault.PolicyViolation that the group is full, fault.UnsupportedAssignor that
// nobody knows the assignor.
func (c *Coordinator) Join(m Member) (Assignment, Result, error) {
	c.begin()
	if m.Assignor != "" && assignors[m.Assignor] == nil {
		return Assignment{}, Result{}, fault.Newf(fault.UnsupportedAssignor, "%q", m.Assignor)
	}
	if err := checkTold(m); err != nil {
		return Assignment{}, Result{}, err
	}
	if _, err := pattern.Parse(m.Pattern); err != nil {
		return Assignment{}, Result{}, err
	}
	var before *member
	g := c.groups[m.Group]
	if g != nil {
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
		target := g.targets[before.id]
		bump = !slices.Equal(before.topics, m.Topics) || before.pattern != m.Pattern || before.assignor != m.Assignor || !bytes.Equal(before.told, m.Metadata)
		if bytes.Equal(before.told, m.Metadata) { // otherwise its tasks may be others, and it takes them up from nothing
			joined.state, joined.assigned, joined.revoking = before.state, before.assigned, before.revoking
		}
		c.remove(g, before)
		c.emit(key{kind: keyTarget, group: m.Group, member: m.ID}, func(w *wire.Writer) { encodeTarget(w, target) })
	}
	c.emit(key{kind: keyMember, group: m.Group, member: m.ID}, metadata.encode)
	c.emit(key{kind: keyCurrent, group: m.Group, member: m.ID}, joined.encode)
	if c.err != nil {
		return Assignment{}, Result{}, c.err
	}
	g = c.groups[m.Group]
	if bump {
		c.raise(g)
	}
	return c.heartbeat(g, g.members[m.ID], nil)
}

// Heartbeat leads a member one step nearer to its target. owned are the
// partitions that it has not given up yet. fault.UnknownMember says that it is
// no longer in its group, and has to join again with another ID, owning nothing.
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
	// Giving up and getting are two steps: a member that has nothing to give up
	// takes both at once.
	for {
		next := g.reconcile(m, c.topics, owned)
		if next.equal(m.current) {
			break
		}
		c.emit(key{kind: keyCurrent, group: g.name, member: m.id}, next.encode)
		c.news[g.name] = true
	}
	result, err := c.end(m.id)
	return Assignment{Epoch: m.epoch, Partitions: m.assigned}, result, err
}

func (c current) equal(other current) bool {
	return c.epoch == other.epoch && c.state == other.state &&
		slices.Equal(c.assigned, other.assigned) && slices.Equal(c.revoking, other.revoking)
}

// Leave takes a member out of its group. A static one keeps its place until its
// session timeout, counted from now, is over. One that is gone already is no
// error.
func (c *Coordinator) Leave(groupName, memberID string, now time.Time) (Result, error) {
	c.begin()
	if g, m, err := c.find(groupName, memberID); err == nil {
		c.leave(g, m, now)
	}
	return c.end(memberID)
}

func (c *Coordinator) leave(g *group, m *member, now time.Time) {
	if m.instanceID == "" {
		c.evict(g, m, now)
		return
	}
	away := m.current
	away.epoch, away.previousEpoch = epochAway, m.epoch
	c.emit(key{kind: keyCurrent, group: g.name, member: m.id}, away.encode)
	c.away[m.id] = now
}

// evict takes a member out of its group, whoever it is.
func (c *Coordinator) evict(g *group, m *member, now time.Time) {
	c.remove(g, m)
	c.emptied(g, now)
	c.raise(g)
	c.retarget(g)
}

func (c *Coordinator) remove(g *group, m *member) {
	delete(c.away, m.id)
	for _, kind := range []int16{keyCurrent, keyTarget, keyMember} {
		c.emit(key{kind: kind, group: g.name, member: m.id}, nil)
	}
}

// Restart says, before anything else is done with a log that was read, that the
// members which it tells of have left: their process is no more.
func (c *Coordinator) Restart(now time.Time) (Result, error) {
	c.begin()
	for _, name := range slices.Sorted(maps.Keys(c.groups)) {
		g := c.groups[name]
		for _, m := range g.sorted() {
			switch {
			case m.instanceID == "":
				c.remove(g, m)
				c.emptied(g, now)
				c.news[name] = true
			case m.epoch == epochAway:
				c.away[m.id] = now
			default:
				c.leave(g, m, now)
			}
		}
		if c.news[name] {
			c.raise(g)
		}
		c.cut()
	}
	// The targets follow with the first member, who may come back with topics
	// that are not known yet.
	return c.end("")
}

// SetTopics tells the coordinator which topics exist. Groups whose topics
// changed get another target, and offsets of topics that are no more go.
func (c *Coordinator) SetTopics(topics *Topics) (Result, error) {
	c.begin()
	c.topics = topics
	for _, name := range slices.Sorted(maps.Keys(c.groups)) {
		g := c.groups[name]
		for _, tp := range slices.SortedFunc(maps.Keys(g.offsets), record.TopicPartition.Compare) {
			if !c.current(tp, g.offsets[tp]) {
				c.emit(key{kind: keyOffset, group: name, topic: tp.Topic, partition: tp.Partition}, nil)
				c.cut()
			}
		}
		c.retarget(g)
		c.cut()
	}
	return c.end("")
}

// current reports whether the topic that an offset was committed for exists.
func (c *Coordinator) current(tp record.TopicPartition, o offset) bool {
	t, ok := c.topics.byName[tp.Topic]
	return ok && (o.id == t.ID || o.id == Partition{}.ID)
}

// Commit stores offsets for a group, all or none. A member may commit for the
// partitions that it owns or has not given up yet, which is what Kafka's member
// epoch stands for; without a member the group must have none.
//
// fault.UnknownMember, fault.StaleMemberEpoch for a partition that the member
// does not own, fault.NonEmptyGroup without a member; fault.UnknownTopic,
// fault.OffsetMetadataTooLarge, fault.OffsetOutOfRange for an offset below zero.
func (c *Coordinator) Commit(groupName, memberID string, offsets map[record.TopicPartition]consumer.Offset, now time.Time) (Result, error) {
	c.begin()
	if err := c.mayCommit(groupName, memberID, offsets); err != nil {
		return Result{}, err
	}
	for _, tp := range slices.SortedFunc(maps.Keys(offsets), record.TopicPartition.Compare) {
		o := offsets[tp]
		value := offset{
			offset: o.Offset, leaderEpoch: o.LeaderEpoch, metadata: o.Metadata,
			committed: now.UnixMilli(), id: c.topics.byName[tp.Topic].ID,
		}
		c.emit(key{kind: keyOffset, group: groupName, topic: tp.Topic, partition: tp.Partition}, value.encode)
	}
	return c.end(memberID)
}

func (c *Coordinator) mayCommit(groupName, memberID string, offsets map[record.TopicPartition]consumer.Offset) error {
	g := c.groups[groupName]
	if memberID != "" {
		if _, _, err := c.find(groupName, memberID); err != nil {
			return err
		}
	} else if g != nil && len(g.members) > 0 {
		return fault.Newf(fault.NonEmptyGroup, "group %q has %d members", groupName, len(g.members))
	}
	for tp, o := range offsets {
		t, ok := c.topics.byName[tp.Topic]
		switch {
		case !ok || tp.Partition < 0 || tp.Partition >= t.Partitions:
			return fault.At(fault.UnknownTopic, tp.Topic, tp.Partition, -1)
		case o.Offset < 0:
			return fault.At(fault.OffsetOutOfRange, tp.Topic, tp.Partition, -1).Detailf("offset %d", o.Offset)
		case len(o.Metadata) > c.limits.Metadata:
			return fault.At(fault.OffsetMetadataTooLarge, tp.Topic, tp.Partition, o.Offset).
				Detailf("%d bytes, at most %d fit", len(o.Metadata), c.limits.Metadata)
		case memberID != "" && g.owner(Partition{ID: t.ID, Number: tp.Partition}) != memberID:
			return fault.At(fault.StaleMemberEpoch, tp.Topic, tp.Partition, o.Offset).
				Detailf("the member does not own the partition")
		}
	}
	return nil
}

// Delete deletes a group with its offsets; fault.GroupNotFound,
// fault.NonEmptyGroup.
func (c *Coordinator) Delete(groupName string) (Result, error) {
	c.begin()
	g := c.groups[groupName]
	switch {
	case g == nil:
		return Result{}, fault.Newf(fault.GroupNotFound, "%q", groupName)
	case len(g.members) > 0:
		return Result{}, fault.Newf(fault.NonEmptyGroup, "group %q has %d members", groupName, len(g.members))
	}
	c.erase(g, func() {})
	return c.end("")
}

// erase deletes a group without members, and calls between after each offset.
func (c *Coordinator) erase(g *group, between func()) {
	for _, tp := range slices.SortedFunc(maps.Keys(g.offsets), record.TopicPartition.Compare) {
		c.emit(key{kind: keyOffset, group: g.name, topic: tp.Topic, partition: tp.Partition}, nil)
		between()
	}
	for _, id := range slices.Sorted(maps.Keys(g.targets)) {
		c.emit(key{kind: keyTarget, group: g.name, member: id}, nil)
	}
	c.emit(key{kind: keyTargetMetadata, group: g.name}, nil)
	c.emit(key{kind: keyGroup, group: g.name}, nil)
	delete(c.left, g.name)
}

func (c *Coordinator) find(groupName, memberID string) (*group, *member, error) {
	if g := c.groups[groupName]; g != nil {
		if m := g.members[memberID]; m != nil && m.epoch >= 0 {
			return g, m, nil
		}
	}
	return nil, nil, fault.Newf(fault.UnknownMember, "%q in group %q", memberID, groupName)
}

// raise begins the group's next epoch.
func (c *Coordinator) raise(g *group) {
	next := groupMetadata{epoch: max(g.epoch, 0)%math.MaxInt32 + firstEpoch, hash: c.topics.hash(g.topics(c.topics))}
	c.emit(key{kind: keyGroup, group: g.name}, next.encode)
	c.news[g.name] = true
}

// retarget computes the target assignment of the group's epoch where it is not
// there yet, beginning an epoch first where topics changed.
func (c *Coordinator) retarget(g *group) {
	if len(g.members) > 0 && g.hash != c.topics.hash(g.topics(c.topics)) {
		c.raise(g)
	}
	if g.targetEpoch == g.epoch {
		return
	}
	if len(g.members) > 0 {
		all := g.subscribers(c.topics)
		assignors[g.assignor()](all)
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

// assignor returns the name of the assignor that most members chose, and of
// several the first in the alphabet.
func (g *group) assignor() string {
	votes := make(map[string]int)
	for _, m := range g.members {
		if assignors[m.assignor] != nil {
			votes[m.assignor]++
		}
	}
	chosen := DefaultAssignor
	for _, name := range slices.Sorted(maps.Keys(votes)) {
		if votes[name] > votes[chosen] {
			chosen = name
		}
	}
	return chosen
}

// begin, emit and end frame every command: emit makes a record and applies it.
func (c *Coordinator) begin() {
	c.records, c.cuts, c.news, c.err = nil, nil, map[string]bool{}, nil
}

// cut says that what follows need not be appended with what was emitted so far: a
// crash in between leaves something that the same command goes on with.
func (c *Coordinator) cut() { c.cuts = append(c.cuts, len(c.records)) }

func (c *Coordinator) emit(k key, value func(*wire.Writer)) {
	var kw, vw wire.Writer
	k.encode(&kw)
	if value != nil {
		value(&vw)
	}
	if err := errors.Join(kw.Err(), vw.Err()); err != nil {
		c.err = errors.Join(c.err, err)
		return
	}
	c.records = append(c.records, Record{Key: kw.B, Value: vw.B})
	c.err = errors.Join(c.err, c.Apply(kw.B, vw.B))
}

func (c *Coordinator) end(caller string) (Result, error) {
	if c.err != nil {
		return Result{}, c.err
	}
	r := Result{Records: c.records, Cuts: c.cuts}
	for _, name := range slices.Sorted(maps.Keys(c.news)) {
		g := c.groups[name]
		if g == nil {
			continue
		}
		for _, m := range g.sorted() {
			if m.id != caller && !g.settled(m) && m.epoch != epochAway {
				r.Wake = append(r.Wake, m.id)
			}
		}
	}
	return r, nil
}
