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

// maxRuns is how many outcomes may wait to be written before the server stops
// accepting records.
const maxRuns = 1 << 14

// maxBatch is how large a batch of several records becomes.
const maxBatch = 1 << 20

// intake is a producer's session on the server. Parcels come in, and outcomes
// go out.
type intake struct {
	visit *visit
	codec *record.Codec

	mu      sync.Mutex
	session producer.Session
	closed  bool
	holes   bool // not idempotent: a record may be written although one before it was not
	targets map[uint32]*target
	names   map[string]*target
	last    uint32 // number of the last target
	runs    []run
	pushing bool          // the session is sending its lingering batches
	taken   chan struct{} // closed when runs are taken; nil unless a goroutine waits for that
}

// target is a topic that the session writes to.
type target struct {
	number uint32
	writer producer.Writer
	told   int32 // the number of partitions that the client knows

	gates map[int32]*gate // by partition
}

// gate keeps a partition free of holes. After a record could not be written,
// records that the client sent before it knew of that must not be written
// either.
//
// Records behind a failed one arrive in two ways. Those that arrive after the
// failure carry a number of failures (arrival.heard) below gate.failures, and
// passGate refuses them. Those that passed the gate before the failure may still
// wait in the session's buffer. They were sent under gate.ctx, and the failure
// cancels it: the session accepts nothing under a context that has ended, not
// even what already waits in it.
type gate struct {
	failures uint32 // how many; the client says how many it knows of
	cause    error  // of the last failure
	ctx      context.Context
	cancel   context.CancelFunc // ends the context of the records accepted since the last failure
}

