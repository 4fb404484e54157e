package partition

import (
	"errors"
	"math"
	"runtime"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
)

const (
	// inlineRounds is how often a caller takes what others have queued before a
	// goroutine goes on.
	inlineRounds = 4

	// gatherYields is how often the writer yields before it takes the round that
	// an fsync will serve. A producer whose batch the last fsync committed needs
	// that time to wake up, to send again, and to fill a batch by yielding itself.
	// Fewer yields mean smaller rounds, and one fsync for fewer batches.
	gatherYields = 8

	// joinBytes is up to where batches that wait together are copied into one
	// write; beyond it the copy costs more than another write.
	joinBytes = 64 << 10
)

// A Completion receives the outcome of one append: the offset of the batch's
// first record, or the error that kept it out of the log.
//
// Appended is called once, in the order of the appends, by the partition's
// writer. It must not block; it may append.
type Completion interface{ Appended(base int64, err error) }

// pending is an append that waits for the writer, or a task.
type pending struct {
	batch   []byte
	recycle log.Recycler
	done    Completion
	base    int64
	err     error

	// task, unless nil, takes the place of a batch. The writer calls it in its turn,
	// with the error that keeps the partition from being written, or nil. A task must
	// handle that error: it is called in either case, because a caller waits for it.
	task func(refused error)

	flush bool // in the place of a batch: everything before it is to be synced
	count int32
	kind  kind // of its batch, once it was checked

	own     bool  // the caller, who may wait for the disk, takes the writer's role if it is free
	inEpoch bool  // only in this leader epoch; see AppendIn
	epoch   int32 // its number

	condition record.Condition // what AppendIf demands

	stored bool // Store was called: the batch is stamped, and its group has decided on it

	moves bool  // in the place of a batch: the logs of a group are to begin at to; see moveStart
	to    int64 // -1: at the high watermark
}

// kind is what a batch is to transactions.
type kind int8

const (
	kindOther  kind = iota
	kindOpen        // records of a transaction: they need not be durable before its Flush
	kindMarker      // which is written again after a crash, if it is lost
)

// kindOf returns the kind of a batch.
func kindOf(h *record.BatchHeader) kind {
	switch {
	case h.ProducerID == record.NoProducerID || !h.Transactional():
		return kindOther
	case h.Control():
		return kindMarker
	}
	return kindOpen
}

// Append appends a whole batch, whose ownership passes to the partition, and
// calls done once the batch is committed. It does not wait for others. Without
// Fsync, on an idle partition, it writes the batch itself and calls done before it
// returns.
//
// Append stamps the batch with its offsets, the leader epoch, and, if the topic
// uses append time, the time. It does not verify the checksum. recycle, unless
// nil, gets the batch back once no reader uses it, or when it is refused:
// fault.Closed, fault.RecordTooLarge, fault.InvalidRecord, fault.InvalidTimestamp,
// fault.DiskFull, fault.Storage.
//
// A marker, which ends the transaction of a producer, must have a later epoch than the
// transaction's batches, so that none of them can come after it: fault.InvalidProducerEpoch.
// One that is there already is not appended again, and its offset is -1. One of an earlier
// coordinator than the last marker's is fault.CoordinatorFenced.
//
// A batch with a producer ID must be the producer's first in this partition, or
// continue the sequence of its last one. A batch that repeats one of the last five
// is not appended again: done gets the offset that it has. Any other is refused:
// fault.OutOfOrderSequence, fault.DuplicateSequence, fault.InvalidProducerEpoch,
// fault.UnknownProducer.
//
// The records of a transaction are not synced by themselves, and not visible before that:
// done is called once they are written. The end of their transaction calls Flush. Its marker
// is not synced either, and is visible at once if all that it comes behind is durable: the
// coordinator writes it again after a crash, before anything else. See the package's
// documentation.
//
// In a replica, Append proposes the batch to the group; see Lead. The batch is
// committed when a majority has it, and recycle gets it back only when it is refused. fault.NotLeader where the replica does not lead;
// fault.UnknownOutcome where it stopped leading before the batch was committed.
func (p *Partition) Append(batch []byte, recycle log.Recycler, done Completion) {
	a := pending{batch: batch, recycle: recycle, done: done}
	if p.replica != nil {
		p.replica.propose(a)
		return
	}
	p.enqueue(a)
}

