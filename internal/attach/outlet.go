package attach

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/pattern"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// partBytes is about how large a part of an answer is.
const partBytes = 256 << 10

// Limits beyond which a consumer's configuration is a mistake.
const (
	maxFetchRecords = 1 << 20
	maxFetchBytes   = 1 << 30
	maxGroupName    = 1 << 12
)

// Limits of one fetch, whatever the client asks for.
const (
	fetchRecords = 1 << 16
	fetchBytes   = 8 << 20
)

// outlet is a consumer's session on the server.
type outlet struct {
	visit *visit
	buf   []record.Record // the buffer of Fetch

	mu      sync.Mutex
	session consumer.Session
	closed  bool
	hand    []uint32 // the calls in progress that may change the assignment, in order

	// A session's Fetch, Assign and Seek belong to one goroutine at a time, but
	// a client may call them from many. Seek may be called within a callback,
	// which then does not end before Seek has.
	fetching bool          // Fetch or Assign is running
	closing  bool          // Close has begun
	telling  int           // running callbacks
	seeking  int           // running calls of Seek
	sought   chan struct{} // closed when seeking is 0 again; nil unless a goroutine waits for that
}

// open opens the session.
func (o *outlet) open(ctx context.Context, b consumer.Backend, cfg consumer.Config) error {
	if err := checkConsumer(&cfg); err != nil {
		return err
	}
	if err := o.visit.openSession(); err != nil {
		return err
	}
	cfg.ReuseBuffers = true // records are copied into the answer
	cfg.MaxRecords, cfg.MaxBytes = min(cfg.MaxRecords, fetchRecords), min(cfg.MaxBytes, fetchBytes)
	for what, fn := range map[int8]*func([]record.TopicPartition){
		tellAssigned: &cfg.OnAssigned, tellRevoked: &cfg.OnRevoked, tellLost: &cfg.OnLost,
	} {
		*fn = func(partitions []record.TopicPartition) { o.sendEvent(event{what, partitions}) }
	}
	s, err := b.OpenConsumer(ctx, cfg)
	if err != nil {
		return err
	}
	o.mu.Lock()
	closed := o.closed
	if !closed {
		o.session = s
	}
	o.mu.Unlock()
	if closed {
		_ = s.Close()
		return fault.Closed
	}
	return nil
}

// checkConsumer checks what consumer.New guarantees about a configuration,
// because a client may send any.
func checkConsumer(cfg *consumer.Config) error {
	start, fixed := cfg.Start.Offset()
	if cfg.MaxRecords < 1 || cfg.MaxRecords > maxFetchRecords || cfg.MaxBytes < 1 || cfg.MaxBytes > maxFetchBytes ||
		fixed && start < 0 || len(cfg.Group) > maxGroupName || (len(cfg.Topics) > 0 || cfg.Pattern != "") && cfg.Group == "" {
		return fault.Newf(fault.InvalidConfig, "a consumer with %d records and %d bytes at once from offset %d, topics %q and a group of %d bytes",
			cfg.MaxRecords, cfg.MaxBytes, start, cfg.Topics, len(cfg.Group))
	}
	if _, err := pattern.Parse(cfg.Pattern); err != nil {
		return err
	}
	if cfg.Subscribes() && (cfg.SessionTimeout <= 0 || cfg.RebalanceTimeout <= 0) {
		return fault.Newf(fault.InvalidSessionTimeout, "%v, and %v to rebalance", cfg.SessionTimeout, cfg.RebalanceTimeout)
	}
	for _, name := range cfg.Topics {
		if err := topic.ValidateName(name); err != nil {
			return err
		}
	}
	slices.Sort(cfg.Topics)
	cfg.Topics = slices.Compact(cfg.Topics)
	return nil
}

// current returns the session.
func (o *outlet) current() (consumer.Session, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.session == nil {
		return nil, fault.Newf(fault.InvalidRequest, "the connection has no consumer")
	}
	return o.session, nil
}

// within runs a call that may change the assignment. While it runs, events of the session
// are sent to the client as part of this call.
func (o *outlet) within(call uint32, do func(s consumer.Session) error) error {
	s, err := o.current()
	if err != nil {
		return err
	}
	o.mu.Lock()
	o.hand = append(o.hand, call)
	o.mu.Unlock()
	defer func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.hand = slices.DeleteFunc(o.hand, func(id uint32) bool { return id == call })
	}()
	return do(s)
}

// alone runs Fetch or Assign, unless one is running already.
func (o *outlet) alone(call uint32, do func(s consumer.Session) error) error {
	o.mu.Lock()
	taken := o.fetching || o.seeking > 0
	o.fetching = o.fetching || !taken
	o.mu.Unlock()
	if taken {
		return errTaken
	}
	defer func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.fetching = false
	}()
	return o.within(call, do)
}

var errTaken = fault.Newf(fault.InvalidRequest, "Fetch, Assign and Seek belong to one goroutine")

