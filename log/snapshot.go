package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
)

// snapshotSuffix ends the name of a file with the producers at an offset. The name
// begins with the offset in twenty digits.
const snapshotSuffix = ".snapshot"

// Layout of a snapshot, Kafka's: docs/format.md has the fields.
const (
	snapshotVersion   = 1
	snapshotHeaderLen = 2 + 4 + 4
	snapshotEntryLen  = 8 + 2 + 4 + 8 + 4 + 8 + 4 + 8

	// maxSnapshotFile bounds the size of a snapshot that is read: more than a million
	// producers.
	maxSnapshotFile = 64 << 20
)

// snapshots is what the writer knows of the snapshot files. Two of them are kept:
// the one that each of the checkpoint's slots names, because a torn write of one
// slot leaves the other.
type snapshots struct {
	at      int64    // the offset of the newest one; -1 for none
	stale   bool     // the producers differ from the newest one's
	present []int64  // the offsets of all files
	slots   [2]int64 // the offsets that the checkpoint's slots name, or -1
}

func newSnapshots() snapshots { return snapshots{at: -1, slots: [2]int64{-1, -1}} }

// snapshotPath returns the path of the snapshot at an offset.
func (cfg *Config) snapshotPath(offset int64) string {
	return filepath.Join(cfg.Dir, fmt.Sprintf("%020d%s", offset, snapshotSuffix))
}

// encode writes the producers as Kafka's snapshot has them: each with its last
// batch alone.
func (ps producers) encode() []byte {
	b := make([]byte, snapshotHeaderLen, snapshotHeaderLen+len(ps)*snapshotEntryLen)
	binary.BigEndian.PutUint16(b, snapshotVersion)
	binary.BigEndian.PutUint32(b[6:], uint32(len(ps)))
	for _, id := range slices.Sorted(maps.Keys(ps)) {
		p := ps[id]
		last := p.Last()
		b = binary.BigEndian.AppendUint64(b, uint64(p.ID))
		b = binary.BigEndian.AppendUint16(b, uint16(p.Epoch))
		b = binary.BigEndian.AppendUint32(b, uint32(last.LastSequence))
		b = binary.BigEndian.AppendUint64(b, uint64(last.LastOffset))
		b = binary.BigEndian.AppendUint32(b, uint32(last.LastOffset-last.FirstOffset))
		b = binary.BigEndian.AppendUint64(b, uint64(p.Timestamp))
		b = binary.BigEndian.AppendUint32(b, uint32(p.CoordinatorEpoch))
		b = binary.BigEndian.AppendUint64(b, uint64(p.TxnFirst))
	}
	binary.BigEndian.PutUint32(b[2:], crc32.Checksum(b[6:], castagnoli))
	return b
}

// decodeProducers decodes a snapshot. ok is false if the bytes are not a snapshot of
// a log that ends at end.
func decodeProducers(b []byte, end int64) (ps producers, ok bool) {
	if len(b) < snapshotHeaderLen || binary.BigEndian.Uint16(b) != snapshotVersion ||
		crc32.Checksum(b[6:], castagnoli) != binary.BigEndian.Uint32(b[2:]) {
		return nil, false
	}
	n := int64(binary.BigEndian.Uint32(b[6:]))
	b = b[snapshotHeaderLen:]
	if n*snapshotEntryLen != int64(len(b)) {
		return nil, false
	}
	ps = make(producers, n)
	for ; len(b) > 0; b = b[snapshotEntryLen:] {
		p := &Producer{
			ID: int64(binary.BigEndian.Uint64(b)), Epoch: int16(binary.BigEndian.Uint16(b[8:])),
			Timestamp: int64(binary.BigEndian.Uint64(b[26:])), n: 1,
			CoordinatorEpoch: int32(binary.BigEndian.Uint32(b[34:])), TxnFirst: int64(binary.BigEndian.Uint64(b[38:])),
		}
		last := ProducerBatch{LastSequence: int32(binary.BigEndian.Uint32(b[10:])), LastOffset: int64(binary.BigEndian.Uint64(b[14:]))}
		delta := int32(binary.BigEndian.Uint32(b[22:]))
		last.FirstOffset = last.LastOffset - int64(delta)
		last.FirstSequence = NextSequence(last.LastSequence, -delta)
		if p.ID < 0 || p.Epoch < 0 || p.CoordinatorEpoch < -1 || p.TxnFirst < -1 || p.TxnFirst >= end || ps[p.ID] != nil {
			return nil, false
		}
		ps[p.ID] = p
		if last.LastSequence == record.NoSequence && last.LastOffset == -1 && delta == 0 { // it has only ended a transaction
			p.n = 0
			continue
		}
		if last.LastSequence < 0 || delta < 0 || last.FirstOffset < 0 || last.LastOffset >= end {
			return nil, false
		}
		p.recent[0] = last
	}
	return ps, true
}

