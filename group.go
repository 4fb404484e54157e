package runnel

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf16"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator/group"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// offsetsSpec is __consumer_offsets as it is created at its first use. Few
// partitions are enough for one process; Kafka's 50 are for as many brokers.
var offsetsSpec = topic.Spec{
	Name: topic.ConsumerOffsets, Partitions: 4,
	Config: topic.Config{Cleanup: topic.Compact, SegmentBytes: 100 << 20, MaxMessageBytes: 64 << 20},
}

// groupService coordinates the broker's consumer groups. Each group belongs to
// one partition of __consumer_offsets, and so to one groupShard.
type groupService struct {
	broker  *Broker
	loading chan struct{} // token of whoever makes the shards
	shards  atomic.Pointer[[]*groupShard]
	work    sync.WaitGroup // goroutines that write
}

func newGroupService(b *Broker) *groupService {
	return &groupService{broker: b, loading: make(chan struct{}, 1)}
}

// shard returns the shard of a group. Without create, and without any group
// ever, it is nil.
func (g *groupService) shard(ctx context.Context, groupName string, create bool) (*groupShard, error) {
	shards, err := g.all(ctx, create)
	if err != nil || len(shards) == 0 {
		return nil, err
	}
	return shards[int(groupHash(groupName))%len(shards)], nil
}

// groupHash is Kafka's: the absolute value of what Java's String.hashCode
// returns.
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

// all returns all shards, making them, and with create also their topic, if they
// are not there yet.
func (g *groupService) all(ctx context.Context, create bool) ([]*groupShard, error) {
	if shards := g.shards.Load(); shards != nil {
		return *shards, nil
	}
	select {
	case g.loading <- struct{}{}:
		defer func() { <-g.loading }()
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-g.broker.closing:
		return nil, fault.Closed
	}
	if shards := g.shards.Load(); shards != nil {
		return *shards, nil
	}
	if _, exists := g.broker.topics.Load(offsetsSpec.Name); !exists && !create {
		return nil, nil
	}
	t, err := g.broker.internalTopic(ctx, offsetsSpec)
	if err != nil {
		return nil, err
	}
	shards := make([]*groupShard, len(t.open()))
	for i := range shards {
		shards[i] = &groupShard{service: g, topic: t, number: int32(i), sessions: map[string]*memberSession{}}
	}
	g.shards.Store(&shards)
	return shards, nil
}

// close ends all shards. Sessions have been closed before.
func (g *groupService) close() {
	g.loading <- struct{}{} // never given back
	if shards := g.shards.Load(); shards != nil {
		for _, s := range *shards {
			s.close()
		}
	}
	g.work.Wait()
}

// groupShard is the coordinator of one partition of __consumer_offsets, with its
// one writer: whoever finds nobody writing serves the queue.
type groupShard struct {
	service *groupService
	topic   *localTopic
	number  int32 // of its partition

	mu      sync.Mutex
	queue   []*groupOp
	writing bool
	closed  bool
	timer   *time.Timer // for Expire; runs only while there are members

	// The writer's.
	coordinator *group.Coordinator // nil: the log is to be read
	armed       bool               // the timer runs
	restarted   bool               // members of the previous process have been seen off
	seen        <-chan struct{}    // the state of the topics that the coordinator knows
	topics      *group.Topics
	sessions    map[string]*memberSession // by member ID
}

// partition returns the shard's partition, which is broken until load has found it
// sound.
func (s *groupShard) partition() *partition.Partition { return s.topic.open()[s.number] }

// memberSession is what the service has to know of a session that is a member.
type memberSession struct {
	news  func()           // there is news; must not block
	heard func() time.Time // when it last asked for records
}

// groupOp is one command. run is called by the writer.
type groupOp struct {
	run     func(*group.Coordinator) (group.Result, error)
	members bool // it changes who is a member, and so the next deadline
	err     error
	done    chan struct{}
}

