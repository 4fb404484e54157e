package coordinator

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf16"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator/group"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// GroupsConfig configures Groups.
type GroupsConfig struct {
	Host *host.Host

	// Ensure returns an internal topic, open. It creates the topic if it is missing.
	Ensure func(context.Context, topic.Spec) (*host.Topic, error)

	// Spare calls a function with disk space held in reserve.
	Spare func(func() error) error

	Retention time.Duration                  // as group.Limits.Retention
	Gone      func(groups, members []string) // is called with expired members and their groups
}

// Groups coordinates consumer groups. Each group belongs to one partition of
// __consumer_offsets, and so to one Group shard. It is safe for concurrent use.
type Groups struct {
	cfg     GroupsConfig
	loading chan struct{} // holds a token while the shards are created
	shards  atomic.Pointer[[]*GroupShard]
	work    sync.WaitGroup // goroutines that write
}

// NewGroups returns the coordinators of groups. It reads no log: the first command
// of each shard does.
func NewGroups(cfg GroupsConfig) *Groups {
	return &Groups{cfg: cfg, loading: make(chan struct{}, 1)}
}

// Shard returns the shard of a group. It is nil if the topic doesn't exist and
// create is false.
func (g *Groups) Shard(ctx context.Context, groupName string, create bool) (*GroupShard, error) {
	shards, err := g.All(ctx, create)
	if err != nil || len(shards) == 0 {
		return nil, err
	}
	return shards[int(groupHash(groupName))%len(shards)], nil
}

// groupHash is Kafka's hash: the absolute value of Java's String.hashCode, and 0 for
// the number that has none.
func groupHash(name string) int32 {
	var h int32
	for _, unit := range utf16.Encode([]rune(name)) {
		h = 31*h + int32(unit)
	}
	if h < 0 {
		h = -h
	}
	return max(h, 0)
}

// All returns all shards, and creates them at the first call. With create, it also
// creates their topic if it is missing.
func (g *Groups) All(ctx context.Context, create bool) ([]*GroupShard, error) {
	if shards := g.shards.Load(); shards != nil {
		return *shards, nil
	}
	select {
	case g.loading <- struct{}{}:
		defer func() { <-g.loading }()
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-g.cfg.Host.Closing():
		return nil, fault.Closed
	}
	if shards := g.shards.Load(); shards != nil {
		return *shards, nil
	}
	if _, exists := g.cfg.Host.Lookup(group.OffsetsTopic.Name); !exists && !create {
		return nil, nil
	}
	t, err := g.cfg.Ensure(ctx, group.OffsetsTopic)
	if err != nil {
		return nil, err
	}
	shards := make([]*GroupShard, len(t.Partitions()))
	for i := range shards {
		shards[i] = &GroupShard{groups: g, sessions: map[string]*Member{}}
		shards[i].start(g.cfg.Host, t, int32(i), shards[i], &g.work, g.cfg.Spare)
	}
	g.shards.Store(&shards)
	return shards, nil
}

// Close ends all shards. The caller has closed the sessions before.
func (g *Groups) Close() {
	g.loading <- struct{}{} // keeps the token, so that no shards are created later
	if shards := g.shards.Load(); shards != nil {
		for _, s := range *shards {
			s.end()
		}
	}
	g.work.Wait()
}

// GroupShard is the coordinator of the groups in one partition of
// __consumer_offsets.
type GroupShard struct {
	Shard[*group.Coordinator]
	groups *Groups

	timer *time.Timer // for Expire; runs only while there are deadlines. Guarded by mu

	// The writer's.
	armed     bool               // the timer runs
	restarted bool               // Restart has removed the previous process's members
	seen      <-chan struct{}    // the host's MetadataChanged as of topics
	topics    *group.Topics      // that the coordinator knows
	sessions  map[string]*Member // by member ID
	made      group.Result       // of the round so far
	members   bool               // the round adds or removes members, so deadlines may change
}

