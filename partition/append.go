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

	// gatherYields is how often the writer lets others run before it takes what
	// an fsync is to serve. Whoever the last one served must have the time to be
	// woken, to send again, and to gather a batch by yielding.
	gatherYields = 8

	// joinBytes is up to where batches that wait together are copied into one
	// write; beyond it the copy costs more than another write.
	joinBytes = 64 << 10
)

// A Completion is told the outcome of one append: the offset of the batch's
// first record, or why there is none.
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

	// task runs as the writer, in its turn; refused says why it must not.
	task func(refused error)
}

// Append appends a whole batch, whose ownership passes to the partition, and
// tells done once it counts. It does not wait for others; where a record counts
// without being on disk, and nobody else writes, it writes the batch itself and
// done has been told when it returns.
//
// The batch gets its offsets, the leader epoch, and a time where the topic says
// so; its checksum is taken on trust. recycle, unless nil, gets the batch back
// once nobody reads it any more, or when it is refused: fault.Closed,
// fault.RecordTooLarge, fault.InvalidRecord, fault.InvalidTimestamp,
// fault.DiskFull, fault.Storage.
//
// A batch that bears a producer ID must follow on from the last one of that
// producer here, or be the first. One of its last five is not appended again:
// done is told where it stands. Others are refused: fault.OutOfOrderSequence,
// fault.DuplicateSequence, fault.InvalidProducerEpoch, fault.UnknownProducer.
func (p *Partition) Append(batch []byte, recycle log.Recycler, done Completion) {
	p.enqueue(pending{batch: batch, recycle: recycle, done: done})
}

func (p *Partition) enqueue(a pending) {
	fsync := p.settings.Load().Fsync
	p.mu.Lock()
	if p.writing {
		p.queue = append(p.queue, a)
		p.mu.Unlock()
		return
	}
	p.writing = true
	if fsync && p.closed == nil {
		p.queue = append(p.queue, a)
		p.mu.Unlock()
		go p.write()
		return
	}
	p.begin(append(p.round[:0], a))
	p.mu.Unlock()
	for range inlineRounds {
		p.serve()
		if !p.take() {
			return
		}
	}
	go p.write()
}

// write is the writer as a goroutine, which may have a round already.
func (p *Partition) write() {
	p.serve()
	for {
		if p.settings.Load().Fsync {
			for range gatherYields {
				runtime.Gosched()
			}
		}
		if !p.take() {
			return
		}
		p.serve()
	}
}

// take makes what is queued the next round. With nothing queued it gives the
// writer's role up and returns false.
func (p *Partition) take() bool {
	clear(p.round)
	p.round = p.round[:0]
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 {
		p.writing = false
		if p.idle != nil {
			close(p.idle)
			p.idle = nil
		}
		return false
	}
	emptied := p.round
	p.begin(p.queue)
	p.queue = emptied
	return true
}

// begin makes these appends the round; mu is held.
func (p *Partition) begin(round []pending) {
	p.round = round
	if p.closed != nil {
		p.failed = p.closed
	}
}

// serve writes the round, makes it count, and tells everybody.
func (p *Partition) serve() {
	written := false
	for i := 0; i < len(p.round); {
		if a := &p.round[i]; a.task != nil {
			a.task(p.failed)
			i++
			continue
		}
		n, ok := p.appendRun(p.round[i:])
		written = written || ok
		i += n
	}
	if written {
		p.settle()
	}
	for i := range p.round {
		if a := &p.round[i]; a.done != nil {
			a.done.Appended(a.base, a.err)
		}
	}
}

// settle makes what was written count: it syncs where that is asked for, moves
// the high watermark and wakes readers. After a failed sync nobody knows what is
// on disk, nothing of the round counts, and the partition accepts no more.
func (p *Partition) settle() {
	if p.settings.Load().Fsync {
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
	p.advance(p.log.EndOffset())
}

// appendRun appends the first of these batches, together with those behind it
// that fit into one write. It returns how many it dealt with, and whether
// anything was written.
func (p *Partition) appendRun(queued []pending) (n int, written bool) {
	first, bytes, fit := 0, 0, 0
	next := p.log.EndOffset()
	p.staged = p.staged[:0]
	for n < len(queued) && queued[n].task == nil {
		a := &queued[n]
		if fit > 0 && bytes+len(a.batch) > joinBytes {
			break
		}
		h, err := p.check(a.batch, next)
		state, base := sequenceFollows, int64(-1)
		if err == nil && h.ProducerID != record.NoProducerID {
			state, base, err = p.checkSequence(&h)
		}
		if err == nil && state == sequenceUnclear {
			break // until what is gathered is written
		}
		n++
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
		a.base, a.err = next, nil
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
		case a.err != nil || a.batch == nil: // it was told apart above
		case err != nil:
			a.refuse(err)
		case fit > 1:
			a.giveBack() // it was copied
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

// refuse notes that the batch was not appended.
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

// check says whether a batch may be appended at an offset, and returns its
// header.
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

// Check returns what is wrong with a batch that is about to be appended, whatever
// the partition holds. Beyond what Append refuses, that is what only brokers write,
// such as control records, which nobody would read; and a record without a key where
// the topic is compacted by it: compaction would remove it.
func (p *Partition) Check(batch []byte) error {
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

// CheckSize returns what is wrong with a batch of so many bytes, or nil.
func (p *Partition) CheckSize(bytes int) error {
	if limit := p.settings.Load().MaxMessageBytes; limit > 0 && bytes > limit {
		return p.fault(fault.RecordTooLarge, -1).Detailf("%d bytes, at most %d are allowed", bytes, limit)
	}
	return nil
}

// CheckTime returns what is wrong with a record's time, in milliseconds: that it
// lies too far from the clock. One that will be the time of the append never does.
func (p *Partition) CheckTime(ms int64) error {
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

// examine returns the header of a batch, if it is in order.
func (p *Partition) examine(batch []byte) (record.BatchHeader, error) {
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
	case h.ProducerID != record.NoProducerID && (h.ProducerID < 0 || h.ProducerEpoch < 0 || h.BaseSequence < 0):
		err = p.fault(fault.InvalidRecord, -1).Detailf("producer %d with epoch %d and sequence %d", h.ProducerID, h.ProducerEpoch, h.BaseSequence)
	}
	return h, err
}

// checkRecords looks for a record without a key, where each must have one, and for
// one that is too old.
func (p *Partition) checkRecords(b record.Batch, settings *Settings) error {
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

// stamp writes what the leader decides into a batch that begins at offset base.
// The time lies under the checksum, offset and epoch outside of it.
func (p *Partition) stamp(batch []byte, base int64) {
	if p.settings.Load().AppendTime {
		record.StampAppendTime(batch, time.Now().UnixMilli())
	}
	record.Stamp(batch, base, p.epoch)
}

// storage names the partition in an error of the log, unless the log has.
func (p *Partition) storage(err error) error {
	var named *fault.Error
	if errors.As(err, &named) && named.Topic != "" {
		return err
	}
	return p.fault(fault.Storage, -1).Because(err)
}

// AppendAwait appends a batch, and returns once it counts or why it does not. The
// partition owns its bytes from then on.
func (p *Partition) AppendAwait(batch []byte) error {
	told := make(outcome, 1)
	p.Append(batch, nil, told)
	return <-told
}

// outcome is a Completion that one goroutine waits for.
type outcome chan error

// Appended implements Completion.
func (o outcome) Appended(_ int64, err error) { o <- err }
