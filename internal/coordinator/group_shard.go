package coordinator

import (
	"context"
	"slices"
	"time"

	"github.com/runnel-go/runnel/internal/coordinator/group"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
)

// GroupShard is the coordinator of the groups in one partition of
// __consumer_offsets.
type GroupShard struct {
	shard[*group.Coordinator]
	groups *Groups

	timer *time.Timer // for Expire; runs only while there are deadlines. Guarded by mu

	// The writer's.
	armed     bool                 // the timer runs
	restarted bool                 // Restart has removed the previous process's members, if it must
	since     time.Time            // when the state was loaded
	seen      <-chan struct{}      // the host's MetadataChanged as of topics
	topics    *group.Topics        // that the coordinator knows
	listeners map[string]*Listener // by member ID
	neighbors map[int32]*neighbor  // other nodes that have had guests
	changed   map[int32]int64      // by other node: the latest request that changed something for no member
	requests  openRequests         // of the classic protocol
	made      group.Result         // of the round so far
	members   bool                 // the round adds or removes members, so deadlines may change
}

// Listener is what a shard needs of a member's session.
type Listener struct {
	Wake      func()           // called when the session should send a heartbeat; must not block
	LastFetch func() time.Time // when the session last asked for records
	Group     string
	Baseline  *Baseline // nil unless the member begins at the end

	SessionTimeout time.Duration // the member's

	guest *guest // nil for a session of this process
}

// run runs a command of groups.
func (s *GroupShard) run(ctx context.Context, command func(*group.Coordinator) (group.Result, error)) error {
	return s.do(ctx, func(c *group.Coordinator) ([]unit, error) {
		r, err := command(c)
		return s.gather(r), err
	})
}

// gather adds a result to the round's, for notify, and returns its records.
func (s *GroupShard) gather(r group.Result) []unit {
	s.made.Records = append(s.made.Records, r.Records...)
	s.made.Wake = append(s.made.Wake, r.Wake...)
	s.made.Gone = append(s.made.Gone, r.Gone...)
	s.made.Answers = append(s.made.Answers, r.Answers...)
	for _, err := range r.Refused {
		s.groups.cfg.Refused(err)
	}
	return unitsOf(&r)
}

// unitsOf returns the records of a result, as they belong together.
func unitsOf(r *group.Result) (units []unit) {
	if r.Of != nil {
		return []unit{{records: r.Records, of: r.Of}}
	}
	for _, records := range r.Units() {
		units = append(units, unit{records: records})
	}
	return units
}

// offsetGrace is how long an overdue group is kept after a start, so that its
// members can join again. It is the interval at which Kafka checks
// (offsets.retention.check.interval.ms).
const offsetGrace = 10 * time.Minute

func (s *GroupShard) empty() *group.Coordinator {
	retention := s.groups.cfg.Retention
	return group.New(group.Limits{
		Retention: retention, ExpireFrom: time.Now().Add(min(retention, offsetGrace)), Assignors: s.groups.cfg.Assignors,
		Classic: s.groups.cfg.Classic,
	})
}

func (s *GroupShard) apply(c *group.Coordinator, b *record.Batch, r *record.Record) error {
	switch {
	case b.Control():
		if m, ok := log.MarkerOf(*b); ok {
			c.ApplyMarker(b.ProducerID, b.ProducerEpoch, group.Marker{Commit: m.Commit, CoordinatorEpoch: m.CoordinatorEpoch, Time: b.MaxTimestamp})
		}
		return nil
	case b.Transactional():
		return c.ApplyPending(b.ProducerID, b.ProducerEpoch, r.Key, r.Value)
	}
	return c.Apply(r.Key, r.Value)
}

// prepare updates the coordinator's topics, and after the first load removes the
// members of the previous process.
func (s *GroupShard) prepare(c *group.Coordinator, loaded bool) ([]unit, error) {
	var units []unit
	if loaded {
		s.since = time.Now()
		s.members = true // so that finish computes the deadlines
		s.dismissGuests()
		s.requests.abandon()
		s.forgetUnknown(c)
		if err := s.groups.catchUp(); err != nil {
			return nil, err
		}
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
	if s.restarted || s.host.IsReplicated() {
		return units, nil // members of other nodes live on while coordinators come and go
	}
	r, err := c.Restart(time.Now())
	if err != nil {
		return nil, err
	}
	return append(units, s.gather(r)...), nil
}

// forgetUnknown drops the listeners of members that are not in the log, after a
// failed append, and wakes them: their next heartbeat returns fault.UnknownMember,
// and they join again.
func (s *GroupShard) forgetUnknown(c *group.Coordinator) {
	for id, l := range s.listeners {
		if !c.Knows(id) {
			delete(s.listeners, id)
			l.Wake()
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
	r, next, err := c.Expire(now, s.heard)
	if err == nil {
		err = write(unitsOf(&r))
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

// heard returns what is known of a member.
func (s *GroupShard) heard(memberID string) group.Heard {
	l := s.listeners[memberID]
	switch {
	case l != nil && l.guest != nil:
		return group.Heard{Fetch: l.LastFetch(), Alive: l.guest.heard}
	case l != nil:
		return group.Heard{Fetch: l.LastFetch()}
	case s.host.IsReplicated():
		return group.Heard{Fetch: s.since, Alive: s.since} // it has its session timeout to find this coordinator
	}
	return group.Heard{}
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

// notify wakes the sessions that the round concerns. If the coordinator was discarded,
// that is all of them, because the results that they have may not be in the log.
func (s *GroupShard) notify(failed bool) {
	made := s.made
	s.made, s.members = group.Result{}, false
	if failed {
		s.requests.abandon()
		for _, l := range s.listeners {
			l.Wake()
		}
	} else {
		s.requests.answer(made.Answers)
		for _, id := range slices.Concat(made.Wake, made.Gone) {
			if l := s.listeners[id]; l != nil {
				l.Wake()
			}
		}
	}
	for _, id := range made.Gone {
		delete(s.listeners, id)
	}
}

// stop stops the timer and refuses further commands.
func (s *GroupShard) stop() {
	s.shut()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
	}
}