// seek runs Seek.
func (o *outlet) seek(do func(s consumer.Session) error) error {
	s, err := o.current()
	if err != nil {
		return err
	}
	o.mu.Lock()
	taken := o.seeking > 0 || o.fetching && (o.telling == 0 || o.closing)
	if !taken {
		o.seeking++
	}
	o.mu.Unlock()
	if taken {
		return errTaken
	}
	defer func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.seeking--
		if o.sought != nil {
			close(o.sought)
			o.sought = nil
		}
	}()
	return do(s)
}

// leave runs Close. It may run beside a Fetch, which then ends the session.
func (o *outlet) leave(call uint32) error {
	o.mu.Lock()
	o.closing = true
	o.mu.Unlock()
	return o.within(call, consumer.Session.Close)
}

// sendEvent makes the client call a callback and waits until it has. The event
// belongs to the call within which the session runs the callback. That is the
// first one in progress, because the session makes the others wait for it.
// Without a call or a client, the session is being closed by this side, and
// sendEvent does nothing.
func (o *outlet) sendEvent(e event) {
	o.mu.Lock()
	n := len(o.hand)
	var call uint32
	if n > 0 {
		call = o.hand[0]
	}
	o.telling++
	withinSeek := o.seeking > 0
	o.mu.Unlock()
	defer o.endCallback(withinSeek)
	h := o.visit.handling(call)
	if n == 0 || h == nil || o.visit.sendFields(kindEvent, call, e.fields) != nil {
		return
	}
	select {
	case <-h.told:
	case <-o.visit.ctx.Done():
	case <-o.visit.down:
	}
}

// endCallback ends a callback, after the calls of Seek within it.
//
// withinSeek says that Seek was running already when the callback began. Then Seek
// is what runs the callback, at the end of a session that was closed meanwhile: it
// returns after the callback, and waiting for it would be waiting for ourselves.
func (o *outlet) endCallback(withinSeek bool) {
	o.mu.Lock()
	o.telling--
	var sought chan struct{}
	if o.seeking > 0 && !withinSeek {
		if o.sought == nil {
			o.sought = make(chan struct{})
		}
		sought = o.sought
	}
	o.mu.Unlock()
	if sought != nil {
		<-sought
	}
}

// fetch sends records, as parts of the answer to a call.
func (o *outlet) fetch(ctx context.Context, call uint32, wait time.Duration) (got consumer.Fetched, err error) {
	err = o.alone(call, func(s consumer.Session) error {
		if got, err = s.Fetch(ctx, wait, o.buf); err != nil {
			return err
		}
		o.buf = got.Records
		err := parts(got.TopicPartition, got.Records, func(part []byte) {
			o.visit.send(append(appendHead(nil, kindPart, call, len(part)), part...))
		})
		clear(o.buf)
		s.Release(got.Lease)
		return err
	})
	return got, err
}

// parts encodes records of one partition. A part has records of one leader
// epoch and a limited size.
func parts(tp record.TopicPartition, records []record.Record, emit func(part []byte)) error {
	head := writing()
	head.partition(&tp)
	for len(records) > 0 {
		first := &records[0]
		ms := first.Timestamp.UnixMilli()
		size, n := record.HeaderLen, 0
		latest := ms
		for n < len(records) && (n == 0 || size < partBytes) {
			r := &records[n]
			delta := r.Offset - first.Offset
			if r.LeaderEpoch != first.LeaderEpoch || delta > math.MaxInt32-1 {
				break
			}
			at := r.Timestamp.UnixMilli()
			size += record.Size(int32(delta), at-ms, r.Key, r.Value, r.Headers)
			latest = max(latest, at)
			n++
		}
		part := append(make([]byte, 0, len(head.w.B)+size), head.w.B...)
		batch := part[len(part) : len(part)+size]
		pos := record.HeaderLen
		for i := range records[:n] {
			r := &records[i]
			delta, late := int32(r.Offset-first.Offset), r.Timestamp.UnixMilli()-ms
			end := pos + record.Size(delta, late, r.Key, r.Value, r.Headers)
			pos += record.Put(batch[pos:end], delta, late, r.Key, r.Value, r.Headers)
		}
		if size > maxBody-len(part) {
			return fault.At(fault.RecordTooLarge, tp.Topic, tp.Partition, first.Offset).Detailf("%d bytes, a connection takes %d at once", size, maxBody)
		}
		record.Seal(batch, record.BatchHeader{
			BaseOffset: first.Offset, LeaderEpoch: first.LeaderEpoch,
			LastOffsetDelta: int32(records[n-1].Offset - first.Offset), Count: int32(n),
			BaseTimestamp: ms, MaxTimestamp: latest,
			ProducerID: record.NoProducerID, ProducerEpoch: record.NoProducerEpoch, BaseSequence: record.NoSequence,
		})
		emit(part[:len(part)+size])
		records = records[n:]
	}
	return nil
}

// close closes the session, if there is one.
func (o *outlet) close() {
	o.mu.Lock()
	s := o.session
	o.closed = true
	o.mu.Unlock()
	if s != nil {
		_ = s.Close()
	}
}
