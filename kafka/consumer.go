package kafka

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/closing"
	"github.com/runnel-go/runnel/internal/tasks"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// OpenConsumer implements consumer.Backend.
func (c *Cluster) OpenConsumer(ctx context.Context, cfg consumer.Config) (consumer.Session, error) {
	if err := c.live(); err != nil {
		return nil, err
	}
	switch cfg.Assignor {
	case "", "uniform", "range", "roundrobin", "sticky", "cooperative-sticky", tasks.Assignor:
	default:
		return nil, fault.Newf(fault.UnsupportedAssignor, "%q", cfg.Assignor)
	}
	s := &consuming{
		cluster: c, cfg: cfg,
		member: cfg.Subscribes(),
		owned:  map[record.TopicPartition]*owned{},
		gate:   closing.New(),
		kick:   make(chan struct{}, 1),
		cut:    make(chan struct{}),
	}
	if s.member && cfg.Start.IsLatest() {
		if err := s.lookAround(ctx); err != nil {
			return nil, err
		}
	}
	opts := []kgo.Opt{
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), // the session determines starts itself
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),       // and handles offsets out of range itself
		kgo.FetchMaxWait(fetchWait),
		kgo.WithHooks(batches{s}),
		kgo.KeepControlRecords(), // to see that the position moved past them; they are not returned
		kgo.FetchMaxPartitionBytes(int32(min(cfg.MaxBytes, 1<<30))),
		kgo.FetchMaxBytes(int32(max(50<<20, min(cfg.MaxBytes, 1<<30)))),
	}
	if cfg.ReadCommitted {
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	if s.member {
		opts = append(opts, s.membership()...)
	}
	client, err := c.newClient(cfg.ClientID, opts...)
	if err != nil {
		return nil, err
	}
	s.client = client
	if err := c.addSession(s); err != nil {
		client.Close()
		return nil, err
	}
	return s, nil
}

// level returns the session's level of isolation.
func (s *consuming) level() int8 {
	if s.cfg.ReadCommitted {
		return committed
	}
	return uncommitted
}

// fetchWait is how long a broker waits for records before it answers a fetch:
// Kafka's fetch.max.wait.ms. New assignments take effect only after that
// answer.
const fetchWait = 500 * time.Millisecond

// consuming is a consumer's session: a franz-go client that fetches and, for a
// member of a group, maintains the membership. The session passes the client's
// callbacks on to the goroutine that fetches; see rebalance.go.
type consuming struct {
	cluster *Cluster
	client  *kgo.Client
	cfg     consumer.Config
	known   map[string]int // the numbers of partitions when it was opened, if it starts at their ends
	member  bool           // of a group, which assigns its partitions

	gate    *closing.Gate // decides which goroutine ends the session
	kick    chan struct{} // holds a token when changes wait for the goroutine that ends the session
	cut     chan struct{} // closed when changes no longer wait to be applied
	cutting sync.Once

	mu      sync.Mutex
	owned   map[record.TopicPartition]*owned
	order   []record.TopicPartition // owned partitions with fetched records, in the order of their turns
	errs    []error                 // of partitions, to be returned by the next Fetches
	astray  []record.TopicPartition // partitions whose offset is out of range
	changes []*change               // of the assignment, to be applied
	wake    context.CancelFunc      // ends the client's current poll, or nil
	silent  bool                    // no callback may run any more: the next call reports losses
	untold  []record.TopicPartition // the partitions to report
}

// owned is the state of a partition that the session owns.
type owned struct {
	records  []*kgo.Record // fetched, not yet returned
	high     int64         // the high watermark that came with them
	position int64         // of the next Fetch, or unknown
	live     bool          // the client fetches it, so a seek goes to the client
	paused   bool
	behind   time.Time // since when the client may be past offsets without records; zero if it is not
	unplaced bool      // with topic.None: what the client fetches is dropped until Seek sets an offset
}

// unknown is the position of a partition whose committed offset has not arrived
// yet.
const unknown = -1

// Release implements consumer.Session. There are no leases, because records
// own their bytes here, whatever Config.ReuseBuffers says.
func (s *consuming) Release(consumer.Lease) {}

// Assignment implements consumer.Session.
func (s *consuming) Assignment() []record.TopicPartition {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Keys(s.owned), record.TopicPartition.Compare)
}

