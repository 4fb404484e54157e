package kafka

import (
	"context"
	"regexp"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/runnel-go/runnel/internal/tasks"
	"github.com/runnel-go/runnel/record"
)

// The client calls back about changes of its assignment on its own goroutines.
// A session guarantees its caller that they happen on the goroutine that
// fetches. So each one becomes a change in a queue:
//
//	client's goroutine:    pass: queue the change, wake the poll, wait for done or cut
//	fetching goroutine:    carryOut: apply each change, run its callback, close done
//
// When the session ends, the goroutine that ends it applies changes until the
// client has left its group, and cut releases those that still wait, so no
// goroutine of the client waits forever.

// change is a change of the assignment.
type change struct {
	kind       changeKind
	partitions []record.TopicPartition
	done       chan struct{}
}

type changeKind int8

const (
	assigned changeKind = iota
	revoked
	lost
)

// membership returns the options that make the client a member of its group.
func (s *consuming) membership() []kgo.Opt {
	on := func(kind changeKind) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, m map[string][]int32) { s.pass(kind, sorted(m)) }
	}
	opts := []kgo.Opt{
		kgo.ConsumerGroup(s.cfg.Group),
		kgo.ConsumeTopics(s.subscribed()...),
		kgo.DisableAutoCommit(),
		kgo.SessionTimeout(s.cfg.SessionTimeout),
		kgo.RebalanceTimeout(s.cfg.RebalanceTimeout),
		kgo.HeartbeatInterval(min(3*time.Second, s.cfg.SessionTimeout/10)),
		kgo.OnPartitionsAssigned(on(assigned)),
		kgo.OnPartitionsRevoked(on(revoked)),
		kgo.OnPartitionsLost(on(lost)),
		kgo.AdjustFetchOffsetsFn(s.begin),
	}
	if s.cfg.Pattern != "" {
		opts = append(opts, kgo.ConsumeRegex())
	}
	if s.cfg.InstanceID != "" {
		opts = append(opts, kgo.InstanceID(s.cfg.InstanceID))
	}
	switch {
	case s.cfg.Assignor == tasks.Assignor:
		opts = append(opts, kgo.Balancers(taskBalancer{s.cfg.Metadata}))
	case s.cfg.Assignor == "range":
		opts = append(opts, kgo.Balancers(kgo.RangeBalancer()))
	case s.cfg.Assignor == "roundrobin":
		opts = append(opts, kgo.Balancers(kgo.RoundRobinBalancer()))
	case s.serverSide():
		opts = append(opts, kgo.Balancers(kgo.StickyBalancer())) // which the server calls uniform
	default:
		opts = append(opts, kgo.Balancers(kgo.CooperativeStickyBalancer()))
	}
	if s.serverSide() {
		opts = append(opts, kgo.ServerSideBalancer())
	}
	return opts
}

// subscribed returns the topics that the client subscribes to. With a pattern
// all are regular expressions, anchored because the client also matches within
// names.
func (s *consuming) subscribed() []string {
	if s.cfg.Pattern == "" {
		return s.cfg.Topics
	}
	all := []string{"^(?:" + s.cfg.Pattern + ")$"}
	for _, name := range s.cfg.Topics {
		all = append(all, "^"+regexp.QuoteMeta(name)+"$")
	}
	return all
}

// pass queues a change for the caller's goroutine and waits until it is
// applied.
func (s *consuming) pass(kind changeKind, partitions []record.TopicPartition) {
	if len(partitions) == 0 {
		return
	}
	c := &change{kind: kind, partitions: partitions, done: make(chan struct{})}
	s.mu.Lock()
	s.changes = append(s.changes, c)
	s.mu.Unlock()
	s.rouse()
	select {
	case <-c.done:
	case <-s.cut:
	}
}

// carryOut applies the queued changes in order.
func (s *consuming) carryOut() {
	for {
		s.mu.Lock()
		if len(s.changes) == 0 {
			s.mu.Unlock()
			return
		}
		c := s.changes[0]
		s.changes = s.changes[1:]
		s.mu.Unlock()
		s.apply(c)
	}
}

