package log

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"strings"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
)

// rewriting copies a segment without its damage.
type rewriting struct {
	r   *repair
	s   *segment
	in  vfs.File
	out vfs.File
	pos int64 // in out

	epoch int32 // of the last batch written
	buf   []byte
}

// rewrite copies the batches around the damaged ranges, which are in order, and writes a
// replacement for each range.
func (w *rewriting) rewrite(damage []Finding) error {
	w.epoch = w.epochBefore()
	size := w.s.size.Load()
	if size > 0 {
		in, err := w.r.cfg.FS.OpenFile(w.s.logPath(), os.O_RDONLY)
		if err != nil {
			return err
		}
		defer in.Close()
		w.in = in
	}
	pos := int64(0)
	for _, d := range damage {
		if err := w.copy(pos, d.Pos); err != nil {
			return err
		}
		if err := w.replaceRange(d); err != nil {
			return err
		}
		pos = d.End
	}
	if n := w.r.n; n.tailAt >= 0 && w.s == n.segments[len(n.segments)-1] {
		size = n.tailAt // the rest is a torn tail, or zeros
	}
	return w.copy(pos, size)
}

// epochBefore returns the leader epoch at the segment's beginning, or 0 if it is
// unknown.
func (w *rewriting) epochBefore() int32 { return max(0, epochAt(w.r.n.epochs, w.s.base)) }

// copy copies sound batches.
func (w *rewriting) copy(from, to int64) error {
	sc := newScanner(w.in, from, to, -1, false)
	for sc.next() { // only for the epoch of the last one
		w.epoch = sc.header.LeaderEpoch
	}
	if sc.err != nil {
		return sc.err
	}
	if sc.bad != "" {
		return fmt.Errorf("%s at byte %d: %s", w.s.logPath(), sc.pos, sc.bad)
	}
	return w.copyBytes(from, to)
}

// copyBytes copies bytes without looking at them.
func (w *rewriting) copyBytes(from, to int64) error {
	if w.buf == nil {
		w.buf = make([]byte, scanBytes)
	}
	for from < to {
		b := w.buf[:min(scanBytes, to-from)]
		if got, err := w.in.ReadAt(b, from); got < len(b) {
			return err
		}
		if err := w.write(b); err != nil {
			return err
		}
		from += int64(len(b))
		if err := w.r.ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

func (w *rewriting) write(b []byte) error {
	n, err := w.out.WriteAt(b, w.pos)
	w.pos += int64(n)
	return err
}

// replaceRange writes the replacement of a damaged range: the batch itself if only its
// header was damaged and is known, and otherwise batches without records for the
// lost offsets.
func (w *rewriting) replaceRange(d Finding) error {
	if d.header != nil {
		w.epoch = int32(binary.BigEndian.Uint32(d.header[atEpoch:]))
		if err := w.write(d.header); err != nil {
			return err
		}
		return w.copyBytes(d.Pos+record.HeaderLen, d.End)
	}
	for offset := d.Offset; offset < d.Next; {
		delta := min(d.Next-offset-1, math.MaxInt32-1)
		for _, e := range w.r.n.epochs { // a batch has one leader epoch: end before the next begins
			if e.Start > offset {
				delta = min(delta, e.Start-offset-1)
			}
		}
		filler := record.Seal(make([]byte, record.HeaderLen), record.BatchHeader{
			BaseOffset: offset, LeaderEpoch: w.epochOf(offset), LastOffsetDelta: int32(delta),
			BaseTimestamp: record.NoTimestamp, MaxTimestamp: record.NoTimestamp,
			ProducerID: record.NoProducerID, ProducerEpoch: record.NoProducerEpoch, BaseSequence: record.NoSequence,
		})
		if err := w.write(filler.Bytes); err != nil {
			return err
		}
		w.epoch = filler.LeaderEpoch
		offset = filler.NextOffset()
	}
	return nil
}

// epochOf returns the leader epoch that a batch at an offset should have.
func (w *rewriting) epochOf(offset int64) int32 {
	if w.r.n.believed && offset < w.r.n.last.offset {
		if epoch := epochAt(w.r.n.epochs, offset); epoch != record.NoLeaderEpoch {
			return epoch
		}
	}
	return w.epoch
}

// journal has the steps of a repair. While it is in the directory, the next Repair
// does those that are missing. It is a text file:
//
//	runnel repair 1
//	start <offset>
//	replace <name>       by <name>.repaired
//	cut <name> <size>
//	remove <name>
//	end
type journal struct {
	start    int64
	replaced []string
	cuts     []journalCut
	removed  []string
}

type journalCut struct {
	name string
	size int64
}

func (j *journal) replace(name string)         { j.replaced = append(j.replaced, name) }
func (j *journal) remove(name string)          { j.removed = append(j.removed, name) }
func (j *journal) cut(name string, size int64) { j.cuts = append(j.cuts, journalCut{name, size}) }

// encode encodes the journal.
func (j *journal) encode() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "runnel repair 1\nstart %d\n", j.start)
	for _, name := range j.replaced {
		fmt.Fprintf(&b, "replace %s\n", name)
	}
	for _, c := range j.cuts {
		fmt.Fprintf(&b, "cut %s %d\n", c.name, c.size)
	}
	for _, name := range j.removed {
		fmt.Fprintf(&b, "remove %s\n", name)
	}
	fmt.Fprintf(&b, "end\n")
	return b.Bytes()
}

// decodeJournal decodes a journal. It refuses names that lead out of the directory.
func decodeJournal(b []byte) (j journal, err error) {
	lines := strings.Split(string(b), "\n")
	bad := fault.Newf(fault.CorruptMessage, "the journal of a repair, %s: %.200q", journalName, b)
	if len(lines) < 4 || lines[0] != "runnel repair 1" || lines[len(lines)-2] != "end" {
		return j, bad
	}
	if n, err := fmt.Sscanf(lines[1], "start %d", &j.start); n != 1 || err != nil || j.start < 0 {
		return j, bad
	}
	for _, line := range lines[2 : len(lines)-2] {
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.ContainsAny(fields[1], `/\`) {
			return j, bad
		}
		switch fields[0] {
		case "replace":
			j.replace(fields[1])
		case "remove":
			j.remove(fields[1])
		case "cut":
			var size int64
			if len(fields) != 3 {
				return j, bad
			}
			if n, err := fmt.Sscan(fields[2], &size); n != 1 || err != nil || size < 0 {
				return j, bad
			}
			j.cut(fields[1], size)
		default:
			return j, bad
		}
	}
	return j, nil
}
