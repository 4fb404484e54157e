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

// swapName is the manifest of a swap. Once it is durable the swap is decided: the
// new segment replaces the old ones, and Open finishes the work after a crash.
// Removing the manifest ends the swap.
//
//	*.cleaned synced ─▶ checkpoint in both slots ─▶ manifest durable ─▶ rename *.cleaned
//	  ─▶ remove the old files ─▶ sync the directory ─▶ checkpoint ─▶ remove the manifest
//
// Before the manifest, a crash leaves the old segments, and Open removes *.cleaned.
// After it, every step can be repeated, and Open repeats those that are missing.
const swapName = "runnel-swap"

// Layout of the manifest; docs/format.md draws it.
const (
	swapMagic     = "RNLSWAP\x00"
	swapVersion   = 1
	swapHeaderLen = 32
	swapEntryLen  = 16
	maxSwap       = swapHeaderLen + maxGroup*swapEntryLen + 4
)

// Replacement is a finished segment that will replace others, or marks the end of
// a pass of compaction.
type Replacement struct {
	log   *Log
	old   []*segment // which follow on each other
	next  *segment
	freed int64 // bytes
	mark  *mark // how far the log is clean, at the end of a pass; nil before
}

// Discard removes the files of a Replacement that will not be swapped in.
func (r *Replacement) Discard() {
	if r.next == nil {
		return
	}
	r.next.retire()
	_ = removeCleaned(r.next.fs, r.next) // what is left is removed by Open
}

// Swap replaces the segments from which a Replacement was made. Only the writer may
// call it. Running reads finish in the old files. If the segments were deleted or
// truncated meanwhile, Swap discards the Replacement, and its error makes Compact
// return.
//
// The swap is durable when Swap returns. A crash meanwhile leaves either the old
// segments or the new one. An error before the manifest is durable changes
// nothing; a later one is final, as that of Sync is, and the next Open finishes
// the swap.
func (l *Log) Swap(r *Replacement) error {
	if err := l.usable(); err != nil {
		r.Discard()
		return err
	}
	if r.next == nil {
		return l.finishCompaction(r.mark)
	}
	at, ok := l.indexOf(r.old)
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

// finishCompaction stores how far the log is clean.
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

// indexOf returns where in the log's list the segments are. ok is false if one of
// them is no longer there, or has become the active one.
func (l *Log) indexOf(old []*segment) (at int, ok bool) {
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

// commit writes the manifest. Before, it writes the checkpoint twice, so that both
// slots name the active segment: a slot that named one of the old segments, and
// became the newest when the other was torn, would make Open expect its bytes.
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
	// The manifest may be durable or not. Only once it is certainly gone may the new
	// segment's files be removed.
	if rm := l.cfg.FS.Remove(path); rm != nil && !errors.Is(rm, fs.ErrNotExist) {
		return l.fail(fmt.Errorf("%w; then removing the manifest: %w", err, rm))
	}
	if sync := l.cfg.FS.SyncDir(l.cfg.Dir); sync != nil {
		return l.fail(fmt.Errorf("%w; then removing the manifest: %w", err, sync))
	}
	_ = l.cfg.FS.Remove(path + ".tmp") // if that fails, the next manifest replaces it
	r.Discard()
	return l.refuse(err)
}

// exchange does what the manifest says, in the order that swapName documents, but
// readers see the new segment first. Until its files have their names, the new
// segment is read through its open file and its index in memory.
func (l *Log) exchange(r *Replacement, at int) error {
	segments := l.list()
	left := append(segments[:at:at], r.next)
	left = append(left, segments[at+len(r.old):]...)
	l.segments.Store(&left)
	l.tail.forget(left[at+1].base) // it has records that compaction removed
	for _, s := range r.old {
		s.retire()
		l.digest -= s.digest()
	}
	l.sealed -= len(r.old) - 1
	l.digest += r.next.digest()

	for _, path := range r.next.paths() {
		if path == r.next.abortedPath() && r.next.aborted.n == 0 {
			if err := l.cfg.FS.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			continue
		}
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
	l.files.opened(r.next)
	return removeManifest(l.cfg.FS, l.cfg.Dir)
}

// removeManifest removes the manifest durably. If it came back after a crash, Open
// would apply it to segments that later swaps have replaced.
func removeManifest(fsys vfs.FS, dir string) error {
	if err := fsys.Remove(filepath.Join(dir, swapName)); err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}

// extent identifies a segment's file by its base offset and its length.
type extent struct{ base, size int64 }

// manifest describes a swap: next, whose base is the first one's, replaces old.
//
//	offset  bytes
//	0       8      "RNLSWAP\0"
//	8       4      version: 1
//	12      4      n, the number of old segments
//	16      16     next: base offset, length
//	32      16·n   each old segment: base offset, length
//	        4      CRC-32C of everything before
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

// finishSwap finishes a swap that a crash interrupted. It may itself be
// interrupted and repeated. Without a manifest, it removes the files of a swap that
// was not decided.
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
			Expected: "which segments replace which", Found: "bytes whose checksum is not theirs",
			Hint: "nothing was changed; restore the partition from a copy, or move this file away to open the log without it",
		}
	}
	return o.resumeSwap(&m, has)
}

// removeCleaned removes the files of replacements that no manifest names.
func (o *opening) removeCleaned(names map[string]int64) error {
	for name := range names {
		if err := o.l.cfg.FS.Remove(filepath.Join(o.l.cfg.Dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// resumeSwap does the steps of a swap that are missing. has are the files that are
// not renamed yet. A replacement of another length than the manifest's is damage:
// nothing has been changed then.
func (o *opening) resumeSwap(m *manifest, has map[string]int64) error {
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
	o.swapped = m // openActive syncs the directory before it writes the checkpoint
	return nil
}

// apply updates the number and the digest of the segments in a checkpoint from
// before the swap.
func (m *manifest) apply(c *checkpoint) {
	c.sealed -= len(m.old) - 1
	c.digest += digest(m.next.base, m.next.size)
	for _, e := range m.old {
		c.digest -= digest(e.base, e.size)
	}
}