// oneRecordOnly reports whether an error concerns one record only, and not those after
// it.
func oneRecordOnly(err error) bool {
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
		cfg.Compression < record.None || cfg.Compression > record.Zstd || cfg.Compression.CheckLevel(cfg.Level) != nil || !transactional(&cfg) {
		return fault.Newf(fault.InvalidConfig, "a producer with %+v", cfg)
	}
	if err := in.visit.openSession(); err != nil {
		return err
	}
	// The client applies its own limits. These limit what a client can make the
	// server keep.
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

// transactional reports whether a configuration with a transactional ID, if it has one, is
// one that package producer makes.
func transactional(cfg *producer.Config) bool {
	return cfg.TransactionalID == "" ||
		cfg.Idempotent && len(cfg.TransactionalID) <= producer.MaxTransactionalID &&
			cfg.TransactionTimeout >= time.Millisecond && cfg.TransactionTimeout <= producer.MaxTransactionTimeout
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
	if t == nil || t.writer != w { // new, or another topic of that name
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

// sendIf passes a record with a condition to the session. Parcels that came before it have
// been passed on already.
func (in *intake) sendIf(ctx context.Context, number uint32, r record.Record, condition record.Condition) (record.Position, error) {
	in.mu.Lock()
	t := in.targets[number]
	in.mu.Unlock()
	if t == nil {
		return record.Position{}, fault.Newf(fault.InvalidRequest, "a record for the unknown topic number %d", number)
	}
	return t.writer.SendIf(ctx, r, condition)
}

// parcel passes the records of a parcel to the session. The reading goroutine calls it, so
// records keep the order of parcels.
//
// Every record of the parcel has an outcome, or is counted by processed as one that was
// never passed on: the memory that the parcel holds is released after the last one.
func (in *intake) parcel(f frame, h hold) error {
	p, err := in.readParcel(f)
	if err != nil {
		h.release()
		return err
	}
	given := int32(0)
	in.expect(p, h, p.batch.Count)
	defer func() { in.processed(p, p.batch.Count-given) }()
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
			r.Timestamp = time.Time{} // the session then sets the time at which its batch was opened
		}
		given++
		if w, ctx := in.passGate(p, i); w != nil {
			w.SendAsync(ctx, r, func(at record.Position, err error) { in.outcome(p, i, at, err) })
		}
	}
	return it.Err()
}

// batch passes a whole batch to the session.
func (in *intake) batch(f frame, h hold) error {
	p, err := in.readParcel(f)
	if err != nil {
		h.release()
		return err
	}
	in.expect(p, h, 1)
	defer in.processed(p, 0)
	w, ctx := in.passGate(p, 0)
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

// check makes sure that the batch contains what its header says: a log stores
// the bytes as they are, and a consumer would fail on them.
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

// arrival is a received parcel.
type arrival struct {
	id        uint32
	target    uint32
	partition int32
	heard     uint32 // the number of the partition's last failure that the client knew of when it sent this
	batch     record.Batch

	// Guarded by intake.mu. hold is the memory reserved for the parcel, until
	// left is 0. left counts the outcomes that are not known yet, plus one
	// while the parcel is being processed.
	hold hold
	left int32
}

// expect keeps h for p until that many outcomes are known and processed was called.
func (in *intake) expect(p *arrival, h hold, outcomes int32) {
	in.mu.Lock()
	defer in.mu.Unlock()
	p.hold, p.left = h, outcomes+1
}

// processed ends the processing of p. never is how many outcomes will not come,
// because their records were not passed on.
func (in *intake) processed(p *arrival, never int32) {
	in.mu.Lock()
	in.count(p, 1+never)
	in.mu.Unlock()
	if in.visit.server.budget.small.IsAwaited() || in.visit.server.budget.large.IsAwaited() {
		in.push() // the accepted records may be lingering
	}
}

// count subtracts n outcomes from those awaited. The caller holds mu.
func (in *intake) count(p *arrival, n int32) {
	if p.left -= n; p.left == 0 {
		p.hold.release()
	}
}

// fields visits all fields but the batch, which follows.
func (p *arrival) fields(c *coder) {
	int32s(c, &p.target)
	int32s(c, &p.partition)
	int32s(c, &p.heard)
}

// readParcel reads a parcel, once there is room for its outcomes.
func (in *intake) readParcel(f frame) (*arrival, error) {
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
			return nil, fault.Closed // a client that gets this needs no outcomes
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

// passGate returns the writer for record i of a parcel, and the context to send it
// under. If the record must not be written, it notes that outcome and returns
// nil.
func (in *intake) passGate(p *arrival, i int32) (producer.Writer, context.Context) {
	in.mu.Lock()
	defer in.mu.Unlock()
	t := in.targets[p.target]
	if t == nil { // the topic was deleted, and another one of that name created
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

// outcome records the outcome of record i of a parcel. A failure that concerns more than
// the record gets the partition's next number, and closes the gate to everything that the
// client has sent without knowing of it.
func (in *intake) outcome(p *arrival, i int32, at record.Position, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	err = ended(in.visit.ctx, err)
	t := in.targets[p.target]
	if t == nil || err == nil || in.holes || oneRecordOnly(err) {
		in.note(p, i, at.Offset, err, 0)
		return
	}
	g := t.gates[p.partition]
	if g.failures > p.heard && errors.Is(err, context.Canceled) {
		err = g.cause // the failure that ended its context
	}
	g.failures++
	g.cause = err
	if g.cancel != nil {
		g.cancel()
		g.ctx, g.cancel = nil, nil
	}
	in.note(p, i, at.Offset, err, g.failures)
}

// note adds an outcome to those that the connection will write. The caller
// holds mu.
func (in *intake) note(p *arrival, i int32, offset int64, err error, failure uint32) {
	in.count(p, 1)
	if n := len(in.runs); n > 0 && in.runs[n-1].extend(p.id, i, offset, err, failure) {
		return
	}
	in.runs = append(in.runs, run{target: p.target, parcel: p.id, first: i, count: 1, base: offset, failure: failure, err: err})
	in.visit.poke()
}

// fill returns the recorded outcomes, for the connection to write.
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
		return nil // it has room for everything, so this does not happen
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
