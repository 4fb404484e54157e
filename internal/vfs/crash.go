package vfs

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
)

// Crashable is a file system in memory that can lose its power. Besides what programs
// see, it keeps what a disk would have: bytes that were synced, and names whose directory
// was synced. Crash and After return what a machine may find when it is switched on
// again.
//
// It promises as little as POSIX does. Syncing a file doesn't sync its name, and what was
// not synced may survive in part and in any order. Only a rename happens as a whole or not
// at all.
type Crashable struct {
	mu      sync.Mutex
	live    *Memory
	crashed bool
	names   []nameChange // since the last SyncDir of their directories, in order
}

// crashNode is the durable part of a directory or a file, and what came after it.
type crashNode struct {
	entries map[string]*memoryNode // of a directory: the names that are durable
	data    *chunks                // of a file: the bytes that are durable
	changes []byteChange           // of a file: since its last Sync, in order
}

// byteChange is a write, or a truncation to pos.
type byteChange struct {
	pos      int64
	data     []byte
	truncate bool
}

// nameChange is one change of names, such as a rename: all its parts become durable
// together.
type nameChange []nameSet

// nameSet sets a name in a directory to a node, or removes the name if that is nil.
type nameSet struct {
	dir  *memoryNode
	name string
	node *memoryNode
}

// NewCrashable returns an empty file system.
func NewCrashable() *Crashable { return newCrashable() }

func newCrashable() *Crashable {
	c := &Crashable{live: NewMemory()}
	c.live.top.crash = newCrashDir()
	root := c.live.top.entries[""]
	root.crash = newCrashDir()
	c.live.top.crash.entries[""] = root // the root always exists
	return c
}

func newCrashDir() *crashNode { return &crashNode{entries: map[string]*memoryNode{}} }

// enter begins an operation. It fails if the power is off.
func (c *Crashable) enter(op, name string) error {
	c.mu.Lock()
	if c.crashed {
		c.mu.Unlock()
		return pathError(op, name, syscall.EIO)
	}
	return nil
}

// node returns the node at a path, or nil.
func (c *Crashable) node(name string) *memoryNode {
	n, err := c.live.lookup("", name)
	if err != nil {
		return nil
	}
	return n
}

// set returns the change of the name at a path, whose directory exists.
func (c *Crashable) set(name string, node *memoryNode) nameSet {
	dir, base, _ := c.live.parent("", name)
	return nameSet{dir, base, node}
}

// OpenFile opens or creates a file.
func (c *Crashable) OpenFile(name string, flag int) (File, error) {
	if err := c.enter("open", name); err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	existed := c.node(name) != nil
	f, err := c.live.OpenFile(name, flag)
	if err != nil {
		return nil, err
	}
	n := c.node(name)
	switch {
	case !existed:
		n.crash = &crashNode{data: new(chunks)}
		c.names = append(c.names, nameChange{c.set(name, n)})
	case flag&os.O_TRUNC != 0:
		n.crash.changes = append(n.crash.changes, byteChange{truncate: true})
	}
	return &crashFile{f.(*memoryFile), c, n}, nil
}

// MkdirAll creates a directory and those above it.
func (c *Crashable) MkdirAll(name string) error {
	if err := c.enter("mkdir", name); err != nil {
		return err
	}
	defer c.mu.Unlock()
	var missing []string
	for up := filepath.Clean(name); c.node(up) == nil; up = filepath.Dir(up) {
		missing = append(missing, up)
	}
	if err := c.live.MkdirAll(name); err != nil {
		return err
	}
	for _, up := range slices.Backward(missing) {
		n := c.node(up)
		n.crash = newCrashDir()
		c.names = append(c.names, nameChange{c.set(up, n)})
	}
	return nil
}

// ReadDir lists a directory, sorted by name.
func (c *Crashable) ReadDir(name string) ([]Entry, error) {
	if err := c.enter("readdir", name); err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	return c.live.ReadDir(name)
}

// Stat describes a file or directory.
func (c *Crashable) Stat(name string) (Entry, error) {
	if err := c.enter("stat", name); err != nil {
		return Entry{}, err
	}
	defer c.mu.Unlock()
	return c.live.Stat(name)
}

