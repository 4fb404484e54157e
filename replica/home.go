package replica

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"path/filepath"

	"github.com/runnel-go/runnel/internal/vfs"
)

const (
	baseName  = "runnel-replica"
	baseMagic = 0x524e5232 // "RNR2"
	maxBase   = 1 << 20
)

// base is the file that makes a directory a replica's: whose, where its log begins,
// and its members as of there and as of later batches.
//
//	+-------+-------+------------+----+-------+-----------+-------+-------+---------+-----+
//	| magic | flags | generation | ID | topic | partition | start | count | changes | CRC |
//	+-------+-------+------------+----+-------+-----------+-------+-------+---------+-----+
type base struct {
	resetting  bool   // the log is to become empty
	generation uint32 // of the marks; another one after the log was emptied
	id         ID
	group      GroupID
	start      Start
	changes    []Start // members as of committed batches, in their order
}

func (b *base) encode() []byte {
	var flags uint32
	if b.resetting {
		flags = 1
	}
	out := binary.BigEndian.AppendUint32(nil, baseMagic)
	out = binary.BigEndian.AppendUint32(out, flags)
	out = binary.BigEndian.AppendUint32(out, b.generation)
	out = binary.BigEndian.AppendUint64(out, uint64(b.id))
	out = append(out, b.group.Topic[:]...)
	out = binary.BigEndian.AppendUint32(out, uint32(b.group.Partition))
	out = b.start.append(out)
	out = binary.BigEndian.AppendUint16(out, uint16(len(b.changes)))
	for i := range b.changes {
		out = b.changes[i].append(out)
	}
	return binary.BigEndian.AppendUint32(out, crc32.Checksum(out, castagnoli))
}

// decodeBase decodes the file.
func decodeBase(b []byte) (*base, error) {
	if len(b) < 24+groupLen || binary.BigEndian.Uint32(b) != baseMagic ||
		crc32.Checksum(b[:len(b)-4], castagnoli) != binary.BigEndian.Uint32(b[len(b)-4:]) {
		return nil, malformed("%s is damaged", baseName)
	}
	b = b[:len(b)-4]
	d := &base{resetting: b[7]&1 != 0, generation: binary.BigEndian.Uint32(b[8:]), id: ID(binary.BigEndian.Uint64(b[12:]))}
	var n int
	var err error
	b = b[20:]
	copy(d.group.Topic[:], b)
	d.group.Partition = int32(binary.BigEndian.Uint32(b[16:]))
	b = b[groupLen:]
	if d.start, n, err = parseStart(b); err != nil {
		return nil, err
	}
	b = b[n:]
	if len(b) < 2 {
		return nil, malformed("%s ends early", baseName)
	}
	count := int(binary.BigEndian.Uint16(b))
	for b = b[2:]; count > 0; count-- {
		s, n, err := parseStart(b)
		if err != nil {
			return nil, err
		}
		d.changes = append(d.changes, s)
		b = b[n:]
	}
	if len(b) > 0 {
		return nil, malformed("%d bytes at the end of %s", len(b), baseName)
	}
	return d, nil
}

// readBase returns nil if there is no file.
func readBase(fsys vfs.FS, dir string) (*base, error) {
	b, err := vfs.ReadFile(fsys, filepath.Join(dir, baseName), maxBase)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decodeBase(b)
}

func (b *base) write(fsys vfs.FS, dir string) error {
	return vfs.WriteFile(fsys, filepath.Join(dir, baseName), b.encode())
}

// latest returns the last recorded members at or before an index.
func (b *base) latest(index uint64) Start {
	found := b.start
	for _, s := range b.changes {
		if s.Index <= index {
			found = s
		}
	}
	return found
}
