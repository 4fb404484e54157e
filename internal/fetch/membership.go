package fetch

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/catalogue"
	"github.com/runnel-go/runnel/internal/coordinator"
	"github.com/runnel-go/runnel/internal/coordinator/group"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// membership is a session's place in its group. Guarded by session.mu.
type membership struct {
	id          string // empty: not joined
	epoch       int32  // as of the last heartbeat
	coordinator coordinator.Coordinator
	listener    *coordinator.Listener
}

// isNew reports whether a partition is newer than the group's subscription, as its
// members remember it, or than the session's own assignment. With Latest, such a
// partition is read from its first record.
func (s *Session) isNew(src *source) bool {
	if !s.cfg.Subscribes() {
		return src.awaited
	}
	return src.tp.Partition >= s.baseline.Load().Count(src.id)
}

// membership returns the session's place in its group.
func (s *Session) membership() membership {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.member
}

// update applies what has changed in the topics and in the group. Each turn of Fetch
// begins with it, so callbacks run before records of a new assignment are returned.
func (s *Session) update() error {
	changed := s.host.MetadataChanged()
	if changed != s.seen {
		s.seen = changed
		s.expectTopics()
		s.news.Store(true)
	}
	if !s.cfg.Subscribes() || !s.news.Swap(false) {
		return nil
	}
	done := false
	defer func() {
		if !done { // it failed, or a callback has ended the goroutine: the next call tries again
			s.news.Store(true)
		}
	}()
	err := s.rebalance()
	if isElsewhere(err) || isUnknown(err) {
		s.searchLater()
		done = true
		return nil // the session keeps what it owns meanwhile
	}
	s.pause = 0
	done = err == nil
	return err
}

// expectTopics makes sources whose partition is awaited look for it again.
func (s *Session) expectTopics() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, src := range s.sources {
		if src.part == nil {
			src.enqueueLocked()
		}
	}
}

// rebalance asks the group what the session may own, and changes the assignment to
// that. It first gives up what it must and reports that to the group with the next
// heartbeat; only then does it take up what is new. So a partition never has two
// owners.
func (s *Session) rebalance() error {
	for {
		a, err := s.heartbeat()
		switch {
		case errors.Is(err, fault.UnknownMember):
			s.lose(s.Assignment())
			continue
		case err != nil:
			return err
		}
		lost, revoked, added := s.compare(a)
		s.lose(lost)
		s.giveUp(revoked)
		if len(lost)+len(revoked) > 0 {
			continue
		}
		return s.takeUp(added, a.Partitions)
	}
}

// heartbeat joins the group, or reports to it what the session owns.
func (s *Session) heartbeat() (coordinator.Assignment, error) {
	ctx := context.Background()
	if m := s.membership(); m.id != "" {
		a, err := m.coordinator.Heartbeat(ctx, m.id, s.owned(), m.listener)
		s.mu.Lock()
		defer s.mu.Unlock()
		switch {
		case err == nil:
			s.member.epoch = a.Epoch
		case errors.Is(err, fault.UnknownMember):
			s.member.id = ""
		}
		return a, err
	}
	at, err := s.groups.Find(ctx, s.cfg.Group, true)
	if err != nil {
		return coordinator.Assignment{}, err
	}
	m := s.join(at)
	a, err := at.Join(ctx, group.Member{
		Group: s.cfg.Group, ID: m.id, InstanceID: s.cfg.InstanceID, ClientID: s.cfg.ClientID,
		Topics: s.cfg.Topics, Pattern: s.cfg.Pattern, Assignor: s.cfg.Assignor, Metadata: s.cfg.Metadata,
		RebalanceTimeout: s.cfg.RebalanceTimeout, SessionTimeout: s.cfg.SessionTimeout,
	}, m.listener)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		s.baseline.Store(m.listener.Baseline)
		m.epoch = a.Epoch
		s.member, s.joining = m, membership{}
	case isUnknown(err):
		s.joining = m
	case !isElsewhere(err):
		s.joining = membership{}
	}
	return a, err
}

