package fetch

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/closing"
	"github.com/runnel-go/runnel/internal/coordinator"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Sessions opens the sessions of consumers on a host.
type Sessions struct {
	host   *host.Host
	groups *coordinator.Groups
	chunks chunkPool
}

// New returns the Sessions of a host with these groups.
func New(h *host.Host, groups *coordinator.Groups) *Sessions {
	return &Sessions{host: h, groups: groups}
}

// Open opens a session for a consumer. See consumer.Backend.
func (o *Sessions) Open(ctx context.Context, cfg consumer.Config) (*Session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if cfg.Subscribes() && cfg.Assignor != "" && !o.groups.KnowsAssignor(cfg.Assignor) {
		return nil, fault.Newf(fault.UnsupportedAssignor, "%q", cfg.Assignor)
	}
	life, end := context.WithCancel(context.Background())
	s := &Session{
		ctx: life, end: end,
		host: o.host, groups: o.groups, chunks: &o.chunks, cfg: cfg, opened: time.Now(),
		gate:    closing.New(),
		signal:  make(chan struct{}, 1),
		buffers: buffers{reuse: cfg.ReuseBuffers},
		sources: map[record.TopicPartition]*source{},
	}
	if cfg.Start.IsLatest() {
		s.baseline.Store(coordinator.NewBaseline(o.host, &cfg))
	}
	if cfg.Subscribes() {
		s.news.Store(true) // that it has not joined yet
		s.noteAway()
	}
	if err := o.host.AddSession(s); err != nil {
		end()
		return nil, err
	}
	return s, nil
}

// Session is a consumer's session on a broker in this process.
//
// Each partition that it owns is a source. Sources that may have records are in the
// line and take turns; the others are registered with their partition as a Waker and
// cost nothing. Fetch serves the line, and waits for signal when it is empty.
type Session struct {
	ctx       context.Context // ends when closing begins: nothing is waited for then
	end       context.CancelFunc
	host      *host.Host
	groups    *coordinator.Groups
	chunks    *chunkPool
	cfg       consumer.Config
	member    membership
	joining   membership    // who the session asked to be, where the answer was lost
	search    *time.Timer   // for a coordinator that was not where it was looked for; guarded by mu
	pause     time.Duration // the last one before it; the fetching goroutine's
	gate      *closing.Gate // which goroutine ends the session
	signal    chan struct{} // holds a token after something has happened: records, news, the end
	news      atomic.Bool   // the group or the topics have changed
	opened    time.Time
	baseline  atomic.Pointer[coordinator.Baseline] // what existed when the group subscribed; nil unless it begins at the end
	awaySince atomic.Int64                         // when Fetch was left, in nanoseconds since opened; 0 within
	reads     sync.WaitGroup

	// The fetching goroutine's.
	seen    <-chan struct{} // the state of the topics that it knows
	buffers buffers

	mu         sync.Mutex // below; held for a few instructions
	sources    map[record.TopicPartition]*source
	ready      line
	cut        bool                    // giveUpWaiting has taken the member out of its group
	unreported []record.TopicPartition // lost with the session: the next call reports them
	failure    error                   // of leaving the group
}

// isolation returns what the session sees of transactions.
func (s *Session) isolation() partition.Isolation {
	if s.cfg.ReadCommitted {
		return partition.ReadCommitted
	}
	return partition.ReadUncommitted
}

