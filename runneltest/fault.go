package runneltest

import (
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/runnel-go/runnel/internal/vfs"
)

// Op is one or several operations of the disk that can fail: Write|Sync.
type Op uint

// The operations that can fail.
const (
	Read   Op = 1 << iota // of bytes
	Write                 // of bytes
	Sync                  // of bytes: fsync
	Open                  // of a file, existing or new
	Rename                // of a file or directory
	Remove                // of a file or directory
	SyncDirectory
)

// Fault makes operations of the broker's disk fail, be late, or return wrong
// data. A Fault with only On set makes all of them fail with EIO.
type Fault struct {
	On    Op
	Topic string // only the files of this topic; "": all files of the broker
	File  string // only files whose name ends like this, such as ".log"; "": all

	Skip  int // how many of these operations succeed before the fault starts
	Times int // how many operations fail then; 0: all

	Err   error         // such as syscall.ENOSPC or syscall.EMFILE; nil is syscall.EIO
	Torn  int           // how many bytes a failing write has written, at most
	Delay time.Duration // how long the operation takes first; without Err and FlipBit it then succeeds

	// FlipBit makes a read succeed with the bit of this number, counted from 1,
	// inverted in the result. Shorter reads do not change.
	FlipBit int
}

var ops = []struct {
	op    Op
	under vfs.Op
}{
	{Read, vfs.OpRead},
	{Write, vfs.OpWrite},
	{Sync, vfs.OpSync},
	{Open, vfs.OpOpen | vfs.OpCreate},
	{Rename, vfs.OpRename},
	{Remove, vfs.OpRemove},
	{SyncDirectory, vfs.OpSyncDir},
}

// Inject puts a fault into effect and returns a function that ends it. A fault
// also ends with the test and with a crash. Inject is safe for concurrent use.
func (b *Broker) Inject(f Fault) (end func()) {
	if f.On == 0 {
		b.t.Helper()
		b.t.Fatal("runneltest: a Fault without On meets no operation")
	}
	r := vfs.Rule{Match: f.matches, Skip: f.Skip, Times: f.Times, Err: f.Err, Torn: f.Torn, Delay: f.Delay}
	for _, o := range ops {
		if f.On&o.op != 0 {
			r.On |= o.under
		}
	}
	switch {
	case f.FlipBit > 0:
		r.Spoil = func(p []byte) {
			if bit := f.FlipBit - 1; bit/8 < len(p) {
				p[bit/8] ^= 1 << (bit % 8)
			}
		}
	case f.Err == nil && f.Delay == 0:
		r.Err = syscall.EIO
	}
	return b.faults.Add(r)
}

// matches reports whether the fault applies to a file or directory.
func (f *Fault) matches(path string) bool {
	if !strings.HasSuffix(path, f.File) {
		return false
	}
	if f.Topic == "" {
		return true
	}
	rest, _ := filepath.Rel(dir, path)
	partition, _, _ := strings.Cut(filepath.ToSlash(rest), "/")
	number, ok := strings.CutPrefix(partition, f.Topic+"-")
	_, err := strconv.Atoi(number)
	return ok && err == nil
}

// LimitSpace leaves that many bytes free on the broker's disk. Operations that
// need more fail for lack of space, until LimitSpace allows more or something
// is deleted. A partition that was written to already has some space reserved:
// zeros after its last record. To make every write fail, inject syscall.ENOSPC.
// A negative number removes the limit. LimitSpace is safe for concurrent use.
func (b *Broker) LimitSpace(free int64) { b.faults.SetFree(free) }
