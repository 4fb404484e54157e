package record

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"

	"github.com/runnel-go/runnel/fault"
)

// Sizes of a batch's parts, in bytes.
const (
	// HeaderLen is the length of a batch's header, and so of the smallest batch.
	HeaderLen = 61

	// MinRecordLen is the length of the smallest record: its length, attributes,
	// two deltas, a null key, a null value and no headers.
	MinRecordLen = 7

	// MaxRecordOverhead is the most that a record without headers takes beyond
	// its key and value. Each header takes at most MaxHeaderOverhead beyond its
	// own key and value.
	MaxRecordOverhead = 5 + 1 + 10 + 5 + 5 + 5 + 5

	// MaxHeaderOverhead is the most that a record's header takes beyond its key
	// and value.
	MaxHeaderOverhead = 5 + 5

	// lengthEnd is where the Length field ends. Length counts the bytes after
	// it.
	lengthEnd = 12
)

// Positions of the header's fields; doc.go draws them.
const (
	atBaseOffset      = 0
	atLength          = 8
	atLeaderEpoch     = 12
	atMagic           = 16
	atCRC             = 17
	atAttributes      = 21
	atLastOffsetDelta = 23
	atBaseTimestamp   = 27
	atMaxTimestamp    = 35
	atProducerID      = 43
	atProducerEpoch   = 51
	atBaseSequence    = 53
	atCount           = 57
)

// magic is the version of the format, the only one that is read and written.
const magic = 2

// Bits of BatchHeader.Attributes; the lowest three hold the Compression.
const (
	AttrCompression   int16 = 0x07
	AttrLogAppendTime int16 = 1 << 3
	AttrTransactional int16 = 1 << 4
	AttrControl       int16 = 1 << 5
	AttrDeleteHorizon int16 = 1 << 6
)