// fileProducers writes a snapshot of the producers at the log's end, unless it
// exists or there are no producers.
func (l *Log) fileProducers() error {
	s := &l.snapshots
	end := l.end.Load()
	if s.at == end && !s.stale {
		return nil
	}
	if len(l.producers) == 0 {
		s.at, s.stale = -1, false
		return nil
	}
	if err := l.writeSnapshot(end, l.producers); err != nil {
		return err
	}
	s.at, s.stale = end, false
	return nil
}

// writeSnapshot writes the file of the producers at an offset.
func (l *Log) writeSnapshot(offset int64, ps producers) error {
	if err := vfs.WriteFile(l.cfg.FS, l.cfg.snapshotPath(offset), ps.encode()); err != nil {
		return err
	}
	if !slices.Contains(l.snapshots.present, offset) {
		l.snapshots.present = append(l.snapshots.present, offset)
	}
	return nil
}

// removeSnapshots removes the snapshots that neither slot of the checkpoint names,
// after a checkpoint of this sequence was written, which names the newest one. A
// file that cannot be removed does no harm, and is tried again.
func (l *Log) removeSnapshots(sequence uint64) {
	s := &l.snapshots
	s.slots[sequence%2] = s.at
	s.present = slices.DeleteFunc(s.present, func(offset int64) bool {
		return !slices.Contains(s.slots[:], offset) && l.cfg.FS.Remove(l.cfg.snapshotPath(offset)) == nil
	})
}

// producersAt returns the producers as they were at an offset before the end, for a
// truncation, and writes their snapshot: the newest earlier one, with the batches behind
// it. Nothing else changes, so the disk may be full.
func (l *Log) producersAt(segments []*segment, end int64) (producers, error) {
	ps, from := producers{}, int64(-1)
	present := slices.Sorted(slices.Values(l.snapshots.present))
	for _, offset := range slices.Backward(present) {
		if offset > end {
			continue
		}
		found, err := l.readSnapshot(offset)
		if err != nil {
			return nil, err
		}
		if found != nil {
			ps, from = found, offset
			break
		}
	}
	for _, s := range segments {
		if err := l.replayProducers(ps, s, from, end); err != nil {
			return nil, err
		}
	}
	if len(ps) == 0 || from == end {
		return ps, nil
	}
	return ps, l.writeSnapshot(end, ps)
}

// restoreProducers makes the producers at the log's new end, whose snapshot is there,
// those of the log. It removes later snapshots: other batches will get these offsets.
func (l *Log) restoreProducers(ps producers) error {
	s, end := &l.snapshots, l.end.Load()
	for _, offset := range s.present {
		if offset <= end {
			continue
		}
		if err := l.cfg.FS.Remove(l.cfg.snapshotPath(offset)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	s.present = slices.DeleteFunc(s.present, func(offset int64) bool { return offset > end })
	s.at, s.stale = end, false
	if len(ps) == 0 {
		s.at = -1
	}
	l.producers = ps
	l.transactions.reset(ps, end)
	return nil
}

// readSnapshot returns the producers at an offset, or nil if there is no valid
// snapshot.
func (l *Log) readSnapshot(offset int64) (producers, error) {
	path := l.cfg.snapshotPath(offset)
	e, err := l.cfg.FS.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && e.Size > maxSnapshotFile {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b, err := vfs.ReadFile(l.cfg.FS, path, maxSnapshotFile)
	if err != nil {
		return nil, err
	}
	ps, ok := decodeProducers(b, offset)
	if !ok {
		return nil, nil
	}
	return ps, nil
}

// replayProducers folds a segment's batches from one offset to before another into
// producers, up to the first flaw.
func (l *Log) replayProducers(ps producers, s *segment, from, end int64) error {
	h, err := s.open()
	if err != nil {
		return err
	}
	defer h.release()
	size := s.size.Load()
	pos, base := int64(0), s.base
	if from > base {
		if pos, base, err = l.locate(s, h, from, size); err != nil {
			return err
		}
	}
	sc := newScanner(h, pos, size, base, false)
	for sc.next() && sc.header.BaseOffset < end {
		if sc.header.BaseOffset >= from {
			ps.fold(&sc.header, sc.control())
		}
	}
	return sc.err
}
