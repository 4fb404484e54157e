package vfs

import (
	"os"
)

// OS returns the file system of the operating system. Files are created with
// mode 0644, directories with 0755.
func OS() FS { return disk{} }

type disk struct{}

func (disk) OpenFile(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, 0o644)
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

func (disk) MkdirAll(dir string) error { return os.MkdirAll(dir, 0o755) }

func (disk) ReadDir(dir string) ([]Entry, error) {
	des, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(des))
	for _, de := range des {
		info, err := de.Info()
		if os.IsNotExist(err) {
			continue // removed since it was listed
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, entryOf(info))
	}
	return entries, nil
}

func (disk) Stat(name string) (Entry, error) {
	info, err := os.Stat(name)
	if err != nil {
		return Entry{}, err
	}
	return entryOf(info), nil
}

func (disk) Rename(oldname, newname string) error { return os.Rename(oldname, newname) }
func (disk) Remove(name string) error             { return os.Remove(name) }
func (disk) RemoveAll(name string) error          { return os.RemoveAll(name) }
func (disk) SyncDir(dir string) error             { return syncDir(dir) }

func entryOf(info os.FileInfo) Entry {
	e := Entry{Name: info.Name(), Dir: info.IsDir()}
	if !e.Dir {
		e.Size = info.Size()
	}
	return e
}

type diskFile struct{ *os.File }

func (f diskFile) Size() (int64, error) {
	info, err := f.File.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f diskFile) Sync() error { return datasync(f.File) }
