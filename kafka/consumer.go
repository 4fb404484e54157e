package kafka

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// OpenConsumer implements consumer.Backend.
func (c *Cluster) OpenConsumer(_ context.Context, cfg consumer.Config) (consumer.Session, error) {
	if err := c.live(); err != nil {
		return nil, err
	}
	s := &consuming{
		cluster: c, cfg: cfg,
		member: cfg.Group != "" && len(cfg.Topics) > 0,
		owned:  map[record.TopicPartition]*owned{},
		kick:   make(chan struct{}, 1),
		turn:   make(chan struct{}, 1),
		closed: make(chan struct{}),
	}
	opts := []kgo.Opt{
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), // the session resolves starts itself
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),       // and begins anew itself
		kgo.FetchMaxWait(fetchWait),
		kgo.FetchMaxPartitionBytes(int32(min(cfg.MaxBytes, 1<<30))),
		kgo.FetchMaxBytes(int32(max(50<<20, min(cfg.MaxBytes, 1<<30)))),
	}
	if s.member {
		opts = append(opts, s.membership()...)
	}
	client, err := c.newClient(cfg.ClientID, opts...)
	if err != nil {
		return nil, err
	}
	s.client = client
	if err := c.add(s); err != nil {
		client.Close()
		return nil, err
	}
	return s, nil
}

// fetchWait is how long a broker waits for records before it answers a fetch:
// Kafka's fetch.max.wait.ms. What was assigned meanwhile waits for that answer.
const fetchWait = 500 * time.Millisecond

// consuming is a consumer's session: a franz-go client that fetches and, for a
// member of a group, keeps its place there. The client's callbacks are passed
// on to whoever is in Fetch or Close; see rebalance.go.
type consuming struct {
	cluster *Cluster
	client  *kgo.Client
	cfg     consumer.Config
	member  bool // of a group, which assigns its partitions

	kick   chan struct{} // one token when changes wait for Close
	turn   chan struct{} // holds a token while somebody runs callbacks
	closed chan struct{} // closed when Close begins
	once   sync.Once

	mu      sync.Mutex
	owned   map[record.TopicPartition]*owned
	order   []record.TopicPartition // owned partitions with records at hand, in the order of their turns
	errs    []error                 // of partitions, to be returned by the next Fetches
	astray  []record.TopicPartition // partitions whose offset is out of range
	changes []*change               // of the assignment, to be carried out
	wake    context.CancelFunc      // ends the client's poll at hand, or nil
}

// owned is what the session knows about a partition it owns.
type owned struct {
	records  []*kgo.Record // fetched, not yet returned
	high     int64         // the high watermark known with them
	position int64         // of the next Fetch, or unknown
	live     bool          // the client fetches it, so a seek goes to the client
	paused   bool
}

// unknown is the position of a partition whose committed offset is still being
// asked for.
const unknown = -1

// Fetch implements consumer.Session.
func (s *consuming) Fetch(ctx context.Context, dst []record.Record) (consumer.Fetched, error) {
	dst = dst[:0]
	for {
		if s.isClosed() {
			return consumer.Fetched{}, fault.Closed
		}
		s.carryOut()
		if err := s.restart(ctx); err != nil {
			return consumer.Fetched{}, err
		}
		if got, ok, err := s.next(dst); ok || err != nil {
			return got, err
		}
		if s.poll(ctx) {
			continue
		}
		if s.isClosed() {
			return consumer.Fetched{}, fault.Closed
		}
		if err := ctx.Err(); err != nil {
			return consumer.Fetched{}, err
		}
	}
}

func (s *consuming) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