// do runs a command once it is its turn, and returns when its records count.
// ctx bounds the waiting; what has begun goes on, and then the error says that
// the outcome is unknown.
func (s *groupShard) do(ctx context.Context, members bool, run func(*group.Coordinator) (group.Result, error)) error {
	op := &groupOp{run: run, members: members, done: make(chan struct{})}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return fault.Closed
	}
	s.queue = append(s.queue, op)
	serve := !s.writing
	s.writing = true
	if serve {
		s.service.work.Add(1)
	}
	s.mu.Unlock()
	if serve {
		if s.partition().Settings().Fsync {
			go s.write()
		} else {
			s.writeSome()
		}
	}
	select {
	case <-op.done:
		return op.err
	case <-ctx.Done():
		return fault.Newf(fault.UnknownOutcome, "a group's command").Because(ctx.Err())
	}
}

// inlineCommands is how often a caller serves what others have queued before a
// goroutine goes on.
const inlineCommands = 4

// writeSome serves the queue, as a caller.
func (s *groupShard) writeSome() {
	for range inlineCommands {
		ops := s.take()
		if ops == nil {
			s.service.work.Done()
			return
		}
		s.serve(ops)
	}
	go s.write()
}

// write serves the queue, as a goroutine.
func (s *groupShard) write() {
	defer s.service.work.Done()
	for ops := s.take(); ops != nil; ops = s.take() {
		s.serve(ops)
	}
}

// take returns what is queued. With nothing queued it gives the writer's role up
// and returns nil.
func (s *groupShard) take() []*groupOp {
	s.mu.Lock()
	defer s.mu.Unlock()
	ops := s.queue
	s.queue = nil
	if len(ops) == 0 {
		s.writing = false
		return nil
	}
	return ops
}

// serve runs commands in order and appends what they made as one batch. Nobody
// is told anything before it counts; if it does not, the coordinator that ran
// ahead of its log is thrown away.
func (s *groupShard) serve(ops []*groupOp) {
	var results group.Result
	gather := func(r group.Result) {
		results.Records = append(results.Records, r.Records...)
		results.Wake = append(results.Wake, r.Wake...)
		results.Gone = append(results.Gone, r.Gone...)
	}
	first := !s.restarted
	members := s.coordinator == nil // then it is read, and what expires is to be found
	err := s.prepare(gather)
	if err == nil {
		for _, op := range ops {
			var r group.Result
			r, op.err = op.run(s.coordinator)
			gather(r)
			members = members || op.members
		}
		add := func() error { return s.append(results.Records) }
		if first { // so that groups can be looked at on a disk that is full
			err = s.service.broker.reserve.With(add)
		} else {
			err = add()
		}
		members = members || !s.armed && len(results.Records) > 0
	}
	if err != nil {
		s.coordinator = nil
		for _, op := range ops {
			op.err = err
		}
	} else if members {
		err = s.expire(gather)
	}
	s.tell(results, err != nil)
	for _, op := range ops {
		close(op.done)
	}
}

// prepare reads the log if that is to be done, and tells the coordinator which
// topics there are.
func (s *groupShard) prepare(gather func(group.Result)) error {
	loaded := s.coordinator == nil
	if loaded {
		if err := s.load(); err != nil {
			return err
		}
	}
	if loaded {
		s.forgetUnknown()
	}
	if changed := s.service.broker.metadataChanged(); loaded || changed != s.seen {
		s.topics = s.service.broker.groupTopics()
		r, err := s.coordinator.SetTopics(s.topics)
		if err != nil {
			s.coordinator = nil
			return err
		}
		s.seen = changed
		gather(r)
	}
	if s.restarted {
		return nil
	}
	r, err := s.coordinator.Restart(time.Now())
	if err != nil {
		s.coordinator = nil
		return err
	}
	s.restarted = true
	gather(r)
	return nil
}

// forgetUnknown wakes and forgets the sessions of members that are not in the
// log, as after an append that failed.
func (s *groupShard) forgetUnknown() {
	for id, m := range s.sessions {
		if !s.coordinator.Knows(id) {
			delete(s.sessions, id)
			m.news()
		}
	}
}

