package log

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/runnel-go/runnel/internal/vfs"
)

// swapView shows a log's directory as it will be once Open has finished an
// interrupted swap, so that the inspector needs no special cases for it.
type swapView struct {
	vfs.FS
	dir    string
	names  map[string]string // the final names of files, with their present ones
	hidden map[string]bool   // the names of files that will be deleted
}

func (v *swapView) OpenFile(path string, flag int) (vfs.File, error) {
	if name, ok := v.names[filepath.Base(path)]; ok && filepath.Dir(path) == v.dir {
		path = filepath.Join(v.dir, name)
	}
	return v.FS.OpenFile(path, flag)
}

func (v *swapView) ReadDir(dir string) ([]vfs.Entry, error) {
	entries, err := v.FS.ReadDir(dir)
	if dir != v.dir {
		return entries, err
	}
	kept := make([]vfs.Entry, 0, len(entries))
	for _, e := range entries {
		_, replaced := v.names[e.Name]
		if !replaced && !v.hidden[e.Name] {
			kept = append(kept, e)
		}
	}
	for name, now := range v.names {
		if i := slices.IndexFunc(kept, func(e vfs.Entry) bool { return e.Name == now }); i >= 0 {
			kept[i].Name = name
		}
	}
	slices.SortFunc(kept, func(x, y vfs.Entry) int { return cmp.Compare(x.Name, y.Name) })
	return kept, err
}

// viewSwap reports an interrupted swap and makes the inspector see the directory as
// it will be after it.
func (n *inspector) viewSwap() error {
	cfg := &n.l.cfg
	entries, err := cfg.FS.ReadDir(cfg.Dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	has := map[string]int64{}
	for _, e := range entries {
		if e.Name == swapName || filepath.Ext(e.Name) == cleanedSuffix {
			has[e.Name] = e.Size
		}
	}
	path := filepath.Join(cfg.Dir, swapName)
	if _, ok := has[swapName]; !ok {
		for name := range has {
			if !n.how.Live {
				n.report(Recoverable, filepath.Join(cfg.Dir, name), -1, 0, "no unfinished compaction", "a file that one has written", hintOpening)
			}
		}
		return nil
	}
	b, err := vfs.ReadFile(cfg.FS, path, maxSwap)
	if err != nil {
		return err
	}
	m, ok, err := decodeManifest(b)
	if err != nil {
		return err
	}
	if !ok {
		n.report(Damage, path, -1, 0, "which segments replace which", "bytes whose checksum is not theirs",
			"restore the partition from a copy, or move this file away to open the log without it")
		return nil
	}
	if !n.how.Live {
		n.report(Recoverable, path, m.next.base, 0, "no unfinished compaction", "one that was replacing segments", hintOpening)
	}
	n.swapped = &m
	view := &swapView{FS: cfg.FS, dir: cfg.Dir, names: map[string]string{}, hidden: map[string]bool{}}
	next := n.l.newSegment(m.next.base, m.next.size)
	for _, path := range next.paths() {
		name := filepath.Base(path)
		size, ok := has[name+cleanedSuffix]
		if !ok {
			continue
		}
		if path == next.logPath() && size != m.next.size {
			n.report(Damage, path, m.next.base, size, fmt.Sprintf("%d bytes in %s", m.next.size, name+cleanedSuffix), fmt.Sprint(size), hintDamage)
		}
		view.names[name] = name + cleanedSuffix
	}
	for _, e := range m.old[1:] {
		for _, path := range n.l.newSegment(e.base, e.size).paths() {
			view.hidden[filepath.Base(path)] = true
		}
	}
	cfg.FS = view
	return nil
}