// enqueue queues an append or a task. If there is no writer, the caller becomes
// it, or starts a goroutine that does; see the package's documentation.
func (p *Partition) enqueue(a pending) {
	fsync := p.settings.Load().Fsync
	p.mu.Lock()
	if p.writing {
		p.queue = append(p.queue, a)
		p.mu.Unlock()
		return
	}
	p.writing = true
	if fsync && p.closed == nil && !a.own {
		p.queue = append(p.queue, a)
		p.mu.Unlock()
		go p.write()
		return
	}
	p.startRoundLocked(append(p.round[:0], a))
	p.mu.Unlock()
	for range inlineRounds {
		p.serveRound()
		if !p.nextRound() {
			return
		}
	}
	go p.write()
}

// write is the writer's goroutine. It begins with the round that an inline writer
// left, which is empty if there was none.
func (p *Partition) write() {
	p.serveRound()
	for {
		if p.settings.Load().Fsync {
			for range gatherYields {
				runtime.Gosched()
			}
		}
		if !p.nextRound() {
			return
		}
		p.serveRound()
	}
}

// nextRound makes the queue the next round. If the queue is empty, it gives up the
// writer's role and returns false. Both happen under the lock under which enqueue
// reads writing, so an append is either in this round or finds the role free.
func (p *Partition) nextRound() bool {
	clear(p.round)
	p.round = p.round[:0]
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 {
		p.writing = false
		p.restLocked()
		return false
	}
	emptied := p.round // the two slices swap roles, so that neither is allocated again
	p.startRoundLocked(p.queue)
	p.queue = emptied
	return true
}

// startRoundLocked makes these appends the round. It copies closed into the
// writer's own field, so that the whole round has the same outcome and check needs
// no lock.
func (p *Partition) startRoundLocked(round []pending) {
	p.round = round
	if p.closed != nil {
		p.failed = p.closed
	}
}

// Flush calls done once everything that was written before the call is as durable as the
// topic asks for, and visible; or with the error that keeps it from that. It does not wait.
func (p *Partition) Flush(done Completion) {
	if p.replica != nil {
		done.Appended(-1, nil) // what a replica has acknowledged is committed
		return
	}
	p.enqueue(pending{flush: true, done: done})
}

// FlushAwait is Flush, and waits.
func (p *Partition) FlushAwait() error {
	told := make(outcome, 1)
	p.Flush(told)
	return <-told
}

// serveRound writes the round, commits it, and calls its Completions. They run
// last and in order: a Completion may append, and its batch belongs to a later
// round.
func (p *Partition) serveRound() {
	written := false
	for i := 0; i < len(p.round); {
		if a := &p.round[i]; a.task != nil {
			a.task(p.failed)
			i++
			continue
		} else if a.flush {
			a.base, a.err = -1, p.failed
			p.unsynced = p.unsynced || a.err == nil && p.settings.Load().Fsync && p.log.SyncedOffset() < p.log.EndOffset()
			if a.err == nil && !p.unsynced { // beginning a segment has synced it
				p.covered = p.log.EndOffset()
			}
			written = written || a.err == nil
			i++
			continue
		}
		var n int
		var ok bool
		if p.round[i].stored {
			n, ok = p.storeRun(p.round[i:])
		} else {
			n, ok = p.appendRun(p.round[i:])
		}
		written = written || ok
		i += n
	}
	if written {
		p.commitRound()
	}
	if p.keys.ready.Load() {
		p.keys.keepUp()
	}
	for i := range p.round {
		if a := &p.round[i]; a.done != nil {
			a.done.Appended(a.base, a.err)
		}
	}
}

