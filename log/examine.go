package log

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"math/bits"
	"strings"

	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
)

// Positions of the fields of a batch's header that its checksum does not cover;
// package record draws them.
const (
	atLength = 8
	atEpoch  = 12
	atMagic  = 16
	atSum    = 17
)

// Bounds of an examination.
const (
	longestSearch = 16 << 20 // how far the end of a batch is looked for whose length is damaged
	mostWitnesses = 8        // how many batches behind one are asked for its offset
)

// examiner finds out what became of a batch that is not what must stand at its
// position. Base offset, length, leader epoch and format lie outside a batch's
// checksum, and so does the checksum. A batch of which one of these is damaged is
// proved by the others: its bytes by the checksum, its place by the batches around
// it, which leave no gap.
type examiner struct {
	file  vfs.File
	end   int64 // of the bytes that may be looked at
	base  int64 // the segment's name
	limit int64 // no batch here goes beyond this offset; negative if nobody knows
	next  int64 // the offset that follows at end; negative if nobody knows
	gaps  bool  // offsets may be missing between batches: Kafka's compaction leaves them out

	// The leader epoch that wrote the offsets from the first to before the second, or
	// record.NoLeaderEpoch; and the one of what stands before.
	epochOf func(first, next int64) int32
	since   int32

	buf []byte // of scanners
}

// scanner returns one that uses the examiner's buffer: only the newest may be used.
func (x *examiner) scanner(pos, end int64) *scanner {
	if x.buf == nil {
		x.buf = make([]byte, min(scanBytes, x.end-pos))
	}
	sc := newScanner(x.file, pos, end, -1, true)
	sc.buf = x.buf[:0]
	return sc
}

// diagnosis says what the bytes from pos to end are, where the batch of an offset
// was to begin.
type diagnosis struct {
	pos, end     int64
	offset, next int64 // the offsets that they cover; next is negative if nobody knows

	// header is what the header of the batch must be, if nothing else of it is
	// damaged; then the batch is restored, and fields names what is. Otherwise it is
	// nil and the offsets are lost.
	header []byte
	fields string

	// confirmed says that a sound batch behind it follows on it.
	confirmed bool
}

// known reports whether the log goes on behind what was examined, or at it.
func (d *diagnosis) known() bool { return d.header != nil || d.next >= 0 }

// explain adds to what was found what follows from it.
func (d *diagnosis) explain(found string) string {
	if d.header != nil {
		return found + "; nothing but its " + d.fields + " is damaged"
	}
	return fmt.Sprintf("%s; at byte %d a sound batch of offset %d follows", found, d.end, d.next)
}

// certain reports whether the batch can be restored without anybody's consent.
func (d *diagnosis) certain() bool { return d.header != nil && d.confirmed }

// sighting is a batch of which the checksum holds, or would if a field that it
// does not cover were right.
type sighting struct {
	header record.BatchHeader // as it must be but for base offset and leader epoch, which are as they are
	raw    []byte             // as it is
	pos    int64
}

func (s *sighting) end() int64 { return s.pos + int64(s.header.Size()) }
func (s *sighting) span() int64 {
	return int64(s.header.LastOffsetDelta) + 1
}

// diagnose examines the bytes at pos, which are not the sound batch of the offset
// that must begin there.
func (x *examiner) diagnose(pos, offset int64) (diagnosis, error) {
	d := diagnosis{pos: pos, offset: offset}
	seen, err := x.sight(pos, true)
	if err != nil {
		return d, err
	}
	if seen != nil {
		at, confirmed, ok, err := x.place(seen, offset, true)
		switch {
		case err != nil:
			return d, err
		case ok && at > offset: // what was between is gone
			d.end, d.next = pos, at
			return d, nil
		case ok:
			d.end, d.next, d.confirmed = seen.end(), at+seen.span(), confirmed
			if err := x.restore(seen, &d); err != nil || d.header != nil {
				return d, err
			}
		}
	}
	d.confirmed = false
	d.end, d.next, err = x.follower(pos, offset)
	return d, err
}

// restore gives the diagnosis the header that the batch must have, unless it has
// it.
func (x *examiner) restore(seen *sighting, d *diagnosis) error {
	epoch, err := x.epoch(seen, d.offset)
	if err != nil {
		return err
	}
	b := append([]byte(nil), seen.raw...)
	binary.BigEndian.PutUint32(b[atLength:], uint32(seen.header.Length))
	b[atMagic] = seen.magic()
	binary.BigEndian.PutUint32(b[atSum:], seen.header.CRC)
	record.Stamp(b, d.offset, epoch)
	var fields []string
	for _, f := range []struct {
		name     string
		from, to int
	}{{"base offset", 0, atLength}, {"length", atLength, atEpoch}, {"leader epoch", atEpoch, atMagic}, {"format", atMagic, atSum}, {"checksum", atSum, crcFrom}} {
		if string(b[f.from:f.to]) != string(seen.raw[f.from:f.to]) {
			fields = append(fields, f.name)
		}
	}
	if len(fields) > 0 {
		d.header, d.fields = b, strings.Join(fields, ", ")
	}
	return nil
}