// Values of fields that are not set: in a batch without an idempotent producer,
// or before a leader has stamped it.
const (
	NoLeaderEpoch   int32 = -1
	NoProducerID    int64 = -1
	NoProducerEpoch int16 = -1
	NoSequence      int32 = -1
	NoTimestamp     int64 = -1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// BatchHeader is the header of a record batch.
//
// In a header that ParseHeader returned:
//
//	49 <= Length <= 2^31-1-12
//	0 <= BaseOffset <= LastOffset()
//	0 <= Count <= LastOffsetDelta+1
//
// Count is smaller than LastOffsetDelta+1 in batches from which compaction
// removed records. It may be 0: such a batch only keeps its producer's state.
type BatchHeader struct {
	BaseOffset      int64
	Length          int32 // bytes that follow this field: Size() - 12
	LeaderEpoch     int32
	CRC             uint32 // CRC-32C of everything from Attributes on
	Attributes      int16
	LastOffsetDelta int32
	BaseTimestamp   int64 // what the records' deltas count from, or the delete horizon; milliseconds
	MaxTimestamp    int64 // the largest timestamp, or the append time; milliseconds
	ProducerID      int64
	ProducerEpoch   int16
	BaseSequence    int32
	Count           int32
}

// Compression returns how the records are compressed.
func (h BatchHeader) Compression() Compression { return Compression(h.Attributes & AttrCompression) }

// LogAppendTime reports whether MaxTimestamp, the time at which the batch was
// appended, is the timestamp of every record.
func (h BatchHeader) LogAppendTime() bool { return h.Attributes&AttrLogAppendTime != 0 }

// Transactional reports whether the batch is part of a transaction.
func (h BatchHeader) Transactional() bool { return h.Attributes&AttrTransactional != 0 }

// Control reports whether the records are markers, which consumers skip.
func (h BatchHeader) Control() bool { return h.Attributes&AttrControl != 0 }

// DeleteHorizon returns the time in milliseconds from which the batch's
// tombstones and transaction markers may be removed (KIP-534), and whether it
// is set.
func (h BatchHeader) DeleteHorizon() (int64, bool) {
	return h.BaseTimestamp, h.Attributes&AttrDeleteHorizon != 0
}

// LastOffset returns the last offset that the batch covers.
func (h BatchHeader) LastOffset() int64 { return h.BaseOffset + int64(h.LastOffsetDelta) }

// NextOffset returns the offset after the last one that the batch covers.
func (h BatchHeader) NextOffset() int64 { return h.LastOffset() + 1 }

// LastSequence returns the sequence of the last record, or NoSequence. After
// 2^31-1 comes 0.
func (h BatchHeader) LastSequence() int32 {
	if h.BaseSequence == NoSequence {
		return NoSequence
	}
	return int32((int64(h.BaseSequence) + int64(h.LastOffsetDelta)) & math.MaxInt32)
}

// Size returns the length of the whole batch in bytes, header included.
func (h BatchHeader) Size() int { return int(h.Length) + lengthEnd }

// ParseHeader reads the header at the start of b, which takes HeaderLen bytes.
// It checks everything in the header except the checksum.
//
// Too few bytes, or bytes that are no header, are fault.CorruptMessage; a batch
// in a format from before 2017 is fault.UnsupportedFormat. ParseHeader accepts
// a compression that this package does not know: such a batch may be stored and
// copied, only its records cannot be read.
func ParseHeader(b []byte) (BatchHeader, error) {
	if len(b) < HeaderLen {
		return BatchHeader{}, fault.Newf(fault.CorruptMessage, "a batch's header has %d bytes, here are %d", HeaderLen, len(b))
	}
	h := readHeader(b)
	if err := h.check(b[atMagic]); err != nil {
		return BatchHeader{}, err
	}
	return h, nil
}

func readHeader(b []byte) BatchHeader {
	_ = b[HeaderLen-1]
	return BatchHeader{
		BaseOffset:      int64(binary.BigEndian.Uint64(b[atBaseOffset:])),
		Length:          int32(binary.BigEndian.Uint32(b[atLength:])),
		LeaderEpoch:     int32(binary.BigEndian.Uint32(b[atLeaderEpoch:])),
		CRC:             binary.BigEndian.Uint32(b[atCRC:]),
		Attributes:      int16(binary.BigEndian.Uint16(b[atAttributes:])),
		LastOffsetDelta: int32(binary.BigEndian.Uint32(b[atLastOffsetDelta:])),
		BaseTimestamp:   int64(binary.BigEndian.Uint64(b[atBaseTimestamp:])),
		MaxTimestamp:    int64(binary.BigEndian.Uint64(b[atMaxTimestamp:])),
		ProducerID:      int64(binary.BigEndian.Uint64(b[atProducerID:])),
		ProducerEpoch:   int16(binary.BigEndian.Uint16(b[atProducerEpoch:])),
		BaseSequence:    int32(binary.BigEndian.Uint32(b[atBaseSequence:])),
		Count:           int32(binary.BigEndian.Uint32(b[atCount:])),
	}
}

// check holds the invariants that BatchHeader promises.
func (h BatchHeader) check(version byte) error {
	switch {
	case h.Length < HeaderLen-lengthEnd || h.Length > math.MaxInt32-lengthEnd:
		return fault.Newf(fault.CorruptMessage, "a batch says that it has %d bytes after its length", h.Length)
	case version < magic:
		return fault.Newf(fault.UnsupportedFormat, "a batch of format %d, only %d is read", version, magic)
	case version > magic:
		return fault.Newf(fault.CorruptMessage, "a batch of the unknown format %d", version)
	case h.BaseOffset < 0 || h.LastOffsetDelta < 0 || h.BaseOffset > math.MaxInt64-1-int64(h.LastOffsetDelta):
		return fault.Newf(fault.CorruptMessage, "a batch from offset %d to %d later", h.BaseOffset, h.LastOffsetDelta)
	case h.Count < 0 || int64(h.Count) > int64(h.LastOffsetDelta)+1:
		return fault.Newf(fault.CorruptMessage, "a batch of %d records over %d offsets", h.Count, int64(h.LastOffsetDelta)+1)
	case h.Compression() == None && int64(h.Count)*MinRecordLen > int64(h.Length)-(HeaderLen-lengthEnd):
		return fault.Newf(fault.CorruptMessage, "a batch of %d records in %d bytes", h.Count, h.Size())
	}
	return nil
}

// Batch is an encoded record batch with its header decoded. Bytes is the whole
// batch and nothing else. Any goroutine may read a Batch; none may change it.
type Batch struct {
	BatchHeader
	Bytes []byte
}

// Parse returns the batch at the start of b, after checking its header, its
// bounds and its checksum. The iterator checks the records themselves. The
// batch shares b's bytes.
//
// Errors are those of ParseHeader. A truncated batch and a wrong checksum are
// fault.CorruptMessage.
func Parse(b []byte) (Batch, error) {
	h, err := ParseHeader(b)
	if err != nil {
		return Batch{}, err
	}
	if h.Size() > len(b) {
		return Batch{}, fault.Newf(fault.CorruptMessage, "a batch of %d bytes, here are %d", h.Size(), len(b))
	}
	batch := Batch{BatchHeader: h, Bytes: b[:h.Size():h.Size()]}
	if err := batch.VerifyCRC(); err != nil {
		return Batch{}, err
	}
	return batch, nil
}

// VerifyCRC compares the batch's bytes with its checksum and returns
// fault.CorruptMessage when they differ.
func (b Batch) VerifyCRC() error {
	if sum := checksum(b.Bytes); sum != b.CRC {
		return fault.Newf(fault.CorruptMessage, "the batch at offset %d says checksum %08x, its bytes say %08x", b.BaseOffset, b.CRC, sum)
	}
	return nil
}

// Payload returns the batch's records, uncompressed and still encoded. For an
// uncompressed batch these are the batch's own bytes, else the result of
// Codec.Decompress, in dst's array if it is large enough. codec may be nil for
// an uncompressed batch.
func (b Batch) Payload(codec *Codec, dst []byte) ([]byte, error) {
	c, payload := b.Compression(), b.Bytes[HeaderLen:]
	if c == None {
		return payload, nil
	}
	if b.Count == 0 && len(payload) == 0 {
		return nil, nil
	}
	if codec == nil {
		return nil, fault.Newf(fault.UnsupportedCompression, "a batch with %s, and no codec", c)
	}
	return codec.Decompress(dst, c, payload)
}

// Undecodable adds the place to an error from decoding a batch whose checksum
// is right. As nothing is damaged, fault.Undecodable replaces
// fault.CorruptMessage.
func Undecodable(err error, topic string, partition int32, offset int64) *fault.Error {
	e := fault.At(fault.CodeOf(err), topic, partition, offset).Because(err)
	if known, ok := errors.AsType[*fault.Error](err); ok {
		e.Detail, e.Cause = known.Detail, known.Cause
	}
	if e.Code == fault.CorruptMessage {
		e.Code = fault.Undecodable
	}
	return e
}

// checksum returns the CRC-32C that the header of raw, a whole batch, should
// contain.
func checksum(raw []byte) uint32 { return crc32.Checksum(raw[atAttributes:], castagnoli) }

// Seal writes the header h into the first HeaderLen bytes of buf. The rest of
// buf is the batch's records, compressed as h.Attributes says. Seal computes
// Length and CRC and ignores those in h. The returned batch owns buf.
func Seal(buf []byte, h BatchHeader) Batch {
	_ = buf[HeaderLen-1]
	h.Length = int32(len(buf) - lengthEnd)
	binary.BigEndian.PutUint64(buf[atBaseOffset:], uint64(h.BaseOffset))
	binary.BigEndian.PutUint32(buf[atLength:], uint32(h.Length))
	binary.BigEndian.PutUint32(buf[atLeaderEpoch:], uint32(h.LeaderEpoch))
	buf[atMagic] = magic
	binary.BigEndian.PutUint16(buf[atAttributes:], uint16(h.Attributes))
	binary.BigEndian.PutUint32(buf[atLastOffsetDelta:], uint32(h.LastOffsetDelta))
	binary.BigEndian.PutUint64(buf[atBaseTimestamp:], uint64(h.BaseTimestamp))
	binary.BigEndian.PutUint64(buf[atMaxTimestamp:], uint64(h.MaxTimestamp))
	binary.BigEndian.PutUint64(buf[atProducerID:], uint64(h.ProducerID))
	binary.BigEndian.PutUint16(buf[atProducerEpoch:], uint16(h.ProducerEpoch))
	binary.BigEndian.PutUint32(buf[atBaseSequence:], uint32(h.BaseSequence))
	binary.BigEndian.PutUint32(buf[atCount:], uint32(h.Count))
	h.CRC = checksum(buf)
	binary.BigEndian.PutUint32(buf[atCRC:], h.CRC)
	return Batch{BatchHeader: h, Bytes: buf}
}

// Stamp writes the offset of the first record and the leader epoch into raw, a
// whole batch. Both lie outside the checksum, so a leader changes nothing else
// in a batch that it appends.
func Stamp(raw []byte, baseOffset int64, leaderEpoch int32) {
	_ = raw[HeaderLen-1]
	binary.BigEndian.PutUint64(raw[atBaseOffset:], uint64(baseOffset))
	binary.BigEndian.PutUint32(raw[atLeaderEpoch:], uint32(leaderEpoch))
}

// StampAppendTime gives every record of raw, a whole batch, the timestamp ms,
// and updates the checksum.
func StampAppendTime(raw []byte, ms int64) {
	attributes := int16(binary.BigEndian.Uint16(raw[atAttributes:])) | AttrLogAppendTime
	binary.BigEndian.PutUint16(raw[atAttributes:], uint16(attributes))
	binary.BigEndian.PutUint64(raw[atMaxTimestamp:], uint64(ms))
	binary.BigEndian.PutUint32(raw[atCRC:], checksum(raw))
}

// StampTransaction is StampProducer for a batch that becomes part of the producer's
// transaction.
func StampTransaction(raw []byte, id int64, epoch int16, baseSequence int32) {
	attributes := int16(binary.BigEndian.Uint16(raw[atAttributes:])) | AttrTransactional
	binary.BigEndian.PutUint16(raw[atAttributes:], uint16(attributes))
	StampProducer(raw, id, epoch, baseSequence)
}

// StampProducer writes the producer's identity and the sequence number of its
// first record into raw, a whole batch, and updates the checksum.
func StampProducer(raw []byte, id int64, epoch int16, baseSequence int32) {
	binary.BigEndian.PutUint64(raw[atProducerID:], uint64(id))
	binary.BigEndian.PutUint16(raw[atProducerEpoch:], uint16(epoch))
	binary.BigEndian.PutUint32(raw[atBaseSequence:], uint32(baseSequence))
	binary.BigEndian.PutUint32(raw[atCRC:], checksum(raw))
}