func (s *consuming) apply(c *change) {
	defer close(c.done)
	switch c.kind {
	case assigned:
		if s.isClosed() { // the partitions are given up at once, so the program need not know of them
			return
		}
		s.mu.Lock()
		for _, tp := range c.partitions {
			s.owned[tp] = &owned{position: unknown}
		}
		s.mu.Unlock()
		s.tell(s.cfg.OnAssigned, c.partitions)
	case revoked:
		partitions := s.ownedOf(c.partitions)
		defer s.disown(partitions) // even if a callback does not return
		if !s.keepSilent(partitions) {
			s.tell(s.cfg.OnRevoked, partitions)
		}
	case lost:
		partitions := s.ownedOf(c.partitions)
		s.disown(partitions)
		if !s.keepSilent(partitions) {
			s.tell(s.cfg.OnLost, partitions)
		}
	}
}

// ownedOf returns those of the partitions that the session owns.
func (s *consuming) ownedOf(partitions []record.TopicPartition) []record.TopicPartition {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(partitions, func(tp record.TopicPartition) bool { return s.owned[tp] == nil })
}

// keepSilent reports whether no callback may run now. It then keeps the
// partitions for the next call to report.
func (s *consuming) keepSilent(partitions []record.TopicPartition) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.silent {
		s.untold = append(s.untold, partitions...)
	}
	return s.silent
}

func (s *consuming) tell(fn func([]record.TopicPartition), partitions []record.TopicPartition) {
	if fn != nil && len(partitions) > 0 {
		s.gate.Tell(func() { fn(slices.Clone(partitions)) })
	}
}

// begin returns the offsets at which the client starts newly assigned
// partitions. The client calls it on one of its goroutines, with the committed
// offsets. The session adds the starts of partitions without one, and replaces
// offsets by those that the program has sought since.
func (s *consuming) begin(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	var fresh []record.TopicPartition
	var all []record.TopicPartition
	s.mu.Lock()
	for name, partitions := range offsets {
		for n, offset := range partitions {
			tp := record.TopicPartition{Topic: name, Partition: n}
			all = append(all, tp)
			o := s.owned[tp]
			if o == nil || o.position != unknown {
				continue
			}
			if at := offset.EpochOffset().Offset; at >= 0 {
				o.position = at
			} else {
				fresh = append(fresh, tp)
			}
		}
	}
	s.mu.Unlock()
	starts, err := s.begins(ctx, fresh)
	if err != nil && !s.cfg.Start.IsNone() {
		return nil, err
	}
	s.mu.Lock()
	for _, tp := range fresh {
		if o := s.owned[tp]; o != nil && o.position == unknown && s.cfg.Start.IsNone() {
			o.unplaced = true
			s.unplace(tp)
		}
	}
	for tp, at := range starts {
		if o := s.owned[tp]; o != nil && o.position == unknown {
			o.position = at
		}
	}
	s.mu.Unlock()
	for name, partitions := range s.golive(all) {
		for n, at := range partitions {
			// The epoch of the committed offset lets the cluster detect that
			// the log was truncated (KIP-320).
			if was := offsets[name][n].EpochOffset(); was.Offset == at.EpochOffset().Offset {
				at = at.WithEpoch(was.Epoch)
			}
			offsets[name][n] = at
		}
	}
	return offsets, nil
}

// staticLeave is the epoch with which a static member leaves temporarily
// (KIP-848).
const staticLeave = -2

// leaveAsStatic tells the group that a static member has left temporarily. The
// client does that too, but without the member's name (franz-go 1.22.2), so the
// group rejects it. A group of the classic protocol needs no such request and
// returns an error, which is ignored.
func (s *consuming) leaveAsStatic(id string) {
	if s.cfg.InstanceID == "" || id == "" || !s.serverSide() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.cluster.timeout)
	defer cancel()
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Group, req.MemberID, req.InstanceID, req.MemberEpoch = s.cfg.Group, id, &s.cfg.InstanceID, staticLeave
	_, _ = req.RequestWith(ctx, s.cluster.client)
}

// serverSide reports whether the server should assign the group, if it can.
func (s *consuming) serverSide() bool {
	return !s.cluster.classic && (s.cfg.Assignor == "" || s.cfg.Assignor == "uniform" || s.cfg.Assignor == "range")
}

// isGone reports whether the session has left its group.
func (s *consuming) isGone() bool { return s.isClosed() && len(s.Assignment()) == 0 }
