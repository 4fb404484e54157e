package vfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"syscall"
)

// Memory is a file system in memory. Nothing outlives the process, so Sync and
// SyncDir have nothing to do.
type Memory struct {
	mu  sync.Mutex
	top *memoryNode // has the first elements of relative paths, and "" as that of absolute ones
}

// memoryNode is a directory, which has entries, or a file, which has data.
type memoryNode struct {
	entries map[string]*memoryNode
	data    *chunks
	crash   *crashNode // the durable part; nil in a Memory
}

func newMemoryDir() *memoryNode { return &memoryNode{entries: make(map[string]*memoryNode)} }

func (n *memoryNode) isDir() bool { return n.entries != nil }

// NewMemory returns an empty file system.
func NewMemory() *Memory {
	m := &Memory{top: newMemoryDir()}
	m.top.entries[""] = newMemoryDir()
	return m
}

// elements splits a path. It returns none for ".", and an empty first one for an absolute
// path.
func elements(name string) []string {
	switch name = filepath.ToSlash(filepath.Clean(name)); name {
	case ".":
		return nil
	case "/":
		return []string{""}
	}
	return strings.Split(name, "/")
}

// lookup returns the node at a path. The caller holds m.mu.
func (m *Memory) lookup(op, name string) (*memoryNode, error) {
	n := m.top
	for _, element := range elements(name) {
		if !n.isDir() {
			return nil, pathError(op, name, syscall.ENOTDIR)
		}
		if n = n.entries[element]; n == nil {
			return nil, pathError(op, name, fs.ErrNotExist)
		}
	}
	return n, nil
}

// parent returns the directory of a path's last element, which need not exist, and that
// element. The caller holds m.mu.
func (m *Memory) parent(op, name string) (*memoryNode, string, error) {
	all := elements(name)
	if len(all) == 0 || len(all) == 1 && all[0] == "" {
		return nil, "", pathError(op, name, syscall.EINVAL)
	}
	dir, err := m.lookup(op, filepath.Dir(filepath.Clean(name)))
	if err != nil {
		return nil, "", err
	}
	if !dir.isDir() {
		return nil, "", pathError(op, name, syscall.ENOTDIR)
	}
	return dir, all[len(all)-1], nil
}

// OpenFile opens or creates a file.
func (m *Memory) OpenFile(name string, flag int) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent("open", name)
	if err != nil {
		return nil, err
	}
	n := dir.entries[base]
	switch {
	case n != nil && flag&(os.O_CREATE|os.O_EXCL) == os.O_CREATE|os.O_EXCL:
		return nil, pathError("open", name, fs.ErrExist)
	case n == nil && flag&os.O_CREATE == 0:
		return nil, pathError("open", name, fs.ErrNotExist)
	case n != nil && n.isDir():
		return nil, pathError("open", name, syscall.EISDIR)
	case n == nil:
		n = &memoryNode{data: new(chunks)}
		dir.entries[base] = n
	case flag&os.O_TRUNC != 0:
		n.data.truncate(0)
	}
	return &memoryFile{name: name, data: n.data, writable: flag&os.O_RDWR != 0}, nil
}

// MkdirAll creates a directory and those above it.
func (m *Memory) MkdirAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.top
	for _, element := range elements(name) {
		if !n.isDir() {
			return pathError("mkdir", name, syscall.ENOTDIR)
		}
		next := n.entries[element]
		if next == nil {
			next = newMemoryDir()
			n.entries[element] = next
		}
		n = next
	}
	if !n.isDir() {
		return pathError("mkdir", name, syscall.ENOTDIR)
	}
	return nil
}

// ReadDir lists a directory, sorted by name.
func (m *Memory) ReadDir(name string) ([]Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, err := m.lookup("readdir", name)
	if err != nil {
		return nil, err
	}
	if !dir.isDir() {
		return nil, pathError("readdir", name, syscall.ENOTDIR)
	}
	entries := make([]Entry, 0, len(dir.entries))
	for base, n := range dir.entries {
		entries = append(entries, n.entry(base))
	}
	sort.Slice(entries, func(i, j int) bool { return entries[i].Name < entries[j].Name })
	return entries, nil
}

// Stat describes a file or directory.
func (m *Memory) Stat(name string) (Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.lookup("stat", name)
	if err != nil {
		return Entry{}, err
	}
	return n.entry(filepath.Base(name)), nil
}

func (n *memoryNode) entry(base string) Entry {
	if n.isDir() {
		return Entry{Name: base, Dir: true}
	}
	return Entry{Name: base, Size: n.data.size()}
}

// Rename moves a file or directory.
func (m *Memory) Rename(oldname, newname string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	from, oldbase, err := m.parent("rename", oldname)
	if err != nil {
		return err
	}
	n := from.entries[oldbase]
	if n == nil {
		return pathError("rename", oldname, fs.ErrNotExist)
	}
	to, newbase, err := m.parent("rename", newname)
	if err != nil {
		return err
	}
	if target := to.entries[newbase]; target != nil && target != n && (target.isDir() || n.isDir()) {
		return pathError("rename", newname, fs.ErrExist)
	}
	if n.isDir() && n.holds(to) {
		return pathError("rename", newname, syscall.EINVAL)
	}
	delete(from.entries, oldbase)
	to.entries[newbase] = n
	return nil
}

// holds reports whether dir is n or lies below it.
func (n *memoryNode) holds(dir *memoryNode) bool {
	if n == dir {
		return true
	}
	for _, below := range n.entries {
		if below.isDir() && below.holds(dir) {
			return true
		}
	}
	return false
}

// Remove removes a file or an empty directory.
func (m *Memory) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent("remove", name)
	if err != nil {
		return err
	}
	n := dir.entries[base]
	switch {
	case n == nil:
		return pathError("remove", name, fs.ErrNotExist)
	case len(n.entries) > 0:
		return pathError("remove", name, syscall.ENOTEMPTY)
	}
	delete(dir.entries, base)
	return nil
}

// RemoveAll removes a file or a directory with everything in it.
func (m *Memory) RemoveAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent("remove", name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	delete(dir.entries, base)
	return nil
}

// SyncDir checks that the directory exists.
func (m *Memory) SyncDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, err := m.lookup("sync", name)
	return err
}

func pathError(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}
