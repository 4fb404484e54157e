package attach

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
)

// maxRuns is how many outcomes may wait to be written before no more records are
// taken.
const maxRuns = 1 << 14

// maxBatch is how large a batch of several records becomes.
const maxBatch = 1 << 20

// intake is a producer's session that a visit has opened: parcels come in, and
// outcomes go out.
type intake struct {
	visit *visit
	codec *record.Codec

	mu      sync.Mutex
	session producer.Session
	closed  bool
	holes   bool // a record may be written though one before it was not
	targets map[uint32]*target
	names   map[string]*target
	last    uint32 // number of the last target
	runs    []run
	pushing bool          // the session sends what lingers
	taken   chan struct{} // closed when runs are taken; nil while nobody waits for that
}

// target is a topic that the session writes to.
type target struct {
	number uint32
	writer producer.Writer
	told   int32 // partitions, as the client knows

	gates map[int32]*gate // by partition
}

// gate lets records into a partition. Once one could not be written, what the
// client sent before it heard of that must not be written either: a partition has
// no holes.
//
// The session takes nothing under a context that ended before, not even what
// waits in it already. So what passes the gate while a record fails is refused as
// what comes afterwards.
type gate struct {
	failures uint32 // so many; the client says how many it has heard of
	cause    error  // of the last one
	ctx      context.Context
	cancel   context.CancelFunc // of what was let in since the last failure
}

// alone reports whether an error concerns one record, and none behind it.
func alone(err error) bool {
	switch fault.CodeOf(err) {
	case fault.RecordTooLarge, fault.RecordListTooLarge, fault.InvalidRecord, fault.InvalidTimestamp, fault.UnsupportedCompression,
		fault.CorruptMessage, fault.Undecodable, fault.ExpandsTooFar, fault.UnknownTopic:
		return true
	}
	return false
}

// open opens the session.
func (in *intake) open(ctx context.Context, b producer.Backend, cfg producer.Config) error {
	if cfg.BatchBytes < 1 || cfg.BufferBytes < cfg.BatchBytes || cfg.Linger < 0 ||
		cfg.Acks < producer.AcksAll || cfg.Acks > producer.AcksNone || cfg.Idempotent && cfg.Acks != producer.AcksAll ||
		cfg.Compression < record.None || cfg.Compression > record.Zstd || cfg.Compression.CheckLevel(cfg.Level) != nil {
		return fault.Newf(fault.InvalidConfig, "a producer with %+v", cfg)
	}
	if err := in.visit.openSession(); err != nil {
		return err
	}
	// The client keeps to its own limits; these are for what it can make us keep.
	cfg.BatchBytes = min(cfg.BatchBytes, maxBatch)
	cfg.BufferBytes = min(cfg.BufferBytes, maxArrival)
	s, err := b.OpenProducer(ctx, cfg)
	if err != nil {
		return err
	}
	in.mu.Lock()
	closed := in.closed
	if !closed {
		in.session, in.codec, in.holes = s, record.NewCodec(0), !cfg.Idempotent
		in.targets, in.names = map[uint32]*target{}, map[string]*target{}
	}
	in.mu.Unlock()
	if closed {
		_ = s.Close()
		return fault.Closed
	}
	return nil
}

// current returns the session.
func (in *intake) current() (producer.Session, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.session == nil {
		return nil, fault.Newf(fault.InvalidRequest, "the connection has no producer")
	}
	return in.session, nil
}

