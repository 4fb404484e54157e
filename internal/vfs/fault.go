package vfs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Op is a set of operations of a file system and its files.
type Op uint

// The operations.
const (
	OpOpen   Op = 1 << iota // OpenFile of a file that exists
	OpCreate                // OpenFile of one that doesn't
	OpRead                  // ReadAt
	OpWrite
	OpTruncate
	OpSync
	OpSyncDir
	OpRename
	OpRemove // RemoveAll too
	OpMkdir
	OpList // ReadDir, Stat, Size

	// OpChange is every operation that changes something or makes it durable.
	OpChange = OpCreate | OpWrite | OpTruncate | OpSync | OpSyncDir | OpRename | OpRemove | OpMkdir
	OpAny    = OpChange | OpOpen | OpRead | OpList // every operation
)

// Rule makes operations fail, take longer, or return wrong bytes.
type Rule struct {
	On    Op                     // which operations
	Match func(path string) bool // on which files; nil: on all. It must not call the file system.
	Skip  int                    // how many of these pass before the rule takes effect
	Times int                    // on how many it takes effect then; 0: on all

	// What it does, in this order.
	Do    func()         // call this
	Delay time.Duration  // wait
	Err   error          // fail, with a fs.PathError around this
	Torn  int            // how many bytes a write that fails writes, at most
	Spoil func(p []byte) // change what was read
	Lie   bool           // succeed without doing it: a write, truncation, sync, rename or removal
}

// Faulty is a file system on top of another one. Some of its operations fail by rule, and
// its space may be limited. It is safe for concurrent use.
type Faulty struct {
	under FS

	mu      sync.Mutex
	rules   []*rule
	limited bool
	free    int64 // may be negative, when more is used than there is
}

type rule struct {
	Rule
	seen int // how many operations matched
}

// NewFaulty returns a Faulty on fsys, without rules.
func NewFaulty(fsys FS) *Faulty { return &Faulty{under: fsys} }

// Add adds a rule behind the others, and returns the function that removes it. All rules
// that match take effect; the first error is returned.
func (f *Faulty) Add(r Rule) (remove func()) {
	added := &rule{Rule: r}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, added)
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.rules = slices.DeleteFunc(f.rules, func(r *rule) bool { return r == added })
	}
}

// Clear removes all rules and the limit of space.
func (f *Faulty) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules, f.limited = nil, false
}

// SetFree limits by how many bytes all files together may grow from now on. Files that
// get shorter or are removed make room. A write beyond the limit writes what fits and
// returns ENOSPC. A negative number ends the limit.
func (f *Faulty) SetFree(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.limited, f.free = bytes >= 0, bytes
}

// take takes up to n bytes of space, and returns how many it got. A negative n gives
// bytes back.
func (f *Faulty) take(n int64) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.limited {
		return n
	}
	n = min(n, max(f.free, 0))
	f.free -= n
	return n
}

func (f *Faulty) isLimited() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.limited
}

// effect is the effect of all rules on one operation.
type effect struct {
	err   error
	torn  int
	spoil []func([]byte)
	lie   bool
}

// done reports whether the operation is over, and returns its error.
func (e effect) done() (bool, error) { return e.err != nil || e.lie, e.err }

// meet applies the rules to an operation.
func (f *Faulty) meet(op Op, name string, path ...string) effect {
	var e effect
	var delay time.Duration
	var calls []func()
	f.mu.Lock()
	for _, r := range f.rules {
		if r.On&op == 0 || r.Match != nil && !slices.ContainsFunc(path, r.Match) {
			continue
		}
		r.seen++
		if r.seen <= r.Skip || r.Times > 0 && r.seen > r.Skip+r.Times {
			continue
		}
		delay += r.Delay
		if r.Do != nil {
			calls = append(calls, r.Do)
		}
		if r.Err != nil && e.err == nil {
			e.err, e.torn = pathError(name, path[0], r.Err), r.Torn
		}
		e.lie = e.lie || r.Lie
		if r.Spoil != nil {
			e.spoil = append(e.spoil, r.Spoil)
		}
	}
	f.mu.Unlock()
	for _, call := range calls {
		call()
	}
	time.Sleep(delay)
	return e
}

// Named returns a Match for the files whose path ends with one of the suffixes.
func Named(suffixes ...string) func(path string) bool {
	return func(path string) bool {
		return slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(path, s) })
	}
}

// OpenFile opens or creates a file.
func (f *Faulty) OpenFile(name string, flag int) (File, error) {
	before, missing := f.under.Stat(name)
	op := OpOpen
	if missing != nil && flag&os.O_CREATE != 0 {
		op = OpCreate
	}
	if e := f.meet(op, "open", name); e.err != nil {
		return nil, e.err
	}
	file, err := f.under.OpenFile(name, flag)
	if err != nil {
		return nil, err
	}
	if missing == nil && flag&os.O_TRUNC != 0 {
		f.take(-before.Size)
	}
	return &faultyFile{file, f, name}, nil
}