// next takes an error or the records of the partition whose turn it is.
func (s *consuming) next(dst []record.Record) (consumer.Fetched, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.errs) > 0 {
		err := s.errs[0]
		s.errs = s.errs[1:]
		return consumer.Fetched{}, false, err
	}
	i := slices.IndexFunc(s.order, func(tp record.TopicPartition) bool { return !s.owned[tp].paused })
	if i < 0 {
		return consumer.Fetched{}, false, nil
	}
	tp := s.order[i]
	s.order = slices.Delete(s.order, i, i+1)
	o := s.owned[tp]
	n := min(len(o.records), s.cfg.MaxRecords)
	for _, r := range o.records[:n] {
		dst = append(dst, received(r))
	}
	last := o.records[n-1]
	clear(o.records[:n])
	if o.records = o.records[n:]; len(o.records) > 0 {
		s.order = append(s.order, tp)
	}
	o.position = last.Offset + 1
	return consumer.Fetched{
		TopicPartition: tp, Records: dst, Next: o.position,
		LeaderEpoch: last.LeaderEpoch, HighWatermark: max(o.high, o.position),
	}, true, nil
}

// received returns a record as package record has it. The client gave every
// record bytes that nobody uses again.
func received(r *kgo.Record) record.Record {
	own := record.Record{
		Topic: r.Topic, Partition: r.Partition, LeaderEpoch: r.LeaderEpoch, Offset: r.Offset,
		Timestamp: r.Timestamp, Key: r.Key, Value: r.Value,
	}
	if len(r.Headers) > 0 {
		own.Headers = make([]record.Header, len(r.Headers))
		for i, h := range r.Headers {
			own.Headers[i] = record.Header{Key: h.Key, Value: h.Value}
		}
	}
	return own
}

// poll waits for the client to have something, until ctx ends or somebody wakes
// it, and reports whether it had. With a ctx that has ended it takes what is
// there.
func (s *consuming) poll(ctx context.Context) bool {
	if ctx.Err() != nil {
		return s.keep(s.client.PollRecords(nil, -1)) //nolint:staticcheck // nil means without waiting
	}
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	s.mu.Lock()
	if len(s.changes) > 0 {
		s.mu.Unlock()
		return true
	}
	s.wake = cancel
	s.mu.Unlock()
	fetches := s.client.PollRecords(waiting, -1)
	s.mu.Lock()
	s.wake = nil
	s.mu.Unlock()
	return s.keep(fetches)
}

// rouse ends the poll at hand, so that Fetch looks around.
func (s *consuming) rouse() {
	s.mu.Lock()
	if s.wake != nil {
		s.wake()
	}
	s.mu.Unlock()
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// keep takes over what the client fetched, and reports whether there was
// anything of partitions that the session owns.
func (s *consuming) keep(fetches kgo.Fetches) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	some := false
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		tp := record.TopicPartition{Topic: p.Topic, Partition: p.Partition}
		switch o := s.owned[tp]; {
		case p.Err == nil:
		case errors.Is(p.Err, kerr.OffsetOutOfRange):
			if o != nil && !slices.Contains(s.astray, tp) {
				s.astray = append(s.astray, tp)
				some = true
			}
		case !harmless(p.Err):
			s.errs = append(s.errs, failureOf(p.Err, tp))
			some = true
		}
		o := s.owned[tp]
		if o == nil || len(p.Records) == 0 {
			return
		}
		if len(o.records) == 0 {
			s.order = append(s.order, tp)
		}
		o.records = append(o.records, p.Records...)
		o.high = p.HighWatermark
		some = true
	})
	return some
}

// restart begins one partition anew where Config.Start says, because the log no
// longer has its offset, or does not have it yet. That is worth an error, once.
func (s *consuming) restart(ctx context.Context) error {
	s.mu.Lock()
	if len(s.astray) == 0 {
		s.mu.Unlock()
		return nil
	}
	tp := s.astray[0]
	s.astray = s.astray[1:]
	was := s.owned[tp]
	s.mu.Unlock()
	if was == nil {
		return nil
	}
	at := was.position
	err := s.Seek(ctx, tp, s.cfg.Start)
	if errors.Is(err, fault.NotAssigned) {
		return nil
	}
	if err != nil {
		s.mu.Lock()
		s.astray = append(s.astray, tp)
		s.mu.Unlock()
		return err
	}
	position, err := s.Position(ctx, tp)
	if err != nil {
		return err
	}
	return fault.At(fault.OffsetOutOfRange, tp.Topic, tp.Partition, at).Detailf("going on at %d", position)
}