// Assign implements consumer.Session.
func (s *consuming) Assign(ctx context.Context, partitions []record.TopicPartition) error {
	if !s.gate.Enter() {
		return s.isOver()
	}
	defer s.exit()
	if s.member {
		return fault.Newf(fault.InvalidRequest, "a consumer that subscribes to topics is assigned its partitions by its group")
	}
	var added, removed []record.TopicPartition
	s.mu.Lock()
	for _, tp := range partitions {
		if s.owned[tp] == nil {
			added = append(added, tp)
		}
	}
	for tp := range s.owned {
		if !slices.Contains(partitions, tp) {
			removed = append(removed, tp)
		}
	}
	s.mu.Unlock()
	starts, err := s.starts(ctx, added)
	if err != nil && !s.cfg.Start.IsNone() {
		return err
	}
	slices.SortFunc(removed, record.TopicPartition.Compare)
	slices.SortFunc(added, record.TopicPartition.Compare)
	if len(removed) > 0 {
		s.tell(s.cfg.OnRevoked, removed)
		s.client.RemoveConsumePartitions(byTopic(removed))
		s.disown(removed)
	}
	if len(added) > 0 {
		s.mu.Lock()
		for _, tp := range added {
			at, known := starts[tp]
			if !known {
				at = unknown
				s.unplace(tp)
			}
			s.owned[tp] = &owned{position: at, unplaced: !known}
		}
		s.mu.Unlock()
		s.tell(s.cfg.OnAssigned, added) // the callback may seek
		s.client.AddConsumePartitions(s.golive(added))
	}
	return nil
}

// golive returns the offsets at which the client starts partitions. From then
// on the client fetches them.
func (s *consuming) golive(partitions []record.TopicPartition) map[string]map[int32]kgo.Offset {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := make(map[string]map[int32]kgo.Offset)
	for _, tp := range partitions {
		o := s.owned[tp]
		if o == nil {
			continue
		}
		o.live = true
		if at[tp.Topic] == nil {
			at[tp.Topic] = make(map[int32]kgo.Offset)
		}
		at[tp.Topic][tp.Partition] = kgo.NewOffset().At(max(o.position, 0))
	}
	return at
}

// disown removes partitions and the records fetched from them.
func (s *consuming) disown(partitions []record.TopicPartition) {
	var resume []record.TopicPartition
	s.mu.Lock()
	for _, tp := range partitions {
		if o := s.owned[tp]; o != nil && (o.paused || o.unplaced) {
			resume = append(resume, tp)
		}
		delete(s.owned, tp)
	}
	s.order = slices.DeleteFunc(s.order, func(tp record.TopicPartition) bool { return s.owned[tp] == nil })
	s.mu.Unlock()
	if len(resume) > 0 { // otherwise the client would stay paused for them
		s.client.ResumeFetchPartitions(byTopic(resume))
	}
}

// starts returns where partitions start: at their committed offsets, or at
// Config.Start.
func (s *consuming) starts(ctx context.Context, partitions []record.TopicPartition) (map[record.TopicPartition]int64, error) {
	starts := make(map[record.TopicPartition]int64, len(partitions))
	if len(partitions) == 0 {
		return starts, nil
	}
	rest := partitions
	if s.cfg.Group != "" {
		committed, err := s.Committed(ctx, partitions...)
		if err != nil {
			return nil, err
		}
		rest = nil
		for _, tp := range partitions {
			if c, ok := committed[tp]; ok {
				starts[tp] = c.Offset
			} else {
				rest = append(rest, tp)
			}
		}
	}
	offsets, err := s.begins(ctx, rest)
	maps.Copy(starts, offsets)
	return starts, err
}

// lookAround records the current numbers of partitions.
func (s *consuming) lookAround(ctx context.Context) error {
	topics, err := s.cluster.allTopics(ctx)
	s.known = make(map[string]int, len(topics))
	for _, t := range topics {
		if t.Topic != nil {
			s.known[*t.Topic] = len(t.Partitions)
		}
	}
	return err
}

// begins returns where partitions without a committed offset start.
func (s *consuming) begins(ctx context.Context, partitions []record.TopicPartition) (map[record.TopicPartition]int64, error) {
	if len(partitions) == 0 {
		return nil, nil
	}
	if s.cfg.Start.IsNone() {
		return nil, noneCommitted(partitions[0])
	}
	var fresh, rest []record.TopicPartition
	for _, tp := range partitions {
		if s.known != nil && int(tp.Partition) >= s.known[tp.Topic] {
			fresh = append(fresh, tp)
		} else {
			rest = append(rest, tp)
		}
	}
	all, err := s.Offsets(ctx, s.cfg.Start, rest...)
	if err != nil || len(fresh) == 0 {
		return all, err
	}
	first, err := s.Offsets(ctx, topic.Earliest(), fresh...)
	maps.Copy(all, first)
	return all, err
}

func noneCommitted(tp record.TopicPartition) *fault.Error {
	return fault.At(fault.OffsetOutOfRange, tp.Topic, tp.Partition, -1).
		Detailf("the group has no committed offset, and the consumer starts nowhere else").Try("Seek sets where to continue")
}

// unplace makes the next Fetch return an error for a partition that has no
// offset to start at. The caller holds s.mu.
func (s *consuming) unplace(tp record.TopicPartition) {
	s.errs = append(s.errs, noneCommitted(tp))
	s.client.PauseFetchPartitions(byTopic([]record.TopicPartition{tp}))
}

