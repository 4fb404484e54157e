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

// Positions of the fields of a batch's header that its checksum does not cover. The
// base offset is at 0; package record has the whole layout.
const (
	atLength = 8
	atEpoch  = 12
	atMagic  = 16
	atSum    = 17
)

// Bounds of an examination.
const (
	longestSearch = 16 << 20 // how far measure searches for the end of a batch whose length is damaged
	mostWitnesses = 8        // how many batches behind a batch attest its offset
)

// examiner diagnoses a flaw in a segment: bytes that are not the batch that must
// begin there. It finds out whether a header field is damaged that can be restored,
// or where the log continues behind lost batches.
//
// A batch's checksum covers neither itself nor the base offset, length, leader
// epoch and format. If one of these is damaged, the others prove the batch: the
// checksum proves its bytes, and the batches around it, which leave no gap, prove
// its offset.
//
//	diagnose ─▶ sight: is there a batch at all?       checksum, length, format
//	         ─▶ place: which offset does it begin with?  witnesses behind it
//	         ─▶ correctHeader: what must its header be?
//	         ─▶ follower: otherwise, where does the log continue?
type examiner struct {
	file  vfs.File
	end   int64 // of the bytes to examine
	base  int64 // the segment's base offset
	limit int64 // no batch here goes beyond this offset; negative if unknown
	next  int64 // the offset that follows at end; negative if unknown
	gaps  bool  // offsets may be missing between batches: Kafka's compaction leaves them out

	// epochOf returns the leader epoch of the offsets from first to before next, or
	// record.NoLeaderEpoch if unknown. since is the epoch of the batch before those
	// examined.
	epochOf func(first, next int64) int32
	since   int32

	buf []byte // of scanners
}

// scanner returns a scanner that uses the examiner's buffer: only the newest one may
// be used.
func (x *examiner) scanner(pos, end int64) *scanner {
	if x.buf == nil {
		x.buf = make([]byte, min(scanBytes, x.end-pos))
	}
	sc := newScanner(x.file, pos, end, -1, true)
	sc.buf = x.buf[:0]
	return sc
}

// diagnosis describes the bytes from pos to end, where the batch of offset should
// begin.
type diagnosis struct {
	pos, end     int64
	offset, next int64 // the offsets that they cover; next is negative if unknown

	// header is what the header of the batch must be, if only fields of it that the
	// checksum doesn't cover are damaged, which fields names. Otherwise it is nil, and
	// the offsets are lost.
	header []byte
	fields string

	// confirmed means that a sound batch behind it attests the offset.
	confirmed bool
}

// known reports whether the log continues at or behind the examined bytes.
func (d *diagnosis) known() bool { return d.header != nil || d.next >= 0 }

// explain adds the conclusion to a description of the flaw.
func (d *diagnosis) explain(found string) string {
	if d.header != nil {
		return found + "; nothing but its " + d.fields + " is damaged"
	}
	return fmt.Sprintf("%s; at byte %d a sound batch of offset %d follows", found, d.end, d.next)
}

// certain reports whether Open may restore the batch without asking the user.
func (d *diagnosis) certain() bool { return d.header != nil && d.confirmed }

// sighting is a batch whose checksum matches, or would if a field that it does not
// cover were right.
type sighting struct {
	header record.BatchHeader // corrected, but for base offset and leader epoch
	raw    []byte             // the header as it is in the file
	pos    int64
}

func (s *sighting) end() int64 { return s.pos + int64(s.header.Size()) }
func (s *sighting) span() int64 {
	return int64(s.header.LastOffsetDelta) + 1
}

// diagnose examines the bytes at pos, which are not the sound batch of offset that
// must begin there.
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
		case ok && at > offset: // the batch is sound, and those before it are gone
			d.end, d.next = pos, at
			return d, nil
		case ok:
			d.end, d.next, d.confirmed = seen.end(), at+seen.span(), confirmed
			if err := x.correctHeader(seen, &d); err != nil || d.header != nil {
				return d, err
			}
		}
	}
	d.confirmed = false
	d.end, d.next, err = x.follower(pos, offset)
	return d, err
}

