package vfs

import "time"

// Watch returns a file system that tells of each sync, of a file or of a
// directory's names, that takes longer than some time, once it has ended.
func Watch(fsys FS, longer time.Duration, told func(name string, took time.Duration)) FS {
	return &watched{fsys, longer, told}
}

type watched struct {
	FS
	longer time.Duration
	told   func(name string, took time.Duration)
}

// time calls do, and tells how long it took if that was long.
func (w *watched) time(name string, do func() error) error {
	began := time.Now()
	err := do()
	if took := time.Since(began); took > w.longer {
		w.told(name, took)
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