// harmless reports whether an error that came with a fetch concerns nobody: the
// end of a poll, what the client tries again by itself, and the notice that it
// joins its group anew, which OnLost has told.
func harmless(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, kgo.ErrClientClosed) {
		return true
	}
	switch code := fault.CodeOf(failure(err)); code {
	case fault.CorruptMessage:
		return false
	case fault.UnknownMember, fault.IllegalGeneration, fault.FencedMemberEpoch:
		return true
	default:
		return code.Retriable()
	}
}

// Release implements consumer.Session. Records own their bytes here, whatever
// Config.ReuseBuffers says.
func (s *consuming) Release() {}

// Assignment implements consumer.Session.
func (s *consuming) Assignment() []record.TopicPartition {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Keys(s.owned), record.TopicPartition.Compare)
}

// Assign implements consumer.Session.
func (s *consuming) Assign(ctx context.Context, partitions []record.TopicPartition) error {
	if s.isClosed() {
		return fault.Closed
	}
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
	if err != nil {
		return err
	}
	slices.SortFunc(removed, record.TopicPartition.Compare)
	slices.SortFunc(added, record.TopicPartition.Compare)
	if len(removed) > 0 {
		tell(s.cfg.OnRevoked, removed)
		s.client.RemoveConsumePartitions(byTopic(removed))
		s.disown(removed)
	}
	if len(added) > 0 {
		s.mu.Lock()
		for _, tp := range added {
			s.owned[tp] = &owned{position: starts[tp]}
		}
		s.mu.Unlock()
		tell(s.cfg.OnAssigned, added) // which may seek
		s.client.AddConsumePartitions(s.golive(added))
	}
	return nil
}

// golive returns where the client is to begin with partitions, which are the
// client's from here on.
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
		at[tp.Topic][tp.Partition] = kgo.NewOffset().At(o.position)
	}
	return at
}

// disown forgets partitions and what was fetched of them.
func (s *consuming) disown(partitions []record.TopicPartition) {
	var resume []record.TopicPartition
	s.mu.Lock()
	for _, tp := range partitions {
		if o := s.owned[tp]; o != nil && o.paused {
			resume = append(resume, tp)
		}
		delete(s.owned, tp)
	}
	s.order = slices.DeleteFunc(s.order, func(tp record.TopicPartition) bool { return s.owned[tp] == nil })
	s.mu.Unlock()
	if len(resume) > 0 { // the client would remember
		s.client.ResumeFetchPartitions(byTopic(resume))
	}
}

// starts returns where partitions begin: at their committed offsets, or where
// Config.Start says.
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
	offsets, err := s.Offsets(ctx, s.cfg.Start, rest...)
	maps.Copy(starts, offsets)
	return starts, err
}

// Seek implements consumer.Session.
func (s *consuming) Seek(ctx context.Context, tp record.TopicPartition, to topic.OffsetSpec) error {
	if _, err := s.find(tp); err != nil {
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
	o.position, o.records = offsets[tp], nil
	s.order = slices.DeleteFunc(s.order, func(t record.TopicPartition) bool { return t == tp })
	live := o.live
	s.mu.Unlock()
	switch {
	case !live: // the client has not begun, and will begin there
	case s.member:
		return s.seekAsMember(ctx, tp, offsets[tp])
	default:
		// Setting the offset would do nothing while the client has not yet
		// heard of the partition.
		at := kgo.NewOffset().At(offsets[tp])
		s.client.RemoveConsumePartitions(byTopic([]record.TopicPartition{tp}))
		s.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{tp.Topic: {tp.Partition: at}})
	}
	return nil
}