// join returns who the session is to be in its group: who it asked to be before, if the
// answer was lost.
func (s *Session) join(at coordinator.Coordinator) membership {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.joining.id != "" {
		return s.joining
	}
	return membership{id: catalogue.NewID().String(), coordinator: at, listener: &coordinator.Listener{
		Wake: s.changed, LastFetch: s.lastFetch, Group: s.cfg.Group, Baseline: s.baseline.Load(), SessionTimeout: s.cfg.SessionTimeout,
	}}
}

// lastFetch returns when the session was last within Fetch.
func (s *Session) lastFetch() time.Time {
	if away := s.awaySince.Load(); away != 0 {
		return s.opened.Add(time.Duration(away))
	}
	return time.Now()
}

// owned returns what the session has not given up.
func (s *Session) owned() []group.Partition {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]group.Partition, 0, len(s.sources))
	for tp, src := range s.sources {
		all = append(all, group.Partition{ID: src.id, Number: tp.Partition})
	}
	return all
}

// compare returns what changes with an assignment: what is lost because its topic was
// deleted, what must be given up, and what is new. Each is sorted.
func (s *Session) compare(a coordinator.Assignment) (lost, revoked, added []record.TopicPartition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for tp, src := range s.sources {
		if id, ok := a.Partitions[tp]; ok && id == src.id {
			continue
		}
		if s.host.Has(tp.Topic, src.id) {
			revoked = append(revoked, tp)
		} else {
			lost = append(lost, tp)
		}
	}
	for tp := range a.Partitions {
		if s.sources[tp] == nil {
			added = append(added, tp)
		}
	}
	for _, set := range [][]record.TopicPartition{lost, revoked, added} {
		sortPartitions(set)
	}
	return lost, revoked, added
}

// takeUp begins to own partitions, which are sorted: it makes a source of each and calls
// OnAssigned. ids are the topics' IDs if a group has assigned them; else nil.
//
// Only with Assign does it return an error of looking up an offset. Other errors
// concern one partition: Fetch reports them, and the other partitions can be read.
func (s *Session) takeUp(partitions []record.TopicPartition, ids map[record.TopicPartition]topic.ID) error {
	if len(partitions) == 0 {
		return nil
	}
	committed, err := s.committed(partitions)
	if err != nil {
		committed = nil // each source asks again, and returns the error
	}
	for _, tp := range partitions {
		src := &source{session: s, tp: tp, id: ids[tp]}
		src.offset.Store(unknownOffset)
		err := src.find(committed)
		if err != nil && ids == nil && src.part != nil && !s.cfg.Start.IsNone() && !errors.Is(err, fault.UnstableOffsetCommit) {
			return err
		}
		src.awaited = src.part == nil
		s.mu.Lock()
		src.forgiveLocked() // so that Fetch meets the error again, and reports it
		s.sources[tp] = src
		src.enqueueLocked()
		s.mu.Unlock()
	}
	s.call(s.cfg.OnAssigned, partitions)
	return nil
}

// giveUp calls OnRevoked for partitions that another member will own, and then drops
// them: the callback may still commit.
func (s *Session) giveUp(partitions []record.TopicPartition) {
	if len(partitions) == 0 {
		return
	}
	s.call(s.cfg.OnRevoked, partitions)
	for _, tp := range partitions {
		s.drop(tp)
	}
}

// lose drops partitions that another member may own already, and then calls OnLost.
func (s *Session) lose(partitions []record.TopicPartition) {
	if len(partitions) == 0 {
		return
	}
	for _, tp := range partitions {
		s.drop(tp)
	}
	s.call(s.cfg.OnLost, partitions)
}

// call calls the program's fn. Meanwhile the member counts as away from Fetch: a
// callback that takes longer than the rebalance timeout costs it its place.
func (s *Session) call(fn func([]record.TopicPartition), partitions []record.TopicPartition) {
	if fn == nil {
		return
	}
	if s.cfg.Subscribes() {
		s.noteAway()
		defer s.awaySince.Store(0)
	}
	s.gate.Tell(func() { fn(slices.Clone(partitions)) })
}

