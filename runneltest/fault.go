package runneltest

import (
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/runnel-go/runnel/internal/vfs"
)

// Op is an operation of the disk that can fail, or several: Write|Sync.
type Op uint

// What can fail.
const (
	Read   Op = 1 << iota // of bytes
	Write                 // of bytes
	Sync                  // of bytes: fsync
	Open                  // of a file, existing or new
	Rename                // of a file or directory
	Remove                // of a file or directory
	SyncDirectory
)

// Fault makes operations of the broker's disk fail, late or wrong. The zero
// value but for On fails all of them with EIO.
type Fault struct {
	On    Op
	Topic string // of which topic's files; "" is all files of the broker
	File  string // of files whose name ends so, such as ".log"; "" is all

	Skip  int // how many of these operations pass before the fault begins
	Times int // how many it meets then; 0 is all

	Err   error         // such as syscall.ENOSPC or syscall.EMFILE; nil is syscall.EIO
	Torn  int           // how many bytes a write that fails has written, at most
	Delay time.Duration // how long the operation takes first; with no Err and no FlipBit it then succeeds

	// FlipBit, of a read: it succeeds, and the bit of this number is inverted in
	// what it returns, counted from 1. Reads too short for it are as they are.
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

// Inject puts a fault in force and returns what ends it. A fault ends with the
// test, too, and with a crash. Inject is safe for concurrent use.
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

// matches reports whether the fault is meant for a file or directory.
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

// LimitSpace leaves so many bytes free on the broker's disk: what would take more
// fails for want of space, until LimitSpace gives more or something is deleted.
// A partition that was written to has some space already: zeros behind its
// last record. To refuse whatever is written, inject syscall.ENOSPC. A negative number ends the limit. It is safe for concurrent use.
func (b *Broker) LimitSpace(free int64) { b.faults.SetFree(free) }