// magic is the format of every batch.
func (s *sighting) magic() byte { return 2 }

// epoch returns the leader epoch that a batch at an offset must have: the known
// one; otherwise its own, if those around it allow it.
func (x *examiner) epoch(seen *sighting, offset int64) (int32, error) {
	if epoch := x.epochOf(offset, offset+seen.span()); epoch != record.NoLeaderEpoch {
		return epoch, nil
	}
	own := seen.header.LeaderEpoch
	if own < x.since {
		return max(0, x.since), nil
	}
	then, err := x.sight(seen.end(), false)
	if err != nil || then == nil || then.header.LeaderEpoch >= own || then.header.LeaderEpoch < x.since {
		return own, err
	}
	return max(0, x.since), nil
}

// sight returns the batch at a position if its checksum proves it, whatever its
// base offset and leader epoch say, or nil. A patient look sees those, too, whose
// format, length or checksum is damaged.
func (x *examiner) sight(pos int64, patient bool) (*sighting, error) {
	raw, err := x.peek(pos)
	if raw == nil || err != nil {
		return nil, err
	}
	if raw[atMagic] != 2 && !patient {
		return nil, nil
	}
	seen := &sighting{raw: raw, pos: pos}
	sum := binary.BigEndian.Uint32(raw[atSum:])
	if seen.claim(int32(binary.BigEndian.Uint32(raw[atLength:])), sum) && seen.end() <= x.end {
		got, err := x.checksum(seen)
		if err != nil || got == sum {
			return seen, err
		}
		// A checksum of 32 bits tells a flip of one of its own from a flip or two of the
		// bits that it covers, in a batch of any length.
		if patient && bits.OnesCount32(got^sum) == 1 {
			seen.header.CRC = got
			follows, err := x.beginning(seen.end())
			if err != nil || follows {
				return seen, err
			}
		}
	}
	if !patient {
		return nil, nil
	}
	return x.measure(seen, sum)
}

// claim lets the batch have a length, and reports whether that could be.
func (s *sighting) claim(length int32, sum uint32) bool {
	b := append([]byte(nil), s.raw...)
	binary.BigEndian.PutUint64(b, 0)
	binary.BigEndian.PutUint32(b[atLength:], uint32(length))
	b[atMagic] = s.magic()
	h, err := record.ParseHeader(b)
	h.BaseOffset = int64(binary.BigEndian.Uint64(s.raw))
	h.CRC = sum
	s.header = h
	return err == nil
}

// measure looks for the length with which the batch's checksum holds.
func (x *examiner) measure(seen *sighting, sum uint32) (*sighting, error) {
	if !seen.claim(record.HeaderLen-atEpoch, sum) && !seen.claim(math.MaxInt32-atEpoch, sum) {
		return nil, nil // it would be none with any
	}
	end := min(x.end, seen.pos+longestSearch)
	sc := x.scanner(seen.pos, end)
	crc := ^uint32(0)
	for pos := seen.pos + crcFrom; pos < end; {
		b := sc.window(pos, 1)
		if b == nil {
			return nil, sc.err
		}
		for _, c := range b[:min(int64(len(b)), end-pos)] {
			crc = castagnoli[byte(crc)^c] ^ crc>>8
			pos++
			if ^crc != sum || pos < seen.pos+record.HeaderLen || !seen.claim(int32(pos-seen.pos-atEpoch), sum) {
				continue
			}
			if follows, err := x.beginning(pos); err != nil || follows {
				return seen, err
			}
		}
	}
	return nil, nil
}

// beginning reports whether a batch may begin at a position: a header stands
// there, or nothing more.
func (x *examiner) beginning(pos int64) (bool, error) {
	if pos == x.end {
		return true, nil
	}
	raw, err := x.peek(pos)
	if err != nil {
		return false, err
	}
	if raw != nil {
		seen := sighting{raw: raw, pos: pos}
		if raw[atMagic] == 2 && seen.claim(int32(binary.BigEndian.Uint32(raw[atLength:])), 0) && seen.end() <= x.end {
			return true, nil
		}
	}
	content, err := contentEnd(x.file, pos, x.end)
	return content == pos, err
}

// peek reads a header, or returns nil where there is no room for one.
func (x *examiner) peek(pos int64) ([]byte, error) {
	if pos+record.HeaderLen > x.end {
		return nil, nil
	}
	b := make([]byte, record.HeaderLen)
	if got, err := x.file.ReadAt(b, pos); got < len(b) {
		return nil, err
	}
	return b, nil
}

func (x *examiner) checksum(seen *sighting) (uint32, error) {
	h := crc32.New(castagnoli)
	n := seen.end() - seen.pos - crcFrom
	_, err := io.CopyN(h, io.NewSectionReader(x.file, seen.pos+crcFrom, n), n)
	return h.Sum32(), err
}

