package keyindex

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/runnel-go/runnel/internal/vfs"
)

// Suffix ends the names of runs.
const Suffix = ".keyindex"

// Layout of a run: a header, then pages of entries, all but the last one full. The rest of
// a page before its checksum is zeros.
const (
	magic     = "rnlkeys\x01"
	headerLen = 64
	pageLen   = 4096
	entryLen  = 8 + 8
	perPage   = (pageLen - 4) / entryLen
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errDamaged says that a run is not what was written.
var errDamaged = errors.New("a run of the index is damaged")

// run is a file of entries, sorted by hash and then by offset.
type run struct {
	fs   vfs.FS
	path string
	header
	file vfs.File
	refs atomic.Int32 // the index's own, and one for each user; the last one closes the file
}

// header says what a run covers.
type header struct {
	seed     uint64
	from, to int64
	count    int64 // of entries
	epoch    int32 // of the record at to-1
}

func (h *header) pages() int64 { return (h.count + perPage - 1) / perPage }
func (h *header) size() int64  { return headerLen + h.pages()*pageLen }

func (h *header) encode() []byte {
	b := append(make([]byte, 0, headerLen), magic...)
	for _, v := range []uint64{h.seed, uint64(h.from), uint64(h.to), uint64(h.count)} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(h.epoch))
	b = b[:headerLen]
	binary.BigEndian.PutUint32(b[headerLen-4:], crc32.Checksum(b[:headerLen-4], castagnoli))
	return b
}

func parseHeader(b []byte) (h header, ok bool) {
	if len(b) < headerLen || string(b[:8]) != magic || crc32.Checksum(b[:headerLen-4], castagnoli) != binary.BigEndian.Uint32(b[headerLen-4:]) {
		return h, false
	}
	h.seed = binary.BigEndian.Uint64(b[8:])
	h.from, h.to = int64(binary.BigEndian.Uint64(b[16:])), int64(binary.BigEndian.Uint64(b[24:]))
	h.count, h.epoch = int64(binary.BigEndian.Uint64(b[32:])), int32(binary.BigEndian.Uint32(b[40:]))
	return h, h.from >= 0 && h.from < h.to && h.count >= 0 && h.count <= h.to-h.from
}

// name is the file's: the first offset, and the one behind the last.
func (h *header) name() string { return fmt.Sprintf("%020d-%020d%s", h.from, h.to, Suffix) }

// IsName reports whether a file of this name belongs to an index.
func IsName(name string) bool {
	name = strings.TrimSuffix(name, ".tmp")
	from, to, ok := strings.Cut(strings.TrimSuffix(name, Suffix), "-")
	_, err := strconv.ParseUint(from, 10, 63)
	_, err2 := strconv.ParseUint(to, 10, 63)
	return ok && strings.HasSuffix(name, Suffix) && len(from) == 20 && len(to) == 20 && err == nil && err2 == nil
}