// groupTopics returns all topics that a group may read.
func (b *Broker) groupTopics() *group.Topics {
	var all []group.Topic
	b.topics.Range(func(_, v any) bool {
		if t := v.(*localTopic); !t.internal {
			all = append(all, group.Topic{Name: t.name, ID: t.id, Partitions: int32(len(*t.placement.Load()))})
		}
		return true
	})
	return group.NewTopics(all)
}

// expire takes out members that are gone and starts the timer for the next
// deadline.
func (s *groupShard) expire(gather func(group.Result)) error {
	now := time.Now()
	r, next, err := s.coordinator.Expire(now, func(id string) time.Time {
		if m := s.sessions[id]; m != nil {
			return m.heard()
		}
		return time.Time{}
	})
	if err == nil {
		err = s.append(r.Records)
	}
	if err != nil {
		s.coordinator = nil
		next = now.Add(time.Second)
	} else {
		s.service.broker.noteGone(r.GoneFrom, r.Gone)
		gather(r)
	}
	s.armed = !next.IsZero()
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
	return err
}

// tick is what the timer does, on a goroutine of its own.
func (s *groupShard) tick() {
	nothing := func(*group.Coordinator) (group.Result, error) { return group.Result{}, nil }
	_ = s.do(context.Background(), true, nothing)
}

// tell wakes the sessions for which there is news: all of them when the
// coordinator was thrown away.
func (s *groupShard) tell(r group.Result, all bool) {
	for id, m := range s.sessions {
		if all || slices.Contains(r.Wake, id) || slices.Contains(r.Gone, id) {
			m.news()
		}
	}
	for _, id := range r.Gone {
		delete(s.sessions, id)
	}
}

// close stops the timer and refuses further commands.
func (s *groupShard) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.timer != nil {
		s.timer.Stop()
	}
}

// assignment is a group.Assignment with its topics' names.
type assignment struct {
	epoch      int32
	partitions map[record.TopicPartition]topic.ID
	ids        []group.Partition
}

// named gives an assignment's topics their names. Those of topics that are no
// more are left out.
func (s *groupShard) named(a group.Assignment) assignment {
	named := assignment{epoch: a.Epoch, partitions: make(map[record.TopicPartition]topic.ID, len(a.Partitions)), ids: a.Partitions}
	for _, p := range a.Partitions {
		if name, ok := s.topics.Name(p.ID); ok {
			named.partitions[record.TopicPartition{Topic: name, Partition: p.Number}] = p.ID
		}
	}
	return named
}

// join takes a member into its group.
func (s *groupShard) join(ctx context.Context, m group.Member, session *memberSession) (a assignment, err error) {
	err = s.do(ctx, true, func(c *group.Coordinator) (group.Result, error) {
		joined, r, err := c.Join(m)
		if err == nil {
			s.sessions[m.ID] = session
			a = s.named(joined)
		}
		return r, err
	})
	if err != nil {
		return assignment{}, err
	}
	return a, nil
}

// heartbeat leads a member one step towards its target.
func (s *groupShard) heartbeat(ctx context.Context, groupName, memberID string, owned []group.Partition) (a assignment, err error) {
	err = s.do(ctx, false, func(c *group.Coordinator) (group.Result, error) {
		led, r, err := c.Heartbeat(groupName, memberID, owned)
		if err == nil {
			a = s.named(led)
		}
		return r, err
	})
	if err != nil {
		return assignment{}, err
	}
	return a, nil
}

// leave takes a member out of its group.
func (s *groupShard) leave(ctx context.Context, groupName, memberID string) error {
	err := s.do(ctx, true, func(c *group.Coordinator) (group.Result, error) {
		delete(s.sessions, memberID)
		return c.Leave(groupName, memberID, time.Now())
	})
	if errors.Is(err, fault.UnknownMember) {
		return nil
	}
	return err
}
