package produce

import (
	"sync/atomic"

	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
)

// An openBatch takes records from any number of goroutines at once. A sender
// reserves room for its record, and with it the record's number in the batch, by
// one compare-and-swap on state, and then copies the record there outside any
// lock. Sealing sets a bit of state, after which nobody can reserve; the batch is
// ready once everything reserved has been copied, which is found out by whoever
// comes last: a copier, or the one who seals.
//
// An openBatch belongs to one lane and is used there again and again. A sender
// that was held up may therefore look at a batch which has been filled, sealed,
// written and opened again meanwhile; the generation in state makes its
// compare-and-swap fail, and all that it has looked at until then is atomic.
type openBatch struct {
	// state is generation<<40 | sealed<<39 | count<<26 | position. It starts out
	// sealed. Once sealed, count and position stay until the next open.
	state atomic.Uint64
	limit atomic.Int64 // position <= limit <= len(buf.bytes)

	// Times in milliseconds: when the batch was opened, which is the time of
	// records that bring none; what the records' times count from; and the
	// latest of them.
	opened, base, latest atomic.Int64

	fns     atomic.Pointer[[]producer.Callback] // by number; nil until a record brings one
	program atomic.Bool                         // one of them is the program's, and no waiting Send's

	_ [64]byte // copied is written by everybody, what stands above is read by everybody

	// copied counts the bytes that were copied, minus those that were reserved
	// once the batch is sealed. So it reaches 0 exactly once: when the batch is
	// ready.
	copied atomic.Int64

	_ [64]byte

	lane *lane
	buf  *buffer // from opening until it is handed to the partition
	held int     // bytes held of the session's allowance, until the batch is settled

	// A batch that nobody shares has one callback. It may be encoded already.
	fn    producer.Callback
	whole bool

	// Guarded by lane.mu, from sealing on.
	next  *openBatch // in the lane's queue
	count int32      // records
	size  int        // bytes, header included
	ready bool       // everything has been copied
	sent  bool       // the partition has it
	done  bool       // offset and err are known
	told  int32      // how many callbacks the settler has called

	// sequence is that of the first record once the partition is about to get the
	// batch, if the lane is idempotent; doomed is why it must not be appended.
	sequence int32
	doomed   error

	offset  int64
	err     error
	flushes []*flush
}

const (
	positionBits = 26
	countBits    = 13

	// maxBatchBytes and maxBatchRecords are what fits into state.
	maxBatchBytes   = 1<<positionBits - 1
	maxBatchRecords = 1<<countBits - 1

	countShift      = positionBits
	sealedBit       = 1 << (positionBits + countBits)
	generationShift = positionBits + countBits + 1
)

func positionOf(state uint64) int { return int(state & maxBatchBytes) }
func countOf(state uint64) int32  { return int32(state >> countShift & maxBatchRecords) }

// begin opens the batch for reservations of up to limit bytes in buf. Times will
// count from base.
func (b *openBatch) begin(buf *buffer, limit int, now, base int64) {
	b.buf = buf
	b.limit.Store(int64(limit))
	b.opened.Store(now)
	b.base.Store(base)
	b.latest.Store(record.NoTimestamp)
	b.copied.Store(0)
	b.sent, b.done, b.whole, b.told = false, false, false, 0
	b.sequence, b.doomed = record.NoSequence, nil
	b.program.Store(false)
	generation := b.state.Load()>>generationShift + 1
	b.state.Store(generation<<generationShift | record.HeaderLen)
}

// reservation is a record's place in a batch.
type reservation struct {
	pos, size int
	number    int32
	ms        int64 // the record's time
	delta     int64 // from the batch's base
}

type reserved int8

const (
	gotRoom  reserved = iota
	isFull            // the batch has no room for the record
	isSealed          // the batch takes no more
)

// reserve takes room for a record whose time is ms, or that of the batch where
// that is record.NoTimestamp.
func (b *openBatch) reserve(r *record.Record, ms int64) (reservation, reserved) {
	for {
		s := b.state.Load()
		if s&sealedBit != 0 {
			return reservation{}, isSealed
		}
		at := reservation{pos: positionOf(s), number: countOf(s), ms: ms}
		if ms == record.NoTimestamp {
			at.ms = b.opened.Load()
		}
		at.delta = at.ms - b.base.Load()
		at.size = record.Size(at.number, at.delta, r.Key, r.Value, r.Headers)
		if at.pos+at.size > int(b.limit.Load()) || at.number == maxBatchRecords {
			return reservation{}, isFull
		}
		if b.state.CompareAndSwap(s, s+1<<countShift+uint64(at.size)) {
			return at, gotRoom
		}
	}
}

// fill copies a record to its place. awaited says that fn is a waiting Send's. It
// reports whether the batch is ready now, which the caller then has to tell the
// lane.
func (b *openBatch) fill(at reservation, r *record.Record, fn producer.Callback, awaited bool) (ready bool) {
	record.Put(b.buf.bytes[at.pos:at.pos+at.size], at.number, at.delta, r.Key, r.Value, r.Headers)
	if fn != nil {
		b.callbacks()[at.number] = fn
		if !awaited && !b.program.Load() {
			b.program.Store(true)
		}
	}
	for latest := b.latest.Load(); at.ms > latest; latest = b.latest.Load() {
		if b.latest.CompareAndSwap(latest, at.ms) {
			break
		}
	}
	return b.copied.Add(int64(at.size)) == 0
}

// callbacks returns the batch's callbacks by record.
func (b *openBatch) callbacks() []producer.Callback {
	if fns := b.fns.Load(); fns != nil {
		return *fns
	}
	fns := b.lane.session.callbacks.Get().(*[]producer.Callback)
	if !b.fns.CompareAndSwap(nil, fns) {
		b.lane.session.callbacks.Put(fns)
	}
	return *b.fns.Load()
}

// isEmpty reports whether nothing was reserved in an open batch.
func (b *openBatch) isEmpty() bool { return countOf(b.state.Load()) == 0 }

// seal ends reserving; it is called once, under the lane's lock.
func (b *openBatch) seal() {
	s := b.state.Or(sealedBit)
	b.count, b.size = countOf(s), positionOf(s)
	reservedBytes := int64(b.size - record.HeaderLen)
	b.ready = b.copied.Add(-reservedBytes) == 0
}