// correctHeader sets the diagnosis's header, if it differs from the one in the file.
func (x *examiner) correctHeader(seen *sighting, d *diagnosis) error {
	epoch, certain, err := x.epoch(seen, d.offset)
	if err != nil {
		return err
	}
	d.confirmed = d.confirmed && certain
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
// one, or else the batch's own, if it lies between those of its neighbors: epochs
// never fall. Where the fields on both sides of it are damaged, it is not trusted,
// because a crash loses bytes in a row. Then the epoch before it is taken, which is
// certain only if the batch behind has the same.
func (x *examiner) epoch(seen *sighting, offset int64) (epoch int32, certain bool, err error) {
	if epoch := x.epochOf(offset, offset+seen.span()); epoch != record.NoLeaderEpoch {
		return epoch, true, nil
	}
	own := seen.header.LeaderEpoch
	then, err := x.sight(seen.end(), false)
	if err != nil {
		return own, false, err
	}
	follows := then != nil && then.header.LeaderEpoch >= x.since
	lost := seen.raw[atMagic] != seen.magic() && int32(binary.BigEndian.Uint32(seen.raw[atLength:])) != seen.header.Length
	if !lost && own >= x.since && (!follows || own <= then.header.LeaderEpoch) {
		return own, true, nil
	}
	return max(0, x.since), !follows || then.header.LeaderEpoch == max(0, x.since), nil
}

// sight returns the batch at a position if its checksum proves it, whatever its
// base offset and leader epoch are, or nil. If patient, it also finds batches whose
// format, length or checksum is damaged, which takes longer.
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
		// A flip of one or two of the bits that a CRC-32C covers never changes just one
		// bit of it. So if the sums differ in one bit, the stored one is damaged.
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

// claim sets the batch's length, and reports whether the header is valid with it.
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

// measure searches for the length with which the batch's checksum matches: it
// computes the checksum byte by byte and tries each position at which it matches.
// By chance that happens every 2^32 bytes; so a batch, or the end of the log, must
// follow there.
func (x *examiner) measure(seen *sighting, sum uint32) (*sighting, error) {
	if !seen.claim(record.HeaderLen-atEpoch, sum) && !seen.claim(math.MaxInt32-atEpoch, sum) {
		return nil, nil // the header is invalid with any length
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

// beginning reports whether a batch may begin at a position: there is a header, or
// nothing but zeros.
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

// place decides which offset a batch begins with. offset is the lowest possible
// one and, if the batch adjoins the sound batch before it, the one that must follow
// there. There are three kinds of evidence: what the batch's header says (said);
// what its position says (offset, if it adjoins); and what each batch behind it
// says, if no offsets are missing between them (the witnesses).
//
// The cases come in order of the strength of their evidence. With gaps, offsets may
// be missing anywhere, so a witness only bounds the offset from above, and a header
// that says something possible is right. ok is false if the evidence decides
// nothing. confirmed means that a witness whose checksum matches agrees.
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
	asItSays, confirmedSo := agree(said)        // witnesses for the header
	asItStands, confirmedThere := agree(offset) // witnesses for the position
	switch {
	case said == offset && adjoins && can(offset):
		return offset, confirmedSo, true, nil
	case x.gaps && can(said) && (len(witnesses) == 0 || witnesses[0].at >= said):
		return said, confirmedSo, true, nil
	case adjoins && can(offset) && asItStands > 0 && (asItStands >= asItSays || !can(said)): // two independent witnesses: the batch before and one behind
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

// oneFlip returns the offset that became the one in the header by the flip of one
// bit, if only one is possible.
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

// witness is the offset of an earlier batch that follows from a later one, or from
// the end of the segment.
type witness struct {
	at    int64
	sound bool // from a batch whose checksum matches
}

// witnesses collects the witnesses of a batch from those that follow it directly.
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

// follower returns where the next sound batch behind pos begins, and its offset; or
// the end, and the offset that follows there.
func (x *examiner) follower(pos, offset int64) (at, base int64, err error) {
	// Try the end of the damaged batch first, in case its length is right. A search
	// byte by byte could find a batch that a record's value contains, which is not the
	// log's.
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

// resume reports whether the log continues at a position, and with which offset.
func (x *examiner) resume(pos, offset int64, patient bool) (base int64, ok bool, err error) {
	seen, err := x.sight(pos, patient)
	if seen == nil || err != nil {
		return 0, false, err
	}
	base, _, ok, err = x.place(seen, offset, false)
	return base, ok, err
}