// openRun opens a file. A damaged header is errDamaged.
func openRun(fsys vfs.FS, dir, name string) (*run, error) {
	path := filepath.Join(dir, name)
	f, err := fsys.OpenFile(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	r := &run{fs: fsys, path: path, file: f}
	r.refs.Store(1)
	size, err := f.Size()
	b := make([]byte, headerLen)
	if err == nil && size >= headerLen {
		_, err = f.ReadAt(b, 0)
	}
	var ok bool
	if r.header, ok = parseHeader(b); err == nil && (!ok || r.size() != size || r.name() != name) {
		err = errDamaged
	}
	if err != nil {
		r.release()
		return nil, err
	}
	return r, nil
}

func (r *run) release() {
	if r.refs.Add(-1) == 0 {
		_ = r.file.Close()
	}
}

// remove removes the file. Users of the run go on.
func (r *run) remove() error {
	r.release()
	if err := r.fs.Remove(r.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// cursor reads a run, and has one page of it.
type cursor struct {
	run  *run
	page int64 // -1: none
	buf  []byte
}

func newCursor(r *run) *cursor { return &cursor{run: r, page: -1, buf: make([]byte, pageLen)} }

// at returns the i-th entry.
func (c *cursor) at(i int64) (entry, error) {
	if err := c.load(i / perPage); err != nil {
		return entry{}, err
	}
	b := c.buf[i%perPage*entryLen:]
	return entry{binary.BigEndian.Uint64(b), int64(binary.BigEndian.Uint64(b[8:]))}, nil
}

func (c *cursor) load(page int64) error {
	if page == c.page {
		return nil
	}
	c.page = -1
	if _, err := c.run.file.ReadAt(c.buf, headerLen+page*pageLen); errors.Is(err, io.EOF) {
		return errDamaged
	} else if err != nil {
		return err
	}
	if pageSum(c.buf, page) != binary.BigEndian.Uint32(c.buf[pageLen-4:]) {
		return errDamaged
	}
	c.page = page
	return nil
}

// pageSum is the checksum of a page, with its number: one in another's place is damage.
func pageSum(b []byte, page int64) uint32 {
	var number [8]byte
	binary.BigEndian.PutUint64(number[:], uint64(page))
	return crc32.Update(crc32.Checksum(number[:], castagnoli), castagnoli, b[:pageLen-4])
}

// search returns the number of the first entry that is not less than e. It guesses where
// that is, because hashes are spread evenly, and halves where a guess was no better.
func (c *cursor) search(e entry) (int64, error) {
	lo, hi := int64(0), c.run.count // it is in [lo, hi]
	least, most := uint64(0), ^uint64(0)
	for guess := true; lo < hi; guess = !guess {
		mid := lo + (hi-lo)/2
		if guess && most > least && e.hash >= least && e.hash <= most {
			share := float64(e.hash-least) / float64(most-least)
			mid = min(lo+int64(share*float64(hi-lo)), hi-1)
		}
		first := mid / perPage * perPage
		last := min(first+perPage, c.run.count) - 1
		begin, err := c.at(max(first, lo))
		if err != nil {
			return 0, err
		}
		end, err := c.at(min(last, hi-1))
		if err != nil {
			return 0, err
		}
		switch {
		case !begin.less(e):
			hi, most = max(first, lo), begin.hash
		case end.less(e):
			lo, least = min(last, hi-1)+1, end.hash
		default: // within the page
			return c.within(max(first, lo), min(last, hi-1), e)
		}
	}
	return lo, nil
}

// within is search within a page, whose entries from lo to hi hold the result.
func (c *cursor) within(lo, hi int64, e entry) (int64, error) {
	for lo < hi {
		mid := lo + (hi-lo)/2
		f, err := c.at(mid)
		if err != nil {
			return 0, err
		}
		if f.less(e) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, nil
}

// lastBefore returns the last offset of a hash before another offset.
func (r *run) lastBefore(hash uint64, bound int64) (int64, bool, error) {
	c := newCursor(r)
	i, err := c.search(entry{hash, bound})
	if err != nil || i == 0 {
		return 0, false, err
	}
	e, err := c.at(i - 1)
	return e.offset, err == nil && e.hash == hash, err
}

// offsets appends the offsets of a hash from one on, in their order, until dst has n.
func (r *run) offsets(dst []int64, hash uint64, from int64, n int) ([]int64, error) {
	c := newCursor(r)
	i, err := c.search(entry{hash, from})
	for ; err == nil && i < r.count && len(dst) < n; i++ {
		var e entry
		if e, err = c.at(i); err != nil || e.hash != hash {
			break
		}
		dst = append(dst, e.offset)
	}
	return dst, err
}

// runWriter writes a run, whose entries come in their order.
type runWriter struct {
	fs   vfs.FS
	dir  string
	h    header
	file vfs.File
	buf  []byte // the page being filled
}

func newRunWriter(fsys vfs.FS, dir string, h header) (*runWriter, error) {
	h.count = 0
	w := &runWriter{fs: fsys, dir: dir, h: h, buf: make([]byte, 0, pageLen)}
	var err error
	w.file, err = fsys.OpenFile(w.path()+".tmp", os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	return w, err
}

func (w *runWriter) path() string { return filepath.Join(w.dir, w.h.name()) }

func (w *runWriter) add(e entry) error {
	w.buf = binary.BigEndian.AppendUint64(w.buf, e.hash)
	w.buf = binary.BigEndian.AppendUint64(w.buf, uint64(e.offset))
	w.h.count++
	if len(w.buf) < perPage*entryLen {
		return nil
	}
	return w.flush()
}

// flush writes a page.
func (w *runWriter) flush() error {
	page := w.h.pages() - 1
	clear(w.buf[len(w.buf):pageLen])
	b := w.buf[:pageLen]
	binary.BigEndian.PutUint32(b[pageLen-4:], pageSum(b, page))
	w.buf = w.buf[:0]
	_, err := w.file.WriteAt(b, headerLen+page*pageLen)
	return err
}

// finish makes the run durable, and opens it.
func (w *runWriter) finish() (*run, error) {
	var err error
	if len(w.buf) > 0 {
		err = w.flush()
	}
	if err == nil {
		_, err = w.file.WriteAt(w.h.encode(), 0)
	}
	if err == nil {
		err = w.file.Sync()
	}
	if err != nil {
		w.abandon()
		return nil, err
	}
	if err := w.file.Close(); err != nil {
		return nil, err
	}
	if err := w.fs.Rename(w.path()+".tmp", w.path()); err != nil {
		return nil, err
	}
	if err := w.fs.SyncDir(w.dir); err != nil {
		return nil, err
	}
	return openRun(w.fs, w.dir, w.h.name())
}

// abandon removes what was written.
func (w *runWriter) abandon() {
	_ = w.file.Close()
	_ = w.fs.Remove(w.path() + ".tmp")
}