// Member is a member's session, as a shard needs it.
type Member struct {
	News  func()           // called when the session should send a heartbeat; must not block
	Heard func() time.Time // when the session last asked for records
	Group string
	Known *Subscription // nil unless it begins at the end
}

// run runs a command of groups.
func (s *GroupShard) run(ctx context.Context, command func(*group.Coordinator) (group.Result, error)) error {
	return s.do(ctx, func(c *group.Coordinator) ([]unit, error) {
		r, err := command(c)
		return s.gather(r), err
	})
}

// gather adds a result to the round's, for tell, and returns its records.
func (s *GroupShard) gather(r group.Result) []unit {
	s.made.Records = append(s.made.Records, r.Records...)
	s.made.Wake = append(s.made.Wake, r.Wake...)
	s.made.Gone = append(s.made.Gone, r.Gone...)
	return r.Units()
}

// offsetGrace is how long an overdue group is kept after a start, so that its
// members can join again. It is the interval at which Kafka checks
// (offsets.retention.check.interval.ms).
const offsetGrace = 10 * time.Minute

func (s *GroupShard) empty() *group.Coordinator {
	retention := s.groups.cfg.Retention
	return group.New(group.Limits{Retention: retention, ExpireFrom: time.Now().Add(min(retention, offsetGrace))})
}

func (s *GroupShard) apply(c *group.Coordinator, r *record.Record) error {
	return c.Apply(r.Key, r.Value)
}

// prepare updates the coordinator's topics, and after the first load removes the
// members of the previous process.
func (s *GroupShard) prepare(c *group.Coordinator, loaded bool) ([]unit, error) {
	var units []unit
	if loaded {
		s.members = true // so that finish computes the deadlines
		s.forgetUnknown(c)
	}
	if changed := s.host.MetadataChanged(); loaded || changed != s.seen {
		s.topics = topicsOf(s.host)
		r, err := c.SetTopics(s.topics)
		if err != nil {
			return nil, err
		}
		s.seen = changed
		units = append(units, s.gather(r)...)
	}
	if s.restarted {
		return units, nil
	}
	r, err := c.Restart(time.Now())
	if err != nil {
		return nil, err
	}
	return append(units, s.gather(r)...), nil
}

// forgetUnknown drops the sessions of members that are not in the log, after a
// failed append, and wakes them: their next heartbeat returns fault.UnknownMember,
// and they join again.
func (s *GroupShard) forgetUnknown(c *group.Coordinator) {
	for id, m := range s.sessions {
		if !c.Knows(id) {
			delete(s.sessions, id)
			m.News()
		}
	}
}

// topicsOf returns all topics that a group may read.
func topicsOf(h *host.Host) *group.Topics {
	var all []group.Topic
	for t := range h.All() {
		if !t.Internal {
			all = append(all, group.Topic{Name: t.Name, ID: t.ID, Partitions: int32(len(t.Placement()))})
		}
	}
	return group.NewTopics(all)
}

// finish expires members and groups, and sets the timer for the next deadline. It
// does so only after rounds that may have changed a deadline: going through all
// groups at each commit would be costly.
func (s *GroupShard) finish(c *group.Coordinator, write func([]unit) error) error {
	s.restarted = true
	if !s.members && (s.armed || len(s.made.Records) == 0) {
		return nil
	}
	now := time.Now()
	r, next, err := c.Expire(now, func(id string) time.Time {
		if m := s.sessions[id]; m != nil {
			return m.Heard()
		}
		return time.Time{}
	})
	if err == nil {
		err = write(r.Units())
	}
	if err != nil {
		next = now.Add(time.Second)
	} else {
		s.groups.cfg.Gone(r.GoneFrom, r.Gone)
		s.gather(r)
	}
	s.armed = !next.IsZero()
	s.setTimer(next, now)
	return err
}