// Seek implements consumer.Session.
func (s *consuming) Seek(ctx context.Context, tp record.TopicPartition, to topic.OffsetSpec) error {
	if !s.gate.Enter() {
		return fault.Closed
	}
	defer s.exit()
	if offset, ok := to.Offset(); ok && offset < 0 {
		return fault.At(fault.OffsetOutOfRange, tp.Topic, tp.Partition, offset).Detailf("Seek goes to an offset of 0 or more")
	}
	if _, err := s.position(tp); err != nil {
		return err
	}
	offsets, err := s.Offsets(ctx, to, tp)
	if err != nil {
		return err
	}
	s.mu.Lock()
	o := s.owned[tp]
	if o == nil {
		s.mu.Unlock()
		return notAssigned(tp)
	}
	resume := o.unplaced && !o.paused
	o.position, o.records, o.unplaced, o.behind = offsets[tp], nil, false, time.Time{}
	s.order = slices.DeleteFunc(s.order, func(t record.TopicPartition) bool { return t == tp })
	live := o.live
	s.mu.Unlock()
	if resume {
		defer s.client.ResumeFetchPartitions(byTopic([]record.TopicPartition{tp}))
	}
	switch {
	case !live: // the client has not started it, and will start there
	case s.member:
		return s.seekAsMember(ctx, tp, offsets[tp])
	default:
		// Setting the offset has no effect while the client does not know the
		// partition.
		at := kgo.NewOffset().At(offsets[tp])
		s.client.RemoveConsumePartitions(byTopic([]record.TopicPartition{tp}))
		s.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{tp.Topic: {tp.Partition: at}})
	}
	return nil
}

// seekAsMember sets the offset of a partition that begin has passed to the
// client. For a moment after begin the client does not know the partition yet
// and ignores the offset, so seekAsMember retries.
func (s *consuming) seekAsMember(ctx context.Context, tp record.TopicPartition, offset int64) error {
	for {
		if _, begun := s.client.CommittedOffsets()[tp.Topic][tp.Partition]; begun {
			s.client.SetOffsets(map[string]map[int32]kgo.EpochOffset{tp.Topic: {tp.Partition: {Epoch: -1, Offset: offset}}})
			return nil
		}
		if _, err := s.position(tp); err != nil {
			return err
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func notAssigned(tp record.TopicPartition) error {
	return fault.At(fault.NotAssigned, tp.Topic, tp.Partition, -1)
}

// position returns the position of an owned partition.
func (s *consuming) position(tp record.TopicPartition) (int64, error) {
	if s.isClosed() {
		return 0, fault.Closed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.owned[tp]
	if o == nil {
		return 0, notAssigned(tp)
	}
	return o.position, nil
}

// Position implements consumer.Session.
func (s *consuming) Position(ctx context.Context, tp record.TopicPartition) (int64, error) {
	position, err := s.position(tp)
	if err != nil || position != unknown {
		return position, err
	}
	starts, err := s.starts(ctx, []record.TopicPartition{tp})
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.owned[tp]
	if o == nil {
		return 0, notAssigned(tp)
	}
	if o.position == unknown {
		o.position = starts[tp]
	}
	return o.position, nil
}

// Pause implements consumer.Session.
func (s *consuming) Pause(partitions ...record.TopicPartition) error {
	if err := s.setPaused(partitions, true); err != nil {
		return err
	}
	if len(partitions) > 0 {
		s.client.PauseFetchPartitions(byTopic(partitions))
	}
	return nil
}

// Resume implements consumer.Session.
func (s *consuming) Resume(partitions ...record.TopicPartition) error {
	if err := s.setPaused(partitions, false); err != nil {
		return err
	}
	if len(partitions) > 0 {
		s.client.ResumeFetchPartitions(byTopic(partitions))
		s.rouse()
	}
	return nil
}

func (s *consuming) setPaused(partitions []record.TopicPartition, paused bool) error {
	if s.isClosed() {
		return fault.Closed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, tp := range partitions {
		if s.owned[tp] == nil {
			return notAssigned(tp)
		}
	}
	for _, tp := range partitions {
		s.owned[tp].paused = paused
	}
	return nil
}

// Offsets implements consumer.Session.
func (s *consuming) Offsets(ctx context.Context, spec topic.OffsetSpec, partitions ...record.TopicPartition) (map[record.TopicPartition]int64, error) {
	listed, err := s.cluster.listed(ctx, spec, s.level(), partitions...)
	if err != nil {
		return nil, err
	}
	offsets := make(map[record.TopicPartition]int64, len(listed))
	for tp, l := range listed {
		offsets[tp] = l.Offset
	}
	return offsets, nil
}