// commitRound syncs what was written if the topic asks for it, moves the high
// watermark, and wakes readers. A failed sync leaves the disk's content unknown:
// every batch of the round fails, also those that may be on disk, and the
// partition accepts no more.
func (p *Partition) commitRound() {
	fsync := p.settings.Load().Fsync
	if p.replica == nil && fsync && !p.unsynced { // only records of open transactions were written, and markers
		if p.covered > p.high.Load() {
			p.advance(p.covered)
		}
		return
	}
	if fsync {
		if err := p.log.Sync(); err != nil {
			p.failed = p.storage(err)
			for i := range p.round {
				if a := &p.round[i]; a.err == nil {
					a.base, a.err = -1, p.failed
				}
			}
			return
		}
	}
	if p.replica != nil {
		p.replica.settle()
		return
	}
	p.unsynced, p.covered = false, p.log.EndOffset()
	p.advance(p.covered)
}

// cover notes that a batch was written. It needs a sync, unless it is one of a transaction,
// or a marker with nothing before it that needs one.
func (p *Partition) cover(a *pending) {
	switch {
	case a.kind == kindMarker && p.covered == a.base:
		p.covered += int64(a.count)
	case a.kind != kindOpen:
		p.unsynced = true
	}
}

// appendRun appends the first of these batches, together with the ones behind it
// that fit into one write. It returns how many of them it handled, refused ones
// included, and whether it wrote any.
//
// The run ends at a task, which must see the log as of its turn; at joinBytes; at a
// batch with a condition; and at one whose sequence can only be judged once the batches
// before it are in the log. The caller continues with the rest.
func (p *Partition) appendRun(queued []pending) (n int, written bool) {
	first, bytes, fit := 0, 0, 0
	next := p.log.EndOffset()
	p.staged = p.staged[:0]
	for n < len(queued) && queued[n].task == nil && !queued[n].flush {
		a := &queued[n]
		if fit > 0 && (bytes+len(a.batch) > joinBytes || a.condition.Demand != record.Anything) {
			break
		}
		h, err := p.check(a.batch, next)
		state, base := sequenceFollows, int64(-1)
		if err == nil && h.ProducerID != record.NoProducerID {
			state, base, err = p.checkSequence(&h, a.batch)
		}
		if err == nil && state == sequenceUnclear {
			break // judge it again when the run before it is in the log
		}
		if err == nil && state == sequenceFollows && a.condition.Demand != record.Anything {
			if err = p.demand(a, next, p.epoch.Load(), nil); err != nil {
				p.staged = p.staged[:0] // it begins the run
			}
		}
		n++
		if err == errNotReady {
			p.later(*a)
			a.done, a.batch, a.err = nil, nil, err // it is no longer of this round
			continue
		}
		if err != nil {
			a.refuse(err)
			continue
		}
		if state == sequenceWritten {
			a.base, a.err = base, nil
			a.giveBack()
			continue
		}
		p.stamp(a.batch, next)
		a.base, a.err, a.count, a.kind = next, nil, h.Count, kindOf(&h)
		next += int64(h.Count)
		if fit == 0 {
			first = n - 1
		}
		fit++
		bytes += len(a.batch)
	}
	if fit == 0 {
		return n, false
	}
	var err error
	if fit == 1 {
		err = p.log.Append(queued[first].batch, queued[first].recycle)
	} else {
		err = p.log.Append(join(queued[:n], bytes), nil)
	}
	if err != nil {
		err = p.storage(err)
	}
	for i := range queued[:n] {
		switch a := &queued[i]; {
		case a.err != nil || a.batch == nil: // refused, or a duplicate: not in the write
		case err != nil:
			a.refuse(err)
		default:
			p.cover(a)
			if fit > 1 {
				a.giveBack() // it was copied
			}
		}
	}
	if p.log.Producers() > p.crowded {
		p.forgetProducers()
	}
	return n, err == nil
}

