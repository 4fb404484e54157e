package attach

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
)

// maxRuns is how many outcomes may wait to be written before no more records are
// taken.
const maxRuns = 1 << 14

// intake is a producer's session that a visit has opened: parcels come in, and
// outcomes go out.
type intake struct {
	visit *visit
	codec *record.Codec

	mu      sync.Mutex
	session producer.Session
	closed  bool
	targets map[uint32]*target
	names   map[string]*target
	last    uint32 // number of the last target
	runs    []run
	taken   chan struct{} // closed when runs are taken; nil while nobody waits for that
}

// target is a topic that the session writes to.
type target struct {
	number uint32
	writer producer.Writer
	told   int32 // partitions, as the client knows
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
	s, err := b.OpenProducer(ctx, cfg)
	if err != nil {
		return err
	}
	in.mu.Lock()
	closed := in.closed
	if !closed {
		in.session, in.codec = s, record.NewCodec(0)
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
		t = &target{number: in.last, writer: w}
		in.targets[t.number], in.names[name] = t, t
	}
	t.told = w.Partitions()
	return t.number, t.told, nil
}

// parcel takes records, in order with all other parcels.
func (in *intake) parcel(f frame) error {
	number, partition, batch, err := in.accept(f)
	if err != nil {
		return err
	}
	if batch.Compression() != record.None {
		return fault.Newf(fault.InvalidRequest, "a parcel that is compressed")
	}
	it, err := batch.Records(nil)
	if err != nil {
		return err
	}
	w := in.writer(number)
	r := record.Record{Partition: partition}
	for i := int32(0); it.Next(&r); i++ {
		if r.Timestamp.UnixMilli() == record.NoTimestamp {
			r.Timestamp = time.Time{} // that of the batch's opening
		}
		fn := func(at record.Position, err error) { in.outcome(number, f.id, i, at, err) }
		if w == nil {
			fn(record.Position{Offset: -1}, fault.UnknownTopic)
			continue
		}
		w.SendAsync(in.visit.ctx, r, fn)
	}
	return it.Err()
}

// batch takes a whole batch.
func (in *intake) batch(f frame) error {
	number, partition, batch, err := in.accept(f)
	if err != nil {
		return err
	}
	fn := func(at record.Position, err error) { in.outcome(number, f.id, 0, at, err) }
	w := in.writer(number)
	if w == nil {
		fn(record.Position{Offset: -1}, fault.UnknownTopic)
		return nil
	}
	if err := in.check(batch); err != nil {
		fn(record.Position{Offset: -1}, err)
		return nil
	}
	w.Append(in.visit.ctx, partition, &batch, fn)
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

// accept reads what a parcel and a batch have in common, once there is room for
// their outcomes.
func (in *intake) accept(f frame) (number uint32, partition int32, b record.Batch, err error) {
	if _, err := in.current(); err != nil {
		return 0, 0, b, err
	}
	c := reading(f.body)
	int32s(c, &number)
	int32s(c, &partition)
	if err := c.r.Err(); err != nil {
		return 0, 0, b, err
	}
	if b, err = record.Parse(f.body[len(f.body)-c.r.Len():]); err != nil {
		return 0, 0, b, err
	}
	if b.Size() != c.r.Len() || b.Count == 0 {
		return 0, 0, b, fault.Newf(fault.InvalidRequest, "a parcel that is not one batch")
	}
	for {
		in.mu.Lock()
		if in.closed {
			in.mu.Unlock()
			return 0, 0, b, fault.Closed // who is told so needs no outcomes
		}
		if len(in.runs) < maxRuns {
			in.mu.Unlock()
			return number, partition, b, nil
		}
		if in.taken == nil {
			in.taken = make(chan struct{})
		}
		taken := in.taken
		in.mu.Unlock()
		select {
		case <-taken:
		case <-in.visit.idle:
			return 0, 0, b, fault.Closed
		}
	}
}

func (in *intake) writer(number uint32) producer.Writer {
	in.mu.Lock()
	defer in.mu.Unlock()
	if t := in.targets[number]; t != nil {
		return t.writer
	}
	return nil
}

// outcome notes what has become of a record.
func (in *intake) outcome(number, parcel uint32, i int32, at record.Position, err error) {
	in.mu.Lock()
	if n := len(in.runs); n == 0 || !in.runs[n-1].extend(parcel, i, at.Offset, err) {
		in.runs = append(in.runs, run{writer: number, parcel: parcel, first: i, count: 1, base: at.Offset, err: err})
	}
	in.mu.Unlock()
	in.visit.poke()
}

// fill returns the outcomes at hand, for the connection to write.
func (in *intake) fill() net.Buffers {
	in.mu.Lock()
	news := outcomes{runs: in.runs}
	in.runs = nil
	if in.taken != nil {
		close(in.taken)
		in.taken = nil
	}
	for _, r := range news.runs {
		if t := in.targets[r.writer]; t != nil {
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
	return net.Buffers{f}
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
