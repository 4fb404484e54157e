package keyindex

import (
	"cmp"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/runnel-go/runnel/log"
)

// list returns the names of the index's files.
func list(cfg *Config) (names []string, err error) {
	entries, err := cfg.FS.ReadDir(cfg.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if !e.Dir && IsName(e.Name) {
			names = append(names, e.Name)
		}
	}
	return names, err
}

// removeAll removes files, durably.
func removeAll(cfg *Config, names []string) error {
	for _, name := range names {
		if err := cfg.FS.Remove(filepath.Join(cfg.Dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return cfg.FS.SyncDir(cfg.Dir)
}

// openRuns opens the runs that fit the log and follow each other without a gap, and
// removes all others.
func openRuns(cfg *Config) (runs []*run, err error) {
	names, err := list(cfg)
	if err != nil {
		return nil, err
	}
	var all []*run
	var wrong []string
	defer func() {
		if err != nil {
			release(all)
		}
	}()
	for _, name := range names {
		r, err := openRun(cfg.FS, cfg.Dir, name)
		if err == nil && !fits(&r.header, cfg.Log) {
			r.release()
			err = errDamaged
		}
		switch {
		case err == nil:
			all = append(all, r)
		case errors.Is(err, errDamaged):
			wrong = append(wrong, name)
		default:
			return nil, err
		}
	}
	// Of runs that begin together the longest comes first: the others were merged into it.
	slices.SortFunc(all, func(a, b *run) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(b.to, a.to)) })
	start := cfg.Log.StartOffset()
	for _, r := range all {
		follows := len(runs) == 0 && r.from <= start && r.to > start
		if n := len(runs); n > 0 {
			follows = r.from == runs[n-1].to && r.seed == runs[n-1].seed
		}
		if follows {
			runs = append(runs, r)
			continue
		}
		wrong = append(wrong, r.name())
		r.release()
	}
	all = runs
	if len(wrong) > 0 {
		return runs, removeAll(cfg, wrong)
	}
	return runs, nil
}

// fits reports whether a log has the records that a run covers: what it has at the run's
// end is of the same leader epoch.
func fits(h *header, l *log.Log) bool {
	if h.to > l.EndOffset() {
		return false
	}
	epoch := int32(-1)
	for _, e := range l.Epochs() {
		if e.Start >= h.to {
			break
		}
		epoch = e.Epoch
	}
	return epoch == h.epoch
}