// join copies the batches that were not refused into one slice.
func join(queued []pending, bytes int) []byte {
	joined := make([]byte, 0, bytes)
	for i := range queued {
		if queued[i].err == nil {
			joined = append(joined, queued[i].batch...)
		}
	}
	return joined
}

// refuse sets err as the append's outcome and returns the batch to its owner.
func (a *pending) refuse(err error) {
	a.base, a.err = -1, err
	a.giveBack()
}

// giveBack returns the batch to its owner.
func (a *pending) giveBack() {
	if a.recycle != nil {
		a.recycle.Recycle(a.batch)
	}
	a.batch = nil
}

// check returns the header of a batch that may be appended at offset base, or why
// it may not.
func (p *Partition) check(batch []byte, base int64) (record.BatchHeader, error) {
	if p.failed != nil {
		return record.BatchHeader{}, p.failed
	}
	h, err := p.examine(batch)
	if err == nil && base > math.MaxInt64-int64(h.Count) {
		err = p.fault(fault.InvalidRecord, -1).Detailf("the partition has no more offsets")
	}
	return h, err
}

// Check returns what is wrong with a batch, whatever the partition holds. It
// refuses more than Append does: attributes that only brokers set, such as those of
// control records, which no consumer would see; and, in a compacted topic, records
// without a key, which compaction would remove.
func (p *Rules) Check(batch []byte) error {
	h, err := p.examine(batch)
	if err == nil && h.Attributes&(record.AttrControl|record.AttrTransactional|record.AttrDeleteHorizon) != 0 {
		err = p.fault(fault.InvalidRecord, -1).Detailf("attributes %#x are not a producer's to set", h.Attributes)
	}
	settings := p.settings.Load()
	if err == nil && settings.After > 0 {
		err = p.CheckTime(h.MaxTimestamp)
	}
	if err == nil && (settings.Keyed || settings.Before > 0) {
		err = p.checkRecords(record.Batch{BatchHeader: h, Bytes: batch}, settings)
	}
	return err
}

// CheckSize returns an error for a batch of more bytes than the topic allows.
func (p *Rules) CheckSize(bytes int) error {
	if limit := p.settings.Load().MaxMessageBytes; limit > 0 && bytes > limit {
		return p.fault(fault.RecordTooLarge, -1).Detailf("%d bytes, at most %d are allowed", bytes, limit)
	}
	return nil
}

// CheckTime returns an error for a record's time, in milliseconds, that lies too
// far from the clock. A topic that uses append time accepts any.
func (p *Rules) CheckTime(ms int64) error {
	s := p.settings.Load()
	if s.AppendTime || s.Before <= 0 && s.After <= 0 {
		return nil
	}
	now := time.Now().UnixMilli()
	switch {
	case s.Before > 0 && ms < now-s.Before.Milliseconds():
		return p.fault(fault.InvalidTimestamp, -1).Detailf("%s is more than message.timestamp.before.max.ms, %v, ago", utc(ms), s.Before)
	case s.After > 0 && ms > now && ms-now > s.After.Milliseconds():
		return p.fault(fault.InvalidTimestamp, -1).Detailf("%s is more than message.timestamp.after.max.ms, %v, away", utc(ms), s.After)
	}
	return nil
}

func utc(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }

