package replica

import (
	"github.com/runnel-go/runnel/record"
)

// ending is where a log ends: its last batch, by all that tells it from others. A log
// that has it has every batch before it, because a leader stamps a batch for an index and
// an offset once in a term, and followers take it behind the one before alone.
type ending struct {
	index  uint64
	offset int64 // after the batch
	term   uint64
	sum    uint32 // the batch's checksum; 0 where the log has no batch
}

// ending is where a log ends that begins at s and has no batch.
func (s *Start) ending() ending { return ending{index: s.Index, offset: s.Offset, term: s.Term} }

// follow takes note of a batch behind the last one.
func (d *Disk) follow(h *record.BatchHeader) {
	var before uint32
	if d.log.BeginsSegment(h.BaseOffset) {
		before = d.end.sum
	}
	d.end = ending{d.end.index + 1, h.NextOffset(), uint64(h.LeaderEpoch), h.CRC}
	d.marks.add(mark{d.end.index, d.end.term, h.BaseOffset, before}, h.Size())
}

// cut drops the batches of the log from an index on, which begins at an offset.
func (d *Disk) cut(index uint64, offset int64) error {
	end := d.base.start.ending()
	if index > end.index+1 {
		s, err := d.read(offset-1, 1)
		if err != nil {
			return err
		}
		h, err := record.ParseHeader(s.Bytes)
		if err != nil || h.NextOffset() != offset {
			return d.place().Detailf("the log was to be cut at offset %d, where no batch begins", offset).Because(err)
		}
		end = ending{index - 1, offset, uint64(h.LeaderEpoch), h.CRC}
	}
	if err := d.unsync(end); err != nil {
		return d.failed(err)
	}
	if err := d.log.Truncate(offset); err != nil {
		return err
	}
	d.marks.cut(index)
	d.end = end
	return nil
}

// synced returns an ending that the log has had durably.
func (d *Disk) synced() ending {
	if d.cfg.Fsync && d.log.SyncedOffset() < d.log.EndOffset() {
		return d.state.synced
	}
	return d.end
}

// attest puts on record what the log has, as soon as it may count on it: what is damaged
// below is then told from what a crash has torn. It is not synced, so it costs little. A
// crash of the process leaves it, and one of the machine may bring an earlier one back.
func (d *Disk) attest() error {
	if d.synced() == d.state.synced {
		return nil
	}
	d.state.synced = d.synced()
	d.attested.Store(new(d.state.synced))
	return d.state.write()
}

// unsync takes back, durably, that the log has more than up to an ending. It comes
// before the log is cut: what is on record as synced and not there counts as lost.
func (d *Disk) unsync(to ending) error {
	if d.state.synced.index <= to.index {
		return nil
	}
	d.state.synced = to
	if err := d.state.write(); err != nil {
		return err
	}
	return d.state.sync()
}