// MkdirAll creates a directory and those above it.
func (f *Faulty) MkdirAll(dir string) error {
	if e := f.meet(OpMkdir, "mkdir", dir); e.err != nil {
		return e.err
	}
	return f.under.MkdirAll(dir)
}

// ReadDir lists a directory, sorted by name.
func (f *Faulty) ReadDir(dir string) ([]Entry, error) {
	if e := f.meet(OpList, "readdir", dir); e.err != nil {
		return nil, e.err
	}
	return f.under.ReadDir(dir)
}

// Stat describes a file or directory.
func (f *Faulty) Stat(name string) (Entry, error) {
	if e := f.meet(OpList, "stat", name); e.err != nil {
		return Entry{}, e.err
	}
	return f.under.Stat(name)
}

// Rename moves a file or directory.
func (f *Faulty) Rename(oldname, newname string) error {
	if done, err := f.meet(OpRename, "rename", oldname, newname).done(); done {
		return err
	}
	replaced := int64(0)
	if oldname != newname {
		replaced = f.used(newname)
	}
	if err := f.under.Rename(oldname, newname); err != nil {
		return err
	}
	f.take(-replaced)
	return nil
}

// Remove removes a file or an empty directory.
func (f *Faulty) Remove(name string) error { return f.remove(name, f.under.Remove) }

// RemoveAll removes a file or a directory with everything in it.
func (f *Faulty) RemoveAll(name string) error { return f.remove(name, f.under.RemoveAll) }

func (f *Faulty) remove(name string, remove func(string) error) error {
	if done, err := f.meet(OpRemove, "remove", name).done(); done {
		return err
	}
	used := f.used(name)
	if err := remove(name); err != nil {
		return err
	}
	f.take(-used)
	return nil
}

// used returns how much space a file or directory takes.
func (f *Faulty) used(name string) int64 {
	if !f.isLimited() {
		return 0
	}
	e, err := f.under.Stat(name)
	if err != nil || !e.Dir {
		return e.Size
	}
	entries, _ := f.under.ReadDir(name)
	var sum int64
	for _, e := range entries {
		sum += f.used(filepath.Join(name, e.Name))
	}
	return sum
}

// SyncDir makes the names in a directory durable.
func (f *Faulty) SyncDir(dir string) error {
	if done, err := f.meet(OpSyncDir, "sync", dir).done(); done {
		return err
	}
	return f.under.SyncDir(dir)
}

type faultyFile struct {
	File
	fs   *Faulty
	name string
}

func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	e := f.fs.meet(OpRead, "read", f.name)
	if e.err != nil {
		return 0, e.err
	}
	n, err := f.File.ReadAt(p, off)
	for _, spoil := range e.spoil {
		spoil(p[:n])
	}
	return n, err
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	e := f.fs.meet(OpWrite, "write", f.name)
	if e.lie && e.err == nil {
		return len(p), nil
	}
	if e.err != nil {
		n := min(max(e.torn, 0), len(p))
		if n > 0 {
			if n, err := f.File.WriteAt(p[:n], off); err != nil {
				return n, err
			}
		}
		return n, e.err
	}
	if len(p) == 0 || off < 0 || !f.fs.isLimited() {
		return f.File.WriteAt(p, off)
	}
	size, err := f.File.Size()
	if err != nil {
		return 0, err
	}
	want := max(off+int64(len(p))-size, 0)
	got := f.fs.take(want)
	fits := max(min(size+got-off, int64(len(p))), 0)
	n := 0
	if fits > 0 {
		n, err = f.File.WriteAt(p[:fits], off)
	} else {
		f.fs.take(-got) // not even the gap before it
	}
	if err == nil && n < len(p) {
		err = pathError("write", f.name, syscall.ENOSPC)
	}
	return n, err
}

func (f *faultyFile) Truncate(size int64) error {
	if done, err := f.fs.meet(OpTruncate, "truncate", f.name).done(); done {
		return err
	}
	if !f.fs.isLimited() {
		return f.File.Truncate(size)
	}
	old, err := f.File.Size()
	if err != nil {
		return err
	}
	if got := f.fs.take(size - old); got < size-old {
		f.fs.take(-got)
		return pathError("truncate", f.name, syscall.ENOSPC)
	}
	err = f.File.Truncate(size)
	if err != nil {
		f.fs.take(old - size)
	}
	return err
}

func (f *faultyFile) Sync() error {
	if done, err := f.fs.meet(OpSync, "sync", f.name).done(); done {
		return err
	}
	return f.File.Sync()
}

func (f *faultyFile) Size() (int64, error) {
	if e := f.fs.meet(OpList, "stat", f.name); e.err != nil {
		return 0, e.err
	}
	return f.File.Size()
}
