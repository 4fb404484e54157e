package vfs

import "time"

// Watch returns a file system that calls slow after each sync, of a file or of a
// directory, that took longer than a limit.
func Watch(fsys FS, limit time.Duration, slow func(name string, took time.Duration)) FS {
	return &watched{fsys, limit, slow}
}

type watched struct {
	FS
	limit time.Duration
	slow  func(name string, took time.Duration)
}

// time calls do, and reports how long it took if that was over the limit.
func (w *watched) time(name string, do func() error) error {
	began := time.Now()
	err := do()
	if took := time.Since(began); took > w.limit {
		w.slow(name, took)
	}
	return err
}

func (w *watched) OpenFile(name string, flag int) (File, error) {
	f, err := w.FS.OpenFile(name, flag)
	if err != nil {
		return nil, err
	}
	return &watchedFile{f, w, name}, nil
}

func (w *watched) SyncDir(dir string) error {
	return w.time(dir, func() error { return w.FS.SyncDir(dir) })
}

type watchedFile struct {
	File
	w    *watched
	name string
}

func (f *watchedFile) Sync() error { return f.w.time(f.name, f.File.Sync) }
