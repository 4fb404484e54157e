package replica

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/runnel-go/runnel/internal/vfs"
)

const (
	stateName = "runnel-vote"
	slotLen   = 92
	slots     = 3
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// slotRecord is one slot of the file: what a replica remembers. The package's documentation has its bytes.
type slotRecord struct {
	running  bool // the replica was not closed since
	sequence uint64
	id       ID
	HardState
	synced ending // the log had this durably
	origin uint32 // of the group, or 0
	group  uint32 // GroupID.sum
	boot   uint32 // which start of the machine it is
}

const (
	stateMagic  = 0x524e5632 // "RNV2"
	flagRunning = 1
)

func (r *slotRecord) encode() []byte {
	var flags uint32
	if r.running {
		flags |= flagRunning
	}
	b := make([]byte, 0, slotLen)
	b = binary.BigEndian.AppendUint32(b, stateMagic)
	b = binary.BigEndian.AppendUint32(b, flags)
	for _, v := range [...]uint64{r.sequence, uint64(r.id), r.Term, uint64(r.Vote), r.Commit, r.synced.index, uint64(r.synced.offset), r.synced.term} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	for _, v := range [...]uint32{r.synced.sum, r.origin, r.group, r.boot} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeSlot decodes a slot. ok is false if it is none.
func decodeSlot(b []byte) (r slotRecord, ok bool) {
	if len(b) < slotLen || binary.BigEndian.Uint32(b) != stateMagic ||
		crc32.Checksum(b[:slotLen-4], castagnoli) != binary.BigEndian.Uint32(b[slotLen-4:]) {
		return r, false
	}
	field := func(i int) uint64 { return binary.BigEndian.Uint64(b[8+8*i:]) }
	r = slotRecord{
		running: binary.BigEndian.Uint32(b[4:])&flagRunning != 0, sequence: field(0), id: ID(field(1)),
		HardState: HardState{field(2), ID(field(3)), field(4)},
		synced:    ending{field(5), int64(field(6)), field(7), binary.BigEndian.Uint32(b[72:])},
		origin:    binary.BigEndian.Uint32(b[76:]), group: binary.BigEndian.Uint32(b[80:]), boot: binary.BigEndian.Uint32(b[84:]),
	}
	return r, r.synced.offset >= 0
}

// stateFile keeps a slotRecord in two of three slots, so that damage to one takes no
// vote back. A write goes to the third and one of the two, and leaves the other as
// it is until the write is synced.
type stateFile struct {
	file vfs.File
	slotRecord
	slot  int // the first of the two to write next
	dirty bool
}

// createState makes the file, durably but for its name.
func createState(fsys vfs.FS, dir string, r slotRecord) error {
	f, err := fsys.OpenFile(filepath.Join(dir, stateName), os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	s := stateFile{file: f, slotRecord: r}
	return errors.Join(s.write(), s.sync(), f.Close())
}

// openState reads the file. It returns nil if there is no valid slot.
func openState(fsys vfs.FS, dir string) (*stateFile, error) {
	f, err := fsys.OpenFile(filepath.Join(dir, stateName), os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b := make([]byte, slots*slotLen)
	n, _ := f.ReadAt(b, 0)
	s, found := &stateFile{file: f}, false
	for i := range slots {
		if end := (i + 1) * slotLen; end <= n {
			r, ok := decodeSlot(b[i*slotLen : end])
			if ok && (!found || r.sequence > s.sequence) {
				s.slotRecord, s.slot, found = r, (i+1)%slots, true
			}
		}
	}
	if !found {
		return nil, f.Close()
	}
	// It may be in the page cache alone, in the slot that the next write leaves as it is.
	if err := f.Sync(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

// write writes the record to the two slots that are free for it.
func (s *stateFile) write() error {
	s.sequence++
	s.dirty = true
	b := s.encode()
	for _, slot := range [...]int{s.slot, (s.slot + 1) % slots} {
		if _, err := s.file.WriteAt(b, int64(slot*slotLen)); err != nil {
			return err
		}
	}
	return nil
}

// sync makes what was written durable.
func (s *stateFile) sync() error {
	if !s.dirty {
		return nil
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	s.slot, s.dirty = (s.slot+2)%slots, false
	return nil
}
