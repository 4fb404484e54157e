package produce

import (
	"sync/atomic"

	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
)

// openBatch takes records from any number of goroutines at once. A sender reserves room
// for its record, and with it the record's number in the batch, by one compare-and-swap
// on word. Then it copies the record there, without a lock. Sealing sets a bit of word,
// after which no room can be reserved. The batch is ready once everything reserved has
// been copied. The last one to finish notices that: a copier, or the goroutine that
// seals.
//
// An openBatch belongs to one lane, which uses it again and again. So a sender that was
// delayed may look at a batch that has been filled, sealed, written and opened again
// meanwhile. The generation in word then makes its compare-and-swap fail. The fields that
// it has read before may be of either generation, so all of them are atomic.
type openBatch struct {
	// word is generation<<40 | sealed<<39 | count<<26 | position. It starts out
	// sealed. Once sealed, count and position stay until the next open. All of it is in one
	// word because a reservation needs all of it to be of one moment.
	word  atomic.Uint64
	limit atomic.Int64 // position <= limit <= len(buf.bytes)

	// Times in milliseconds: when the batch was opened, which is the time of records
	// without one; the time from which the records' deltas count; and the latest time of a
	// record.
	opened, base, latest atomic.Int64

	fns     atomic.Pointer[[]producer.Callback] // by number; nil until a record has one
	program atomic.Bool                         // one of them is the program's, and not that of a waiting Send

	_ [64]byte // every sender writes copied and reads the fields above: keep them in different cache lines

	// copied counts the bytes that were copied, minus those that were reserved
	// once the batch is sealed. So it reaches 0 exactly once: when the batch is
	// ready. Before that it cannot: it only grows, from 0, until sealing takes away
	// more than has been added.
	copied atomic.Int64

	_ [64]byte

	lane *lane
	held int // bytes held of the session's allowance, until the batch is settled

	// buf is the batch's memory from stateOpen until the sender packs it, in stateHanded. A
	// batch of sendIdle's has none.
	buf *buffer

	// fn is the callback of a batch that one sender fills. whole means that its bytes came
	// as a complete batch, from Append; only the producer's identity is written into them.
	fn    producer.Callback
	whole bool

	condition record.Condition // of a batch of SendIf's

	// Guarded by lane.mu.
	state batchState
	next  *openBatch // in the lane's queue, or on its free list in stateSettled

	// Valid from stateSealed on; before, they are in word.
	count int32 // records
	size  int   // bytes, header included

	// sequence is that of the first record, if the lane is idempotent. It is
	// record.NoSequence until the sender is about to hand the batch over, because a batch
	// that fails before that must not use up sequences. doomed is why the batch must not
	// be appended: one before it has failed.
	sequence int32
	doomed   error

	// Valid from stateDone on.
	offset int64
	err    error

	// told is how many callbacks the settler has called; its own in stateTelling.
	told int32

	flushes []*flush // wait until this batch is settled: it was the last one when they began
}

const (
	positionBits = 26
	countBits    = 13

	// maxBatchBytes and maxBatchRecords are what fits into openBatch.word.
	maxBatchBytes   = 1<<positionBits - 1
	maxBatchRecords = 1<<countBits - 1

	countShift      = positionBits
	sealedBit       = 1 << (positionBits + countBits)
	generationShift = positionBits + countBits + 1
)

func positionOf(word uint64) int { return int(word & maxBatchBytes) }
func countOf(word uint64) int32  { return int32(word >> countShift & maxBatchRecords) }

// newBatch returns a batch of the lane that is in no use yet.
func newBatch(l *lane) *openBatch {
	b := &openBatch{lane: l}
	b.resetLocked()
	b.word.Store(sealedBit)
	return b
}

// resetLocked makes a settled batch what a new one is. buf, fn, fns and flushes were given
// away when it was settled, and word keeps its generation.
func (b *openBatch) resetLocked() {
	b.held, b.whole, b.told = 0, false, 0
	b.condition = record.Condition{}
	b.sequence, b.doomed = record.NoSequence, nil
	b.program.Store(false)
}

// beginLocked opens the batch, which was reset, for reservations of up to limit bytes in
// buf. Times will count from base. Storing word comes last: it lets senders in.
func (b *openBatch) beginLocked(buf *buffer, limit int, now, base int64) {
	b.enterLocked(stateOpen)
	b.buf = buf
	b.limit.Store(int64(limit))
	b.opened.Store(now)
	b.base.Store(base)
	b.latest.Store(record.NoTimestamp)
	b.copied.Store(0)
	generation := b.word.Load()>>generationShift + 1
	b.word.Store(generation<<generationShift | record.HeaderLen)
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
// that is record.NoTimestamp. The record's size depends on its number, so it is computed
// again whenever another sender was faster.
func (b *openBatch) reserve(r *record.Record, ms int64) (reservation, reserved) {
	for {
		s := b.word.Load()
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
		if b.word.CompareAndSwap(s, s+1<<countShift+uint64(at.size)) {
			return at, gotRoom
		}
	}
}

// fill copies a record to its place. awaited says that fn is a waiting Send's. It
// reports whether the batch is ready now, because it was sealed meanwhile and this was
// the last copier: then the caller calls lane.becomesReady. Adding to copied comes last.
// It publishes what was copied to the goroutine that finds the batch ready.
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

// callbacks returns the batch's callbacks by record. There is room for all that the batch
// may ever hold, so that senders write without a lock to a slice that does not move. It is
// taken when the first record brings one: many batches have none.
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
func (b *openBatch) isEmpty() bool { return countOf(b.word.Load()) == 0 }