// examine parses a batch's header and checks it alone, without the log.
func (p *Rules) examine(batch []byte) (record.BatchHeader, error) {
	if err := p.CheckSize(len(batch)); err != nil {
		return record.BatchHeader{}, err
	}
	h, err := record.ParseHeader(batch)
	switch {
	case err != nil:
		err = p.fault(fault.InvalidRecord, -1).Because(err)
	case h.Compression() > record.Zstd:
		err = p.fault(fault.UnsupportedCompression, -1).Detailf("%s", h.Compression())
	case h.Size() != len(batch):
		err = p.fault(fault.InvalidRecord, -1).Detailf("the batch says that it has %d bytes, here are %d", h.Size(), len(batch))
	case h.Count == 0 || h.Count != h.LastOffsetDelta+1:
		err = p.fault(fault.InvalidRecord, -1).Detailf("a new batch has one record per offset, this one has %d for %d", h.Count, h.LastOffsetDelta+1)
	case h.MaxTimestamp < record.NoTimestamp:
		err = p.fault(fault.InvalidTimestamp, -1).Detailf("%d ms", h.MaxTimestamp)
	case h.ProducerID != record.NoProducerID && (h.ProducerID < 0 || h.ProducerEpoch < 0 || h.BaseSequence < 0 && !h.Control()):
		err = p.fault(fault.InvalidRecord, -1).Detailf("producer %d with epoch %d and sequence %d", h.ProducerID, h.ProducerEpoch, h.BaseSequence)
	}
	return h, err
}

// checkRecords returns an error for the first record that lacks a required key or
// is too old. The header doesn't show either: it has only the latest time.
func (p *Rules) checkRecords(b record.Batch, settings *Settings) error {
	it, err := b.Records(p.codec)
	if err != nil {
		return p.fault(fault.CodeOf(err), -1).Because(err)
	}
	var r record.Record
	for n := 0; it.Next(&r); n++ {
		if settings.Before > 0 {
			if err := p.CheckTime(r.Timestamp.UnixMilli()); err != nil {
				return err
			}
		}
		if settings.Keyed && r.Key == nil {
			return p.fault(fault.InvalidRecord, -1).Detailf("record %d of %d has no key, and the topic is compacted by key", n, b.Count)
		}
	}
	if err := it.Err(); err != nil {
		return p.fault(fault.InvalidRecord, -1).Because(err)
	}
	return nil
}

// stamp writes the leader's fields into a batch that begins at offset base.
func (p *Partition) stamp(batch []byte, base int64) { p.stampEpoch(batch, base, p.epoch.Load()) }

// stampEpoch is stamp with an epoch. Offset and epoch lie outside the checksum;
// StampAppendTime computes the checksum again, because the time lies under it.
func (p *Partition) stampEpoch(batch []byte, base int64, epoch int32) {
	if p.settings.Load().AppendTime {
		record.StampAppendTime(batch, time.Now().UnixMilli())
	}
	record.Stamp(batch, base, epoch)
}

// storage adds the partition's name to an error of the log that has none.
func (p *Partition) storage(err error) error {
	var named *fault.Error
	if errors.As(err, &named) && named.Topic != "" {
		return err
	}
	return p.fault(fault.Storage, -1).Because(err)
}

// AppendAwait appends a batch and waits until it is committed or refused. The
// partition owns the batch's bytes from then on.
func (p *Partition) AppendAwait(batch []byte) error {
	told := make(outcome, 1)
	p.Append(batch, nil, told)
	return <-told
}

// AppendIn is AppendAwait in one leader epoch, that of Leadership. In any other one it
// is fault.FencedLeaderEpoch: between two leaderships here, another node may have
// appended what the batch was made without.
func (p *Partition) AppendIn(epoch int32, batch []byte) error {
	told := make(outcome, 1)
	switch {
	case p.replica != nil:
		p.replica.propose(pending{batch: batch, done: told, inEpoch: true, epoch: epoch})
	case epoch != p.epoch.Load():
		return p.fenced(epoch, p.epoch.Load())
	default:
		p.Append(batch, nil, told)
	}
	return <-told
}

// fenced is the error of what is only for another leader epoch than the present one.
func (p *Partition) fenced(epoch, now int32) error {
	return p.fault(fault.FencedLeaderEpoch, -1).Detailf("what was asked is for epoch %d, and it is %d", epoch, now)
}

// outcome is a Completion that one goroutine waits for.
type outcome chan error

// Appended implements Completion.
func (o outcome) Appended(_ int64, err error) { o <- err }