// wake makes a waiting Fetch look again.
func (s *Session) wake() {
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

// changed makes the next turn of Fetch ask the group. It is the Listener's Wake.
func (s *Session) changed() {
	s.news.Store(true)
	s.wake()
}

// MetadataChanged makes Fetch look at the topics again. The host calls it when topics or
// partitions have changed.
func (s *Session) MetadataChanged() { s.wake() }

// Fetch returns records of one partition. See consumer.Session.
func (s *Session) Fetch(ctx context.Context, wait time.Duration, dst []record.Record) (fetched consumer.Fetched, err error) {
	if !s.gate.Enter() {
		return consumer.Fetched{Records: dst[:0]}, s.afterEnd()
	}
	defer func() {
		if s.gate.Leave() {
			s.finish()
			fetched, err = consumer.Fetched{Records: dst[:0]}, fault.Closed
		}
	}()
	fetched.Records = dst[:0]
	if err := ctx.Err(); err != nil {
		return fetched, err
	}
	if s.cfg.Subscribes() {
		s.awaySince.Store(0)
		defer s.noteAway()
	}
	err = s.await(ctx, wait, &fetched)
	return fetched, err
}

// await serves the line until a source returns something or the wait is over. It is apart from
// Fetch because the compiler keeps deferred calls cheap only where there are few returns, and
// fills in what Fetch returns because copying that from call to call would show.
func (s *Session) await(ctx context.Context, wait time.Duration, fetched *consumer.Fetched) error {
	limit := bound{wait: wait}
	defer limit.stop()
	for {
		if s.gate.Closed() {
			return fault.Closed
		}
		if err := s.update(); err != nil {
			return err
		}
		if ok, err := s.serve(fetched); ok || err != nil {
			return err
		}
		if more, err := s.wait(ctx, &limit); !more {
			return err
		}
	}
}

// noteAway notes the time at which the program leaves Fetch, for the rebalance timeout.
func (s *Session) noteAway() { s.awaySince.Store(max(1, int64(time.Since(s.opened)))) }

// wait waits until something happens and reports true, or false when the bound is
// reached or ctx is done.
func (s *Session) wait(ctx context.Context, limit *bound) (bool, error) {
	if limit.wait <= 0 {
		return false, nil
	}
	done, late := ctx.Done(), limit.reached()
	if done == nil && late == nil {
		<-s.signal
		return true, nil
	}
	select {
	case <-s.signal:
		return true, nil
	case <-late:
		return false, nil
	case <-done:
		return false, ctx.Err()
	}
}

// bound is how long one Fetch may wait. It makes its timer only when Fetch has to wait:
// a Fetch that finds records doesn't pay for one.
type bound struct {
	wait  time.Duration
	timer *time.Timer
}

// reached returns a channel that receives when the bound is reached; nil if there is
// no bound.
func (b *bound) reached() <-chan time.Time {
	if b.wait == consumer.UntilDone {
		return nil
	}
	if b.timer == nil {
		b.timer = time.NewTimer(b.wait)
	}
	return b.timer.C
}

func (b *bound) stop() {
	if b.timer != nil {
		b.timer.Stop()
	}
}

// serve gives the sources in the line their turns until one returns something. ok is
// false if none did.
func (s *Session) serve(fetched *consumer.Fetched) (bool, error) {
	for {
		src, err := s.next()
		if src == nil {
			return false, err
		}
		records, moved, err := src.fetch(fetched.Records)
		if err != nil || !moved {
			records = records[:0]
		}
		fetched.Records = records
		lease := s.buffers.leaseOf(len(records))
		switch {
		case err != nil:
			s.requeue(src)
			fetched.TopicPartition = src.tp
			return false, err
		case moved:
			s.requeue(src)
			fetched.TopicPartition, fetched.Lease = src.tp, lease
			fetched.Next, fetched.LeaderEpoch, fetched.HighWatermark = src.offset.Load(), src.epoch, src.high
			return true, nil
		}
		src.park()
	}
}

// next removes the source whose turn it is from the line.
func (s *Session) next() (*source, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.gate.Closed() {
		src := s.ready.pop()
		if src == nil {
			return nil, nil
		}
		if src.popLocked() {
			return src, nil
		}
	}
	return nil, fault.Closed
}

// requeue puts a source that was served at the end of the line, unless something holds
// it.
func (s *Session) requeue(src *source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	src.restLocked()
	src.enqueueLocked()
}

// Release ends the lease of one Fetch. See consumer.Session.
func (s *Session) Release(lease consumer.Lease) {
	if lease == 0 || !s.gate.Enter() {
		return
	}
	s.buffers.release(lease)
	s.exit()
}

// Assignment returns the partitions that the session owns, sorted.
func (s *Session) Assignment() []record.TopicPartition {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]record.TopicPartition, 0, len(s.sources))
	for tp := range s.sources {
		all = append(all, tp)
	}
	slices.SortFunc(all, record.TopicPartition.Compare)
	return all
}