// topic opens a topic for writing and returns its number and its partitions.
func (in *intake) topic(ctx context.Context, name string) (number uint32, partitions int32, err error) {
	s, err := in.current()
	if err != nil {
		return 0, 0, err
	}
	w, err := s.Topic(ctx, name)
	if err != nil {
		return 0, 0, err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	t := in.names[name]
	if t == nil || t.writer != w { // it is new, or another topic of that name
		if t != nil {
			delete(in.targets, t.number)
		}
		in.last++
		t = &target{number: in.last, writer: w, gates: map[int32]*gate{}}
		in.targets[t.number], in.names[name] = t, t
	}
	t.told = w.Partitions()
	return t.number, t.told, nil
}

// parcel takes records, in order with all other parcels.
func (in *intake) parcel(f frame, h hold) error {
	p, err := in.accept(f)
	if err != nil {
		h.release()
		return err
	}
	given := int32(0)
	in.begin(p, h, p.batch.Count)
	defer func() { in.end(p, p.batch.Count-given) }()
	if p.batch.Compression() != record.None {
		return fault.Newf(fault.InvalidRequest, "a parcel that is compressed")
	}
	it, err := p.batch.Records(nil)
	if err != nil {
		return err
	}
	r := record.Record{Partition: p.partition}
	for i := int32(0); it.Next(&r); i++ {
		if r.Timestamp.UnixMilli() == record.NoTimestamp {
			r.Timestamp = time.Time{} // that of the batch's opening
		}
		given++
		if w, ctx := in.way(p, i); w != nil {
			w.SendAsync(ctx, r, func(at record.Position, err error) { in.outcome(p, i, at, err) })
		}
	}
	return it.Err()
}

// batch takes a whole batch.
func (in *intake) batch(f frame, h hold) error {
	p, err := in.accept(f)
	if err != nil {
		h.release()
		return err
	}
	in.begin(p, h, 1)
	defer in.end(p, 0)
	w, ctx := in.way(p, 0)
	if w == nil {
		return nil
	}
	fn := func(at record.Position, err error) { in.outcome(p, 0, at, err) }
	if err := in.check(p.batch); err != nil {
		fn(record.Position{Offset: -1}, err)
		return nil
	}
	w.Append(ctx, p.partition, &p.batch, fn)
	return nil
}

// check makes sure that whoever reads the batch will find in it what its header
// says: a log keeps what it was given.
func (in *intake) check(b record.Batch) error {
	if b.Control() || b.Transactional() {
		return fault.Newf(fault.InvalidRecord, "a batch of a transaction or of markers")
	}
	it, err := b.Records(in.codec)
	if err != nil {
		return err
	}
	for r := (record.Record{}); it.Next(&r); {
	}
	return it.Err()
}

// arrival is a parcel that has come.
type arrival struct {
	id        uint32
	target    uint32
	partition int32
	heard     uint32 // the number of the partition's last failure that the client knew of
	batch     record.Batch

	// Guarded by intake.mu: what is held for the parcel, until left is 0. That
	// counts outcomes that are not known, and one while the parcel is worked on.
	hold hold
	left int32
}

// begin holds h for p until so many outcomes are known, and end was called.
func (in *intake) begin(p *arrival, h hold, outcomes int32) {
	in.mu.Lock()
	defer in.mu.Unlock()
	p.hold, p.left = h, outcomes+1
}

// end says that p was worked on, and how many outcomes there will never be.
func (in *intake) end(p *arrival, never int32) {
	in.mu.Lock()
	in.count(p, 1+never)
	in.mu.Unlock()
	if in.visit.server.budget.small.IsAwaited() || in.visit.server.budget.large.IsAwaited() {
		in.push() // what was let in lingers, perhaps
	}
}

// count counts outcomes; mu is held.
func (in *intake) count(p *arrival, n int32) {
	if p.left -= n; p.left == 0 {
		p.hold.release()
	}
}

// fields is all but the batch, which comes behind.
func (p *arrival) fields(c *coder) {
	int32s(c, &p.target)
	int32s(c, &p.partition)
	int32s(c, &p.heard)
}

// accept reads a parcel, once there is room for its outcomes.
func (in *intake) accept(f frame) (*arrival, error) {
	if _, err := in.current(); err != nil {
		return nil, err
	}
	p := &arrival{id: f.id}
	c := reading(f.body)
	p.fields(c)
	err := c.r.Err()
	if err == nil {
		p.batch, err = record.Parse(f.body[len(f.body)-c.r.Len():])
	}
	if err != nil {
		return nil, err
	}
	if p.batch.Size() != c.r.Len() || p.batch.Count == 0 {
		return nil, fault.Newf(fault.InvalidRequest, "a parcel that is not one batch")
	}
	for {
		in.mu.Lock()
		if in.closed {
			in.mu.Unlock()
			return nil, fault.Closed // who is told so needs no outcomes
		}
		if len(in.runs) < maxRuns {
			in.mu.Unlock()
			return p, nil
		}
		if in.taken == nil {
			in.taken = make(chan struct{})
		}
		taken := in.taken
		in.mu.Unlock()
		select {
		case <-taken:
		case <-in.visit.idle:
			return nil, fault.Closed
		}
	}
}

// way returns where record i of a parcel goes. If it must not be written, that
// is its outcome, and there is none.
func (in *intake) way(p *arrival, i int32) (producer.Writer, context.Context) {
	in.mu.Lock()
	defer in.mu.Unlock()
	t := in.targets[p.target]
	if t == nil { // the topic was deleted, and there is another one
		in.note(p, i, -1, fault.UnknownTopic, 0)
		return nil, nil
	}
	if in.holes {
		return t.writer, in.visit.ctx
	}
	g := t.gates[p.partition]
	if g == nil {
		g = &gate{}
		t.gates[p.partition] = g
	}
	if g.failures > p.heard {
		in.note(p, i, -1, g.cause, g.failures)
		return nil, nil
	}
	if g.ctx == nil {
		g.ctx, g.cancel = context.WithCancel(in.visit.ctx)
	}
	return t.writer, g.ctx
}

// outcome notes what has become of record i of a parcel.
func (in *intake) outcome(p *arrival, i int32, at record.Position, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	err = ended(in.visit.ctx, err)
	t := in.targets[p.target]
	if t == nil || err == nil || in.holes || alone(err) {
		in.note(p, i, at.Offset, err, 0)
		return
	}
	g := t.gates[p.partition]
	if g.failures > p.heard && errors.Is(err, context.Canceled) {
		err = g.cause // what ended its context
	}
	g.failures++
	g.cause = err
	if g.cancel != nil {
		g.cancel()
		g.ctx, g.cancel = nil, nil
	}
	in.note(p, i, at.Offset, err, g.failures)
}

// note notes an outcome, for the connection to write; mu is held.
func (in *intake) note(p *arrival, i int32, offset int64, err error, failure uint32) {
	in.count(p, 1)
	if n := len(in.runs); n > 0 && in.runs[n-1].extend(p.id, i, offset, err, failure) {
		return
	}
	in.runs = append(in.runs, run{target: p.target, parcel: p.id, first: i, count: 1, base: offset, failure: failure, err: err})
	in.visit.poke()
}

// fill returns the outcomes at hand, for the connection to write.
func (in *intake) fill() [][]byte {
	in.mu.Lock()
	news := outcomes{runs: in.runs}
	in.runs = nil
	if in.taken != nil {
		close(in.taken)
		in.taken = nil
	}
	for _, r := range news.runs {
		if t := in.targets[r.target]; t != nil {
			if n := t.writer.Partitions(); n != t.told {
				t.told = n
				news.topics = append(news.topics, growth{t.number, n})
			}
		}
	}
	in.mu.Unlock()
	if len(news.runs) == 0 {
		return nil
	}
	f, err := encode(kindOutcomes, 0, news.fields)
	if err != nil {
		return nil // it has room for everything, so there is none
	}
	return [][]byte{f}
}

// close closes the session, if there is one.
func (in *intake) close() {
	in.mu.Lock()
	s := in.session
	in.closed = true
	in.mu.Unlock()
	if s != nil {
		_ = s.Close()
	}
}
