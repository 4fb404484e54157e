package log

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
)

const checkpointName = "runnel-checkpoint"

// Layout of the checkpoint file: two slots, each in a block of its own, which are
// written in turn, so that a torn write never damages both. A slot is
//
//	offset  bytes
//	0       8      "RNLCHKPT"
//	8       2      version: 1
//	10      2      flags: 1 clean, 2 producers, 4 aborted transactions
//	12      4      sealed
//	16      80     sequence, start, segment, pos, offset, firstTimestamp,
//	               maxTimestamp, maxOffset, sinceEntry, digest: 8 bytes each
//	96      16     filed: entries of both indexes, their CRC-32C: 4 bytes each
//	112     12     mark: clean, 8 bytes; horizon in seconds, 4 bytes
//	124     4      CRC-32C of everything before
//
// With aborted transactions in the active segment's index, there follow:
//
//	128     8      its entries, their CRC-32C: 4 bytes each
//	136     4      CRC-32C of the 12 bytes before
const (
	checkpointMagic   = "RNLCHKPT"
	checkpointVersion = 1
	slotLen           = 128
	longSlotLen       = slotLen + 12
	slotStride        = 4096

	flagClean     = 1
	flagProducers = 2
	flagAborted   = 4
)

// checkpoint is a lower bound of what is durable: everything before position pos of
// segment, where the batch of offset follows.
type checkpoint struct {
	sequence uint64 // rises by one with each write; even ones are in the first slot
	clean    bool   // the log was closed at this point

	// producers is true if the snapshot at offset has the producers that the log knew
	// here. If it is false, the log knew none.
	producers bool

	start   int64 // log start offset
	segment int64 // base of the segment that was active
	pos     int64
	offset  int64 // start <= offset; segment <= offset

	// The segment's index at pos.
	firstTimestamp int64
	maxTimestamp   int64
	maxOffset      int64 // last offset of the batch with maxTimestamp
	sinceEntry     int64
	filed          indexFiled
	aborted        abortedIndex // filed or not

	// The segments before it.
	sealed int    // how many
	digest uint64 // the sum of their digests

	mark mark // how far the log is compacted
}

// mark is how far the log is compacted. One that is lost, or too low, only costs
// another pass.
type mark struct {
	clean   int64 // the first offset that was never compacted
	horizon int64 // when the first tombstone before it may go, in milliseconds; math.MaxInt64 for none
}

// noMark is the mark of a log that was never compacted.
var noMark = mark{horizon: math.MaxInt64}

// seconds returns the horizon as the checkpoint stores it: in whole seconds, rounded
// up, and 0 for none.
func (m mark) seconds() uint32 {
	if m.horizon > (math.MaxUint32-1)*1000 {
		return 0
	}
	return uint32(max(m.horizon+999, 1000) / 1000)
}

// digest mixes a sealed segment's name and size, which never change, into a number.
// The sum over all segments shows whether one is missing, added, shortened or
// renamed. A sum, because segments are added at one end and removed at the other.
func digest(base, size int64) uint64 {
	x := uint64(base)*0x9e3779b97f4a7c15 + uint64(size)
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (c *checkpoint) encode() []byte {
	b := make([]byte, 0, longSlotLen)
	b = append(b, checkpointMagic...)
	b = binary.BigEndian.AppendUint16(b, checkpointVersion)
	var flags uint16
	if c.clean {
		flags |= flagClean
	}
	if c.producers {
		flags |= flagProducers
	}
	if c.aborted.n > 0 {
		flags |= flagAborted
	}
	b = binary.BigEndian.AppendUint16(b, flags)
	b = binary.BigEndian.AppendUint32(b, uint32(c.sealed))
	for _, v := range []uint64{
		c.sequence, uint64(c.start), uint64(c.segment), uint64(c.pos), uint64(c.offset),
		uint64(c.firstTimestamp), uint64(c.maxTimestamp), uint64(c.maxOffset), uint64(c.sinceEntry), c.digest,
	} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	for _, v := range []uint32{
		uint32(c.filed.offsets), uint32(c.filed.times), c.filed.offsetsCRC, c.filed.timesCRC,
	} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(c.mark.clean))
	b = binary.BigEndian.AppendUint32(b, c.mark.seconds())
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	if c.aborted.n > 0 {
		b = binary.BigEndian.AppendUint32(b, uint32(c.aborted.n))
		b = binary.BigEndian.AppendUint32(b, c.aborted.crc)
		b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b[slotLen-4:], castagnoli))
	}
	return b
}

