package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
)

// swapName is the manifest of a swap: from when it is durable the new segment
// counts, and until it is removed whoever opens the log finishes what it says.
const swapName = "runnel-swap"

// Layout of the manifest; docs/format.md draws it.
const (
	swapMagic     = "RNLSWAP\x00"
	swapVersion   = 1
	swapHeaderLen = 32
	swapEntryLen  = 16
	maxSwap       = swapHeaderLen + maxGroup*swapEntryLen + 4
)

// Replacement is a finished segment that is to take the place of others, or the
// word that a Compaction came to its end.
type Replacement struct {
	log   *Log
	old   []*segment // which follow on each other
	next  *segment
	freed int64 // bytes
	mark  *mark // how far the log is clean; nil while there is more to come
}

// Discard removes what was written for a Replacement that is not to be swapped
// in.
func (r *Replacement) Discard() {
	if r.next == nil {
		return
	}
	r.next.retire()
	_ = removeCleaned(r.next.fs, r.next) // what is left is removed by Open
}

// Swap puts a Replacement in the place of the segments that it was made from. It
// is the writer's. Readers at work finish in the old files. When the segments
// were deleted or truncated meanwhile it discards the Replacement, and its error
// makes Compact return.
//
// It is durable when it returns. A crash meanwhile leaves the old segments or the
// new one. An error before the manifest is durable changes nothing; one
// afterwards is final, as that of Sync is, and the next Open finishes the swap.
func (l *Log) Swap(r *Replacement) error {
	if err := l.usable(); err != nil {
		r.Discard()
		return err
	}
	if r.next == nil {
		return l.finishCompaction(r.mark)
	}
	at, ok := l.place(r.old)
	if !ok {
		r.Discard()
		return errGone
	}
	if err := l.commit(r); err != nil {
		return err
	}
	if err := l.exchange(r, at); err != nil {
		return l.fail(err)
	}
	return nil
}

// finishCompaction notes how far the log is clean.
func (l *Log) finishCompaction(m *mark) error {
	if *m == *l.mark.Load() {
		return nil
	}
	if err := l.sync(); err != nil {
		return err
	}
	l.mark.Store(&mark{min(m.clean, l.end.Load()), m.horizon})
	if err := l.writeCheckpoint(l.checkpoint.clean); err != nil {
		return l.refuse(err)
	}
	return nil
}

// place returns where in the log's list the segments stand. ok is false when one
// of them is no longer there, or has become the active one.
func (l *Log) place(old []*segment) (at int, ok bool) {
	segments := l.list()
	for at < len(segments) && segments[at] != old[0] {
		at++
	}
	if at+len(old) >= len(segments) {
		return 0, false
	}
	for i, s := range old {
		if segments[at+i] != s {
			return 0, false
		}
	}
	return at, true
}

// commit writes the manifest. Before it, both slots of the checkpoint get to name
// the active segment, so that neither speaks of one that is about to change.
func (l *Log) commit(r *Replacement) error {
	if err := l.sync(); err != nil {
		r.Discard()
		return err
	}
	for range 2 {
		if err := l.writeCheckpoint(false); err != nil {
			r.Discard()
			return l.refuse(err)
		}
	}
	path := filepath.Join(l.cfg.Dir, swapName)
	err := vfs.WriteFile(l.cfg.FS, path, encodeManifest(r.old, r.next))
	if err == nil {
		return nil
	}
	// It may be there and durable or not: only once it certainly isn't, may the new
	// segment go.
	if rm := l.cfg.FS.Remove(path); rm != nil && !errors.Is(rm, fs.ErrNotExist) {
		return l.fail(fmt.Errorf("%w; then removing the manifest: %w", err, rm))
	}
	if sync := l.cfg.FS.SyncDir(l.cfg.Dir); sync != nil {
		return l.fail(fmt.Errorf("%w; then removing the manifest: %w", err, sync))
	}
	_ = l.cfg.FS.Remove(path + ".tmp") // the next one replaces it
	r.Discard()
	return l.refuse(err)
}

// exchange does what the manifest says: readers see the new segment, its files get
// their names, those of the others go, the checkpoint sums up what is there, and
// the manifest goes. Until its files have their names the new segment keeps its
// file open and its index in memory.
func (l *Log) exchange(r *Replacement, at int) error {
	segments := l.list()
	left := append(segments[:at:at], r.next)
	left = append(left, segments[at+len(r.old):]...)
	l.segments.Store(&left)
	l.tail.forget(left[at+1].base) // it has what compaction took away
	for _, s := range r.old {
		s.retire()
		l.digest -= digest(s.base, s.size.Load())
	}
	l.sealed -= len(r.old) - 1
	l.digest += digest(r.next.base, r.next.size.Load())

	for _, path := range r.next.paths() {
		if err := l.cfg.FS.Rename(path+cleanedSuffix, path); err != nil {
			return err
		}
	}
	for _, s := range r.old[1:] {
		if err := s.remove(); err != nil {
			return err
		}
	}
	if err := l.cfg.FS.SyncDir(l.cfg.Dir); err != nil {
		return err
	}
	if err := l.writeCheckpoint(false); err != nil {
		return err
	}
	r.next.live.Store(nil)
	l.files.add(r.next)
	return removeManifest(l.cfg.FS, l.cfg.Dir)
}