// source returns an assigned partition. It returns fault.NotAssigned, or fault.Closed if
// the session has ended.
func (s *Session) source(tp record.TopicPartition) (*source, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if src := s.sources[tp]; src != nil {
		return src, nil
	}
	if s.gate.Closed() {
		return nil, fault.Closed
	}
	return nil, fault.At(fault.NotAssigned, tp.Topic, tp.Partition, -1)
}

// Assign gives the session these partitions. See consumer.Session.
func (s *Session) Assign(ctx context.Context, partitions []record.TopicPartition) error {
	if s.cfg.Subscribes() {
		return fault.Newf(fault.InvalidRequest, "the consumer subscribes to topics, and its group assigns the partitions")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if !s.gate.Enter() {
		return s.afterEnd()
	}
	defer s.exit()
	owned := s.Assignment()
	s.giveUp(without(owned, partitions))
	return s.takeUp(without(partitions, owned), nil)
}

// without returns the partitions in all that are not in less.
func without(all, less []record.TopicPartition) []record.TopicPartition {
	var rest []record.TopicPartition
	for _, tp := range all {
		if !slices.Contains(less, tp) {
			rest = append(rest, tp)
		}
	}
	return rest
}

// Seek makes the next Fetch of a partition start where spec says. See
// consumer.Session.
func (s *Session) Seek(_ context.Context, tp record.TopicPartition, to topic.OffsetSpec) error {
	if !s.gate.Enter() {
		return fault.Closed
	}
	defer s.exit()
	if offset, ok := to.Offset(); ok && offset < 0 {
		return fault.At(fault.OffsetOutOfRange, tp.Topic, tp.Partition, offset).Detailf("Seek goes to an offset of 0 or more")
	}
	src, err := s.source(tp)
	if err != nil {
		return err
	}
	return src.seek(to)
}

// Position returns the offset at which the next Fetch of a partition starts. See
// consumer.Session.
func (s *Session) Position(_ context.Context, tp record.TopicPartition) (int64, error) {
	src, err := s.source(tp)
	if err != nil {
		return 0, err
	}
	return src.position()
}

// Pause makes Fetch skip partitions. See consumer.Session.
func (s *Session) Pause(partitions ...record.TopicPartition) error {
	return s.setPaused(partitions, true)
}

// Resume ends Pause. See consumer.Session.
func (s *Session) Resume(partitions ...record.TopicPartition) error {
	return s.setPaused(partitions, false)
}

func (s *Session) setPaused(partitions []record.TopicPartition, paused bool) error {
	for _, tp := range partitions {
		if _, err := s.source(tp); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, tp := range partitions {
		src := s.sources[tp]
		if src == nil {
			continue
		}
		if paused {
			src.pauseLocked()
		} else {
			src.resumeLocked()
		}
	}
	s.wake()
	return nil
}

// Offsets returns what spec names in each partition. See consumer.Session.
func (s *Session) Offsets(ctx context.Context, spec topic.OffsetSpec, partitions ...record.TopicPartition) (map[record.TopicPartition]int64, error) {
	listed, err := s.host.ListOffsets(ctx, spec, s.isolation(), partitions...)
	if err != nil {
		return nil, err
	}
	offsets := make(map[record.TopicPartition]int64, len(listed))
	for tp, l := range listed {
		offsets[tp] = l.Offset
	}
	return offsets, nil
}

// drop ends one source.
func (s *Session) drop(tp record.TopicPartition) {
	s.mu.Lock()
	src := s.sources[tp]
	delete(s.sources, tp)
	if src != nil {
		src.endLocked()
	}
	s.mu.Unlock()
	if src != nil {
		src.detach()
	}
}

// line is a queue of sources. Each source is in it at most once, which turn ensures.
type line struct {
	sources []*source // a ring
	head, n int
}

func (l *line) push(src *source) {
	if l.n == len(l.sources) {
		larger := make([]*source, max(4, 2*l.n))
		for i := range l.n {
			larger[i] = l.sources[(l.head+i)%len(l.sources)]
		}
		l.sources, l.head = larger, 0
	}
	l.sources[(l.head+l.n)%len(l.sources)] = src
	l.n++
}

func (l *line) pop() *source {
	if l.n == 0 {
		return nil
	}
	src := l.sources[l.head]
	l.sources[l.head] = nil
	l.head = (l.head + 1) % len(l.sources)
	l.n--
	return src
}