// decodeCheckpoint decodes a slot, from its first longSlotLen bytes. ok is false if its bytes are not those of a whole
// checkpoint, such as after a torn write. Another version is an error: Open must
// not treat it as missing.
func decodeCheckpoint(b []byte) (c checkpoint, ok bool, err error) {
	if len(b) < slotLen || string(b[:8]) != checkpointMagic ||
		crc32.Checksum(b[:slotLen-4], castagnoli) != binary.BigEndian.Uint32(b[slotLen-4:]) {
		return checkpoint{}, false, nil
	}
	if v := binary.BigEndian.Uint16(b[8:]); v != checkpointVersion {
		return checkpoint{}, false, fault.Newf(fault.UnsupportedFormat, "a log's checkpoint of version %d, only %d is read", v, checkpointVersion)
	}
	flags := binary.BigEndian.Uint16(b[10:])
	c.clean, c.producers = flags&flagClean != 0, flags&flagProducers != 0
	c.sealed = int(binary.BigEndian.Uint32(b[12:]))
	u64 := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[16+8*i:])) }
	c.sequence, c.start, c.segment, c.pos, c.offset = uint64(u64(0)), u64(1), u64(2), u64(3), u64(4)
	c.firstTimestamp, c.maxTimestamp, c.maxOffset, c.sinceEntry, c.digest = u64(5), u64(6), u64(7), u64(8), uint64(u64(9))
	u32 := func(i int) uint32 { return binary.BigEndian.Uint32(b[96+4*i:]) }
	c.filed = indexFiled{int(u32(0)), int(u32(1)), u32(2), u32(3)}
	if flags&flagAborted != 0 {
		if len(b) < longSlotLen || crc32.Checksum(b[slotLen-4:longSlotLen-4], castagnoli) != binary.BigEndian.Uint32(b[longSlotLen-4:]) {
			return checkpoint{}, false, nil
		}
		c.aborted = abortedIndex{int(binary.BigEndian.Uint32(b[slotLen:])), binary.BigEndian.Uint32(b[slotLen+4:])}
	}
	c.mark = mark{clean: int64(binary.BigEndian.Uint64(b[112:])), horizon: math.MaxInt64}
	if seconds := binary.BigEndian.Uint32(b[120:]); seconds > 0 {
		c.mark.horizon = int64(seconds) * 1000
	}
	sane := c.mark.clean >= 0 && c.start >= 0 && c.segment >= 0 && c.pos >= 0 && c.offset >= max(c.start, c.segment)
	return c, sane, nil
}

// readCheckpoint returns the newest valid checkpoint in a log's directory, or nil.
func readCheckpoint(fsys vfs.FS, dir string) (*checkpoint, error) {
	f, err := fsys.OpenFile(filepath.Join(dir, checkpointName), os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var newest *checkpoint
	b := make([]byte, longSlotLen)
	for slot := range int64(2) {
		n, err := f.ReadAt(b, slot*slotStride)
		if n < len(b) && !errors.Is(err, io.EOF) {
			return nil, err
		}
		c, ok, err := decodeCheckpoint(b[:n])
		if err != nil {
			return nil, err
		}
		if ok && (newest == nil || c.sequence > newest.sequence) {
			newest = &c
		}
	}
	return newest, nil
}

// write writes c into the slot that does not have the checkpoint before it, and
// makes it durable.
func (c *checkpoint) write(fsys vfs.FS, dir string) error {
	path := filepath.Join(dir, checkpointName)
	f, err := fsys.OpenFile(path, os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = fsys.OpenFile(path, os.O_RDWR|os.O_CREATE)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt(c.encode(), int64(c.sequence%2)*slotStride); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if c.sequence == 1 { // even if the file existed: the attempt that created it may have failed
		return fsys.SyncDir(dir)
	}
	return nil
}

// syncCheckpoint makes durable what readCheckpoint has read: the process that wrote
// it may have crashed before its sync.
func syncCheckpoint(fsys vfs.FS, dir string) error {
	f, err := fsys.OpenFile(filepath.Join(dir, checkpointName), os.O_RDWR)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}