// leaveGroup takes the member out of its group.
func (s *Session) leaveGroup() error {
	s.mu.Lock()
	m := s.member
	if m.id == "" {
		m = s.joining
	}
	s.mu.Unlock()
	if m.id == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveFor)
	defer cancel()
	err := s.insistWhile(ctx, func() bool { return true }, func() error { return m.coordinator.Leave(ctx, s.cfg.Group, m.id) })
	if isElsewhere(err) || isUnknown(err) || errors.Is(err, fault.Closed) {
		return nil // the group expels a member of which it hears no more
	}
	return err
}

// gone reports whether the session is closed and owns nothing. While OnRevoked runs at
// its end, it still owns its partitions, and the callback may commit.
func (s *Session) gone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gate.Closed() && len(s.sources) == 0
}

// Commit stores offsets for the group. See consumer.Session.
func (s *Session) Commit(ctx context.Context, offsets map[record.TopicPartition]consumer.Offset) error {
	if s.cfg.Group == "" {
		return fault.Newf(fault.InvalidGroup, "the consumer has no group")
	}
	if s.gone() {
		return fault.Closed
	}
	m := s.membership()
	if s.cfg.Subscribes() && m.id == "" {
		return fault.Newf(fault.UnknownMember, "the consumer has not joined group %q yet", s.cfg.Group)
	}
	if m.coordinator == nil {
		var err error
		if m.coordinator, err = s.groups.Find(ctx, s.cfg.Group, true); err != nil {
			return err
		}
	}
	return s.insist(ctx, func() error { return m.coordinator.Commit(ctx, s.cfg.Group, m.id, offsets) })
}

// GroupMetadata returns who the session is in its group. See consumer.Session.
func (s *Session) GroupMetadata(context.Context) (consumer.GroupMetadata, error) {
	if s.cfg.Group == "" {
		return consumer.GroupMetadata{}, fault.Newf(fault.InvalidGroup, "the consumer has no group")
	}
	if s.gone() {
		return consumer.GroupMetadata{}, fault.Closed
	}
	if !s.cfg.Subscribes() {
		return consumer.GroupMetadata{Group: s.cfg.Group, MemberEpoch: -1}, nil
	}
	m := s.membership()
	if m.id == "" {
		return consumer.GroupMetadata{}, fault.Newf(fault.UnknownMember, "the consumer has not joined group %q yet", s.cfg.Group)
	}
	return consumer.GroupMetadata{Group: s.cfg.Group, MemberID: m.id, MemberEpoch: m.epoch, InstanceID: s.cfg.InstanceID}, nil
}

// Committed returns the group's offsets. See consumer.Session.
func (s *Session) Committed(ctx context.Context, partitions ...record.TopicPartition) (map[record.TopicPartition]consumer.Offset, error) {
	if s.cfg.Group == "" {
		return nil, fault.Newf(fault.InvalidGroup, "the consumer has no group")
	}
	at, err := s.groups.Find(ctx, s.cfg.Group, false)
	if err != nil {
		return nil, err
	}
	found := make(map[record.TopicPartition]consumer.Offset)
	if at == nil || len(partitions) == 0 {
		return found, nil
	}
	err = s.insist(ctx, func() error {
		all, err := at.Committed(ctx, s.cfg.Group, s.cfg.ReadCommitted, partitions...)
		maps.Copy(found, all)
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// committed is Committed where there may be no group.
func (s *Session) committed(partitions []record.TopicPartition) (map[record.TopicPartition]consumer.Offset, error) {
	if s.cfg.Group == "" {
		return map[record.TopicPartition]consumer.Offset{}, nil
	}
	return s.Committed(context.Background(), partitions...)
}

func sortPartitions(all []record.TopicPartition) {
	slices.SortFunc(all, record.TopicPartition.Compare)
}