// place decides which offset a batch begins with. offset is the lowest that it
// may be, and, if the batch adjoins the sound one before it, the one that follows
// there. Each batch behind it says what it should be if no offset is missing
// between them. ok is false if nobody can tell.
func (x *examiner) place(seen *sighting, offset int64, adjoins bool) (at int64, confirmed, ok bool, err error) {
	said := seen.header.BaseOffset
	witnesses, err := x.witnesses(seen)
	if err != nil {
		return 0, false, false, err
	}
	can := func(at int64) bool {
		return at >= offset && at-x.base <= math.MaxInt32 && (x.limit < 0 || at+seen.span() <= x.limit)
	}
	agree := func(at int64) (n int, confirmed bool) {
		for _, w := range witnesses {
			if w.at == at {
				n, confirmed = n+1, confirmed || w.sound
			}
		}
		return n, confirmed
	}
	asItSays, confirmedSo := agree(said)
	asItStands, confirmedThere := agree(offset)
	switch {
	case said == offset && adjoins && can(offset):
		return offset, confirmedSo, true, nil
	case x.gaps && can(said) && (len(witnesses) == 0 || witnesses[0].at >= said):
		return said, confirmedSo, true, nil
	case adjoins && can(offset) && asItStands > 0 && (asItStands >= asItSays || !can(said)): // by chance nobody agrees with what stands before
		return offset, confirmedThere, true, nil
	case can(said) && asItSays > 0:
		return said, confirmedSo, true, nil
	case x.gaps && adjoins && can(offset) && bits.OnesCount64(uint64(said^offset)) == 1:
		return offset, false, true, nil
	case x.gaps:
		at, ok := x.oneFlip(said, witnesses, can)
		return at, false, ok, nil
	}
	most := 0
	for _, w := range witnesses {
		if n, c := agree(w.at); n > most && can(w.at) {
			at, most, confirmed = w.at, n, c
		}
	}
	switch {
	case most > 1 || most == 1 && !adjoins && !can(said):
		return at, confirmed, true, nil
	case can(said) && !(adjoins && can(offset) && bits.OnesCount64(uint64(said^offset)) == 1):
		return said, false, true, nil
	case adjoins && can(offset):
		return offset, false, true, nil
	}
	return 0, false, false, nil
}

// oneFlip returns the only offset from which a batch came to the one that it says
// by the flip of one bit.
func (x *examiner) oneFlip(said int64, witnesses []witness, can func(int64) bool) (at int64, ok bool) {
	for bit := range 63 {
		before := said&math.MaxInt64 ^ 1<<bit
		if said < 0 {
			before = said & math.MaxInt64
		}
		if !can(before) || len(witnesses) > 0 && before > witnesses[0].at || ok && before == at {
			continue
		}
		if ok {
			return 0, false
		}
		at, ok = before, true
	}
	return at, ok
}

// witness is what a batch, or the end of the segment, says of the offset of one
// before it.
type witness struct {
	at    int64
	sound bool // it is a batch whose checksum holds
}

// witnesses asks the batches that follow on one without anything between.
func (x *examiner) witnesses(seen *sighting) (all []witness, err error) {
	pos, span := seen.end(), seen.span()
	for len(all) < mostWitnesses {
		if pos == x.end {
			if x.next >= 0 {
				all = append(all, witness{at: x.next - span})
			}
			return all, nil
		}
		raw, err := x.peek(pos)
		if raw == nil || err != nil {
			return all, err
		}
		then := &sighting{raw: raw, pos: pos}
		sum := binary.BigEndian.Uint32(raw[atSum:])
		if raw[atMagic] != 2 || !then.claim(int32(binary.BigEndian.Uint32(raw[atLength:])), sum) || then.end() > x.end {
			return all, nil
		}
		got, err := x.checksum(then)
		if err != nil {
			return all, err
		}
		all = append(all, witness{then.header.BaseOffset - span, got == sum})
		if got != sum {
			return all, nil
		}
		pos, span = then.end(), span+then.span()
	}
	return all, nil
}

// follower returns where the next sound batch behind pos begins, and with which
// offset; or the end and the offset that follows there.
func (x *examiner) follower(pos, offset int64) (at, base int64, err error) {
	// Where the damaged batch ends, if that is not what is damaged: a batch within its
	// records is none of the log's.
	if raw, err := x.peek(pos); err != nil {
		return 0, 0, err
	} else if raw != nil {
		if length := int64(int32(binary.BigEndian.Uint32(raw[atLength:]))); length >= record.HeaderLen-atEpoch {
			if base, ok, err := x.resume(pos+atEpoch+length, offset, true); ok || err != nil {
				return pos + atEpoch + length, base, err
			}
		}
	}
	sc := x.scanner(pos, x.end)
	for at = pos + 1; at+record.HeaderLen <= x.end; at++ {
		b := sc.window(at, record.HeaderLen)
		if b == nil {
			return 0, 0, sc.err
		}
		if b[atMagic] != 2 {
			continue
		}
		if base, ok, err := x.resume(at, offset, false); ok || err != nil {
			return at, base, err
		}
	}
	return x.end, max(x.next, x.limit), nil
}

// resume reports whether the log goes on at a position, and with which offset.
func (x *examiner) resume(pos, offset int64, patient bool) (base int64, ok bool, err error) {
	seen, err := x.sight(pos, patient)
	if seen == nil || err != nil {
		return 0, false, err
	}
	base, _, ok, err = x.place(seen, offset, false)
	return base, ok, err
}