// setTimer sets the timer for the next deadline, or stops it if next is zero.
func (s *GroupShard) setTimer(next, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
	case next.IsZero():
		if s.timer != nil {
			s.timer.Stop()
		}
	case s.timer == nil:
		s.timer = time.AfterFunc(next.Sub(now), s.tick)
	default:
		s.timer.Reset(next.Sub(now))
	}
}

// tick runs an empty round, whose finish expires what is due. The timer calls it on
// a goroutine of its own.
func (s *GroupShard) tick() {
	_ = s.run(context.Background(), func(*group.Coordinator) (group.Result, error) {
		s.members = true
		return group.Result{}, nil
	})
}

// tell wakes the sessions that the round concerns. If the coordinator was discarded,
// that is all of them, because the results that they have may not be in the log.
func (s *GroupShard) tell(failed bool) {
	made := s.made
	s.made, s.members = group.Result{}, false
	for id, m := range s.sessions {
		if failed || slices.Contains(made.Wake, id) || slices.Contains(made.Gone, id) {
			m.News()
		}
	}
	for _, id := range made.Gone {
		delete(s.sessions, id)
	}
}

// end stops the timer and refuses further commands.
func (s *GroupShard) end() {
	s.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
	}
}

// Assignment is a group.Assignment with its topics' names.
type Assignment struct {
	Epoch      int32
	Partitions map[record.TopicPartition]topic.ID
}

// named returns an assignment with its topics' names, without deleted topics.
func (s *GroupShard) named(a group.Assignment) Assignment {
	named := Assignment{Epoch: a.Epoch, Partitions: make(map[record.TopicPartition]topic.ID, len(a.Partitions))}
	for _, p := range a.Partitions {
		if name, ok := s.topics.Name(p.ID); ok {
			named.Partitions[record.TopicPartition{Topic: name, Partition: p.Number}] = p.ID
		}
	}
	return named
}

// Join adds a member to its group.
func (s *GroupShard) Join(ctx context.Context, m group.Member, session *Member) (a Assignment, err error) {
	err = s.run(ctx, func(c *group.Coordinator) (group.Result, error) {
		s.members = true
		joined, r, err := c.Join(m)
		if err == nil {
			session.Known = session.Known.since(session.Group, s.sessions)
			s.sessions[m.ID] = session
			a = s.named(joined)
		}
		return r, err
	})
	if err != nil {
		return Assignment{}, err
	}
	return a, nil
}

// Heartbeat moves a member towards its target.
func (s *GroupShard) Heartbeat(ctx context.Context, groupName, memberID string, owned []group.Partition) (a Assignment, err error) {
	err = s.run(ctx, func(c *group.Coordinator) (group.Result, error) {
		led, r, err := c.Heartbeat(groupName, memberID, owned)
		if err == nil {
			a = s.named(led)
		}
		return r, err
	})
	if err != nil {
		return Assignment{}, err
	}
	return a, nil
}

// Leave removes a member from its group.
func (s *GroupShard) Leave(ctx context.Context, groupName, memberID string) error {
	err := s.run(ctx, func(c *group.Coordinator) (group.Result, error) {
		s.members = true
		delete(s.sessions, memberID)
		return c.Leave(groupName, memberID, time.Now())
	})
	if errors.Is(err, fault.UnknownMember) {
		return nil
	}
	return err
}

// Commit stores offsets, for a member or, with an empty member ID, for a group
// without members.
func (s *GroupShard) Commit(ctx context.Context, groupName, memberID string, offsets map[record.TopicPartition]consumer.Offset) error {
	return s.run(ctx, func(c *group.Coordinator) (group.Result, error) {
		return c.Commit(groupName, memberID, offsets, time.Now())
	})
}

// Delete deletes a group with its offsets.
func (s *GroupShard) Delete(ctx context.Context, groupName string) error {
	return s.run(ctx, func(c *group.Coordinator) (group.Result, error) { return c.Delete(groupName) })
}

// View calls fn with the groups of the shard, which fn must not change.
func (s *GroupShard) View(ctx context.Context, fn func(*group.Coordinator) error) error {
	return s.view(ctx, fn)
}