// seekAsMember sets the offset of a partition that the client was told to begin
// with. For a moment after begin it has not yet, and would not listen.
func (s *consuming) seekAsMember(ctx context.Context, tp record.TopicPartition, offset int64) error {
	for {
		if _, begun := s.client.CommittedOffsets()[tp.Topic][tp.Partition]; begun {
			s.client.SetOffsets(map[string]map[int32]kgo.EpochOffset{tp.Topic: {tp.Partition: {Epoch: -1, Offset: offset}}})
			return nil
		}
		if _, err := s.find(tp); err != nil {
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

// find returns the position of an owned partition.
func (s *consuming) find(tp record.TopicPartition) (int64, error) {
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
	position, err := s.find(tp)
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

// Commit implements consumer.Session.
func (s *consuming) Commit(ctx context.Context, offsets map[record.TopicPartition]consumer.Offset) error {
	switch {
	case s.cfg.Group == "":
		return fault.Newf(fault.InvalidGroup, "offsets are committed for a group, and the consumer has none")
	case s.isGone():
		return fault.Closed
	case len(offsets) == 0:
		return nil
	case !s.member:
		return s.cluster.commit(ctx, s.cfg.Group, offsets)
	}
	return s.commitAsMember(ctx, offsets)
}

// commitAsMember commits with the member's identity and epoch, which the client
// knows.
func (s *consuming) commitAsMember(ctx context.Context, offsets map[record.TopicPartition]consumer.Offset) error {
	all := make(map[string]map[int32]kgo.EpochOffset)
	for tp, o := range offsets {
		if all[tp.Topic] == nil {
			all[tp.Topic] = make(map[int32]kgo.EpochOffset)
		}
		all[tp.Topic][tp.Partition] = kgo.EpochOffset{Epoch: o.LeaderEpoch, Offset: o.Offset}
	}
	annotated := kgo.PreCommitFnContext(ctx, func(req *kmsg.OffsetCommitRequest) error {
		for i := range req.Topics {
			for j := range req.Topics[i].Partitions {
				p := &req.Topics[i].Partitions[j]
				metadata := offsets[record.TopicPartition{Topic: req.Topics[i].Topic, Partition: p.Partition}].Metadata
				p.Metadata = &metadata
			}
		}
		return nil
	})
	var err error
	s.client.CommitOffsetsSync(annotated, all, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, failed error) {
		if failed != nil {
			err = failure(failed)
			return
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if failed := answer(p.ErrorCode, nil, t.Topic, p.Partition); failed != nil && err == nil {
					err = failed
				}
			}
		}
	})
	return err
}

// Committed implements consumer.Session.
func (s *consuming) Committed(ctx context.Context, partitions ...record.TopicPartition) (map[record.TopicPartition]consumer.Offset, error) {
	if s.cfg.Group == "" {
		return nil, fault.Newf(fault.InvalidGroup, "the consumer has no group")
	}
	all, err := s.cluster.GroupOffsets(ctx, s.cfg.Group)
	if err != nil {
		if errors.Is(err, fault.GroupNotFound) {
			return map[record.TopicPartition]consumer.Offset{}, nil
		}
		return nil, err
	}
	maps.DeleteFunc(all, func(tp record.TopicPartition, _ consumer.Offset) bool { return !slices.Contains(partitions, tp) })
	return all, nil
}

// Offsets implements consumer.Session.
func (s *consuming) Offsets(ctx context.Context, spec topic.OffsetSpec, partitions ...record.TopicPartition) (map[record.TopicPartition]int64, error) {
	listed, err := s.cluster.ListOffsets(ctx, spec, partitions...)
	if err != nil {
		return nil, err
	}
	offsets := make(map[record.TopicPartition]int64, len(listed))
	for tp, l := range listed {
		offsets[tp] = l.Offset
	}
	return offsets, nil
}