// Rename moves a file or directory.
func (c *Crashable) Rename(oldname, newname string) error {
	if err := c.enter("rename", oldname); err != nil {
		return err
	}
	defer c.mu.Unlock()
	n := c.node(oldname)
	if err := c.live.Rename(oldname, newname); err != nil {
		return err
	}
	c.names = append(c.names, nameChange{c.set(oldname, nil), c.set(newname, n)})
	return nil
}

// Remove removes a file or an empty directory.
func (c *Crashable) Remove(name string) error {
	if err := c.enter("remove", name); err != nil {
		return err
	}
	defer c.mu.Unlock()
	if err := c.live.Remove(name); err != nil {
		return err
	}
	c.names = append(c.names, nameChange{c.set(name, nil)})
	return nil
}

// RemoveAll removes a file or a directory with everything in it, name by name.
func (c *Crashable) RemoveAll(name string) error {
	if err := c.enter("remove", name); err != nil {
		return err
	}
	defer c.mu.Unlock()
	n := c.node(name)
	if err := c.live.RemoveAll(name); err != nil || n == nil {
		return err
	}
	c.empty(n)
	c.names = append(c.names, nameChange{c.set(name, nil)})
	return nil
}

// empty notes that all names below a node were removed.
func (c *Crashable) empty(n *memoryNode) {
	for _, name := range slices.Sorted(maps.Keys(n.entries)) {
		c.empty(n.entries[name])
		c.names = append(c.names, nameChange{{n, name, nil}})
	}
}

// SyncDir makes the names in a directory durable.
func (c *Crashable) SyncDir(name string) error {
	if err := c.enter("sync", name); err != nil {
		return err
	}
	defer c.mu.Unlock()
	dir, err := c.live.lookup("sync", name)
	if err != nil {
		return err
	}
	left := c.names[:0]
	for _, change := range c.names {
		if slices.ContainsFunc(change, func(s nameSet) bool { return s.dir == dir }) {
			change.apply(func(n *memoryNode) map[string]*memoryNode { return n.crash.entries })
		} else {
			left = append(left, change)
		}
	}
	clear(c.names[len(left):])
	c.names = left
	return nil
}

// apply makes the change in the entries of its directories.
func (change nameChange) apply(entries func(dir *memoryNode) map[string]*memoryNode) {
	for _, s := range change {
		if s.node == nil {
			delete(entries(s.dir), s.name)
		} else {
			entries(s.dir)[s.name] = s.node
		}
	}
}

// crashFile is a handle on a file. It stays usable after the file was renamed or removed.
type crashFile struct {
	*memoryFile
	fs   *Crashable
	node *memoryNode
}

func (f *crashFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.fs.enter("read", f.name); err != nil {
		return 0, err
	}
	f.fs.mu.Unlock() // as on a disk, reads take no lock
	return f.memoryFile.ReadAt(p, off)
}

func (f *crashFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fs.enter("write", f.name); err != nil {
		return 0, err
	}
	defer f.fs.mu.Unlock()
	n, err := f.memoryFile.WriteAt(p, off)
	if n > 0 {
		f.change(byteChange{pos: off, data: slices.Clone(p[:n])})
	}
	return n, err
}

func (f *crashFile) Truncate(size int64) error {
	if err := f.fs.enter("truncate", f.name); err != nil {
		return err
	}
	defer f.fs.mu.Unlock()
	if err := f.memoryFile.Truncate(size); err != nil {
		return err
	}
	f.change(byteChange{pos: size, truncate: true})
	return nil
}

func (f *crashFile) change(b byteChange) {
	f.node.crash.changes = append(f.node.crash.changes, b)
}

func (f *crashFile) Sync() error {
	if err := f.fs.enter("sync", f.name); err != nil {
		return err
	}
	defer f.fs.mu.Unlock()
	if err := f.memoryFile.Sync(); err != nil {
		return err
	}
	disk := f.node.crash
	for _, b := range disk.changes {
		b.apply(disk.data)
	}
	disk.changes = nil
	return nil
}

func (f *crashFile) Size() (int64, error) {
	if err := f.fs.enter("stat", f.name); err != nil {
		return 0, err
	}
	defer f.fs.mu.Unlock()
	return f.memoryFile.Size()
}

func (b byteChange) apply(data *chunks) {
	if b.truncate {
		data.truncate(b.pos)
	} else {
		data.writeAt(b.data, b.pos)
	}
}
