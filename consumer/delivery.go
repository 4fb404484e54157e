package consumer

import (
	"sync/atomic"

	"github.com/runnel-go/runnel/record"
)

// delivery is the batch that the consumer hands out, and how far the program has got
// in it.
//
// A loop over Records hands out records without a lock. So both counters are halves
// of one word, which a compare-and-swap moves: handed, the number of records handed
// out, in the lower half, and done, the number of those that are done, in the upper
// half.
//
//	noted <= done <= handed <= len(Records)
//
//	poll:    done = handed, handed = end of what Poll returns
//	advance: done = handed, handed+1        (a loop asks for its next record)
//	settle:  done = handed                  (a commit, Close, the next Poll)
//	handBack: handed = done                  (after a break from a loop)
//
// The order holds except while a batch is replaced or dropped. A loop, which reads
// without the lock, may see that moment: it compares handed with the records that it
// holds, and cuts says when to get them again.
type delivery struct {
	cursor atomic.Uint64
	cuts   atomic.Uint64 // how often anything but a fetch changed Records; a loop that sees a new number reads them again

	// Guarded by Consumer.mu.
	Fetched     // the result of the last Fetch
	noted   int // how many of its records the progress covers
}

func pack(done, handed int) uint64 { return uint64(done)<<32 | uint64(handed) }

func unpack(cursor uint64) (done, handed int) { return int(cursor >> 32), int(uint32(cursor)) }

// handed returns how many records were handed out.
func (d *delivery) handed() int { return int(uint32(d.cursor.Load())) }

// advance marks what was handed out as done, and hands out one record more. It does
// neither if the cursor has moved since it was at.
func (d *delivery) advance(at uint64) bool {
	_, handed := unpack(at)
	return d.cursor.CompareAndSwap(at, pack(handed, handed+1))
}

// settle marks what was handed out as done. If it returns false, the cursor has moved
// meanwhile, because a loop has asked for its next record: so all but that one is
// done.
func (d *delivery) settle() bool {
	at := d.cursor.Load()
	_, handed := unpack(at)
	return d.cursor.CompareAndSwap(at, pack(handed, handed))
}

// handBack makes the last n records that were handed out be handed out again, as far
// as they are not done.
func (d *delivery) handBack(n int) {
	at := d.cursor.Load()
	done, handed := unpack(at)
	d.cursor.CompareAndSwap(at, pack(done, max(handed-n, done)))
}

// news returns how far the batch is done, if that is further than at the last call.
// The caller holds Consumer.mu.
func (d *delivery) news() (done Offset, ok bool) {
	n, _ := unpack(d.cursor.Load())
	if n <= d.noted || n > len(d.Records) {
		return Offset{}, false
	}
	d.noted = n
	if n < len(d.Records) {
		return Offset{Offset: d.Records[n].Offset, LeaderEpoch: d.Records[n-1].LeaderEpoch}, true
	}
	return Offset{Offset: d.Next, LeaderEpoch: d.LeaderEpoch}, true
}

// replace begins to deliver another batch. The caller holds Consumer.mu.
func (d *delivery) replace(f Fetched) {
	d.Fetched, d.noted = f, 0
	d.cursor.Store(0)
}

// drop ends the delivery of a batch. The caller holds Consumer.mu.
func (d *delivery) drop() {
	d.Records, d.noted = nil, 0
	d.cursor.Store(0)
}

// position returns where the next record of a partition stands, if the batch has it.
// The caller holds Consumer.mu.
func (d *delivery) position(tp record.TopicPartition) (at record.Position, ok bool) {
	if n := d.handed(); tp == d.TopicPartition && n < len(d.Records) {
		return d.Records[n].Position(), true
	}
	return record.Position{}, false
}

// cut ends the batch before its next record, which will be fetched again. The caller
// holds Consumer.mu.
func (d *delivery) cut() {
	n := d.handed()
	d.Next, d.Records = d.Records[n].Offset, d.Records[:n]
	d.cuts.Add(1)
}