// removeManifest removes the manifest durably: one that came back after a crash
// would speak of segments that have changed since.
func removeManifest(fsys vfs.FS, dir string) error {
	if err := fsys.Remove(filepath.Join(dir, swapName)); err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}

// extent is what tells a segment's file: its name and its length.
type extent struct{ base, size int64 }

// manifest is a swap that was begun: the segments old become next, whose base is
// the first one's.
type manifest struct {
	next extent
	old  []extent
}

func encodeManifest(old []*segment, next *segment) []byte {
	b := make([]byte, 0, swapHeaderLen+len(old)*swapEntryLen+4)
	b = append(b, swapMagic...)
	b = binary.BigEndian.AppendUint32(b, swapVersion)
	b = binary.BigEndian.AppendUint32(b, uint32(len(old)))
	for _, s := range append([]*segment{next}, old...) {
		b = binary.BigEndian.AppendUint64(b, uint64(s.base))
		b = binary.BigEndian.AppendUint64(b, uint64(s.size.Load()))
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeManifest reads what encodeManifest wrote. ok is false when the bytes are
// not such a file.
func decodeManifest(b []byte) (m manifest, ok bool, err error) {
	body := len(b) - 4
	if len(b) < swapHeaderLen+swapEntryLen+4 || string(b[:8]) != swapMagic ||
		crc32.Checksum(b[:body], castagnoli) != binary.BigEndian.Uint32(b[body:]) {
		return manifest{}, false, nil
	}
	if v := binary.BigEndian.Uint32(b[8:]); v != swapVersion {
		return manifest{}, false, fault.Newf(fault.UnsupportedFormat, "a manifest of version %d, only %d is read", v, swapVersion)
	}
	if n := int64(binary.BigEndian.Uint32(b[12:])); int64(body) != swapHeaderLen+n*swapEntryLen {
		return manifest{}, false, nil
	}
	entry := func(pos int) extent {
		return extent{int64(binary.BigEndian.Uint64(b[pos:])), int64(binary.BigEndian.Uint64(b[pos+8:]))}
	}
	m.next = entry(16)
	for pos := swapHeaderLen; pos < body; pos += swapEntryLen {
		m.old = append(m.old, entry(pos))
	}
	ascending := m.next.base >= 0 && m.next.size >= 0
	for i, e := range m.old {
		ascending = ascending && e.size >= 0 && (i == 0 && e.base == m.next.base || i > 0 && e.base > m.old[i-1].base)
	}
	return m, ascending, nil
}

// finishSwap does what a manifest says that a crash has left, as far as it is
// not done, and repeatably. Without a manifest, it removes what was written to
// take the place of segments.
func (o *opening) finishSwap(names []vfs.Entry) error {
	cfg := &o.l.cfg
	has := make(map[string]int64)
	for _, e := range names {
		if e.Name == swapName || filepath.Ext(e.Name) == cleanedSuffix {
			has[e.Name] = e.Size
		}
	}
	if len(has) == 0 {
		return nil
	}
	if _, ok := has[swapName]; !ok {
		return o.removeCleaned(has)
	}
	path := filepath.Join(cfg.Dir, swapName)
	b, err := vfs.ReadFile(cfg.FS, path, maxSwap)
	if err != nil {
		return err
	}
	m, ok, err := decodeManifest(b)
	if err != nil {
		return err
	}
	if !ok {
		return &fault.Corruption{
			Topic: cfg.Topic, Partition: cfg.Partition, Offset: -1, File: path,
			Expected: "which segments take the place of which", Found: "bytes whose checksum is not theirs",
			Hint: "nothing was changed; restore the partition from a copy, or move this file away to open what there is",
		}
	}
	return o.swap(&m, has)
}

// removeCleaned removes files that nothing speaks of.
func (o *opening) removeCleaned(names map[string]int64) error {
	for name := range names {
		if err := o.l.cfg.FS.Remove(filepath.Join(o.l.cfg.Dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (o *opening) swap(m *manifest, has map[string]int64) error {
	cfg := &o.l.cfg
	next := o.l.newSegment(m.next.base, m.next.size)
	for _, path := range next.paths() {
		size, ok := has[filepath.Base(path)+cleanedSuffix]
		if !ok {
			continue // it has its name already
		}
		if path == next.logPath() && size != m.next.size {
			return o.l.corrupt(next, m.next.base, size, fmt.Sprintf("%d bytes in %s", m.next.size, filepath.Base(path)+cleanedSuffix), fmt.Sprintf("%d", size))
		}
		if err := cfg.FS.Rename(path+cleanedSuffix, path); err != nil {
			return err
		}
	}
	for _, e := range m.old[1:] {
		if err := o.l.newSegment(e.base, e.size).remove(); err != nil {
			return err
		}
	}
	o.swapped = m // the names are made durable with the checkpoint
	return nil
}

// apply makes a checkpoint from before the swap one from after it.
func (m *manifest) apply(c *checkpoint) {
	c.sealed -= len(m.old) - 1
	c.digest += digest(m.next.base, m.next.size)
	for _, e := range m.old {
		c.digest -= digest(e.base, e.size)
	}
}
