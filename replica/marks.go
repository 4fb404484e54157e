package replica

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"sort"
	"sync"

	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
)

const (
	marksName  = "runnel-index"
	markLen    = 36
	markEvery  = 256 << 10 // bytes of the log from one mark to the next
	maxMarkLen = 64 << 20  // of the file
	syncEvery  = 256       // marks from one sync to the next: that much of the log is read after a crash
)

// mark says at which offset the batch of an index begins, and its term. Every batch
// that begins a term or a segment has one, and so have others in between.
type mark struct {
	index, term uint64
	offset      int64
	before      uint32 // if it begins a segment: the checksum of the batch before it
}

func (m mark) encode(generation uint32) []byte {
	b := make([]byte, 0, markLen)
	b = binary.BigEndian.AppendUint64(b, m.index)
	b = binary.BigEndian.AppendUint64(b, m.term)
	b = binary.BigEndian.AppendUint64(b, uint64(m.offset))
	b = binary.BigEndian.AppendUint32(b, generation)
	b = binary.BigEndian.AppendUint32(b, m.before)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeMark(b []byte, generation uint32) (m mark, ok bool) {
	if binary.BigEndian.Uint32(b[24:]) != generation || crc32.Checksum(b[:32], castagnoli) != binary.BigEndian.Uint32(b[32:]) {
		return m, false
	}
	return mark{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), int64(binary.BigEndian.Uint64(b[16:])), binary.BigEndian.Uint32(b[28:])}, true
}

// marks finds batches by index. The file has only marks of committed batches, which
// are true for good, so no write waits for its sync: what a crash takes is found by
// reading the log. Readers use it beside the one writer.
type marks struct {
	file       vfs.File
	size       int64
	generation uint32

	mu   sync.Mutex
	list []mark

	filed int // how many of list are in the file; the writer's own
	fresh int // how many marks of the file are not synced
	bytes int // of the log since the last one
}

// openMarks reads the marks of a generation, behind an index and up to another.
func openMarks(fsys vfs.FS, dir string, generation uint32, start Start) (*marks, error) {
	f, err := fsys.OpenFile(filepath.Join(dir, marksName), os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, err
	}
	m := &marks{file: f, generation: generation, list: []mark{start.mark()}}
	size, err := f.Size()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if size == 0 {
		if err := fsys.SyncDir(dir); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	b := make([]byte, min(size, maxMarkLen))
	if n, err := f.ReadAt(b, 0); n < len(b) {
		return nil, errors.Join(err, f.Close())
	}
	for ; len(b) >= markLen; b = b[markLen:] {
		next, ok := decodeMark(b, generation)
		if !ok {
			break
		}
		m.size += markLen
		if last := m.list[len(m.list)-1]; next.index > last.index && next.offset > last.offset {
			m.list = append(m.list, next)
		} else if next.index == last.index {
			m.list[len(m.list)-1] = next
		}
	}
	m.filed = len(m.list)
	return m, nil
}

// last returns the last mark.
func (m *marks) last() mark { return m.list[len(m.list)-1] }

// agree reports whether the log has batches of the marks' terms at their offsets.
func (m *marks) agree(l *log.Log) bool {
	epochs, i, term := l.Epochs(), 0, uint64(0)
	for _, k := range m.list {
		for i+1 < len(epochs) && epochs[i+1].Start <= k.offset {
			i++
		}
		if k.term == 0 {
			continue
		}
		if k.offset >= l.EndOffset() || i == len(epochs) {
			return false
		}
		e := epochs[i]
		begins := term == 0 || term == k.term || e.Start == k.offset // where its term begins
		if e.Start <= k.offset && (uint64(e.Epoch) != k.term || !begins) {
			return false
		}
		term = k.term
	}
	return true
}

// forget drops all marks, which are to be made again from the log.
func (m *marks) forget(start Start) error {
	m.list = []mark{start.mark()}
	m.size, m.filed, m.bytes = 0, 1, 0
	return m.file.Truncate(0)
}

// floor returns the last mark at or before an index.
func (m *marks) floor(index uint64) mark {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := sort.Search(len(m.list), func(i int) bool { return m.list[i].index > index })
	return m.list[max(i-1, 0)]
}

// floorOffset returns the last mark at or before an offset.
func (m *marks) floorOffset(offset int64) mark {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := sort.Search(len(m.list), func(i int) bool { return m.list[i].offset > offset })
	return m.list[max(i-1, 0)]
}

// mark is where a log begins; the term of its first batch is not known.
func (s *Start) mark() mark { return mark{index: s.Index + 1, offset: s.Offset} }

// add takes note of a batch behind all others.
func (m *marks) add(next mark, size int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	last := &m.list[len(m.list)-1]
	switch {
	case last.index == next.index:
		if last.term == 0 { // it was the place where the log begins, of a term yet unknown
			last.term = next.term
			m.filed = min(m.filed, len(m.list)-1)
		}
	case next.term != last.term || next.before != 0 || m.bytes >= markEvery:
		m.list = append(m.list, next)
		m.bytes = 0
	}
	m.bytes += size
}

// cut drops the marks from an index on.
func (m *marks) cut(index uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for n := len(m.list); n > 1 && m.list[n-1].index >= index; n-- {
		m.list = m.list[:n-1]
	}
	m.filed = min(m.filed, len(m.list))
}

// rise drops the marks of batches before a start.
func (m *marks) rise(start Start) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := sort.Search(len(m.list), func(i int) bool { return m.list[i].index > start.Index+1 })
	first := start.mark()
	if last := m.list[max(i-1, 0)]; last.index == first.index {
		first.term = last.term
	}
	m.list = append([]mark{first}, m.list[i:]...)
	m.filed = max(1, m.filed-i+1)
}

// flush writes the marks of committed batches to the file. How a segment ends is made durable at once: made again from the
// log, it would say nothing of it.
func (m *marks) flush(commit uint64) error {
	segment := false
	for m.filed < len(m.list) && m.list[m.filed].index <= commit {
		if _, err := m.file.WriteAt(m.list[m.filed].encode(m.generation), m.size); err != nil {
			return err
		}
		segment = segment || m.list[m.filed].before != 0
		m.filed++
		m.fresh++
		m.size += markLen
	}
	if m.fresh < syncEvery && !segment {
		return nil
	}
	return m.sync()
}

func (m *marks) sync() error {
	m.fresh = 0
	return m.file.Sync()
}

// terms returns where terms begin, of those that begin at or before an index.
func (m *marks) terms(start Start, index uint64) []termStart {
	terms := []termStart{{start.Term, start.Index}}
	for _, k := range m.list {
		if k.index <= index && k.term != 0 && k.term != terms[len(terms)-1].term {
			terms = append(terms, termStart{k.term, k.index})
		}
	}
	return terms
}
