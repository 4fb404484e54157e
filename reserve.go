package runnel

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
)

const (
	// reserveFile keeps some space of the disk, so that topics and records can be
	// deleted when there is no other.
	reserveFile = ".runnel_reserve"

	// reserveBytes is how much.
	reserveBytes = 64 << 10

	// reserveStep is how much of it is given at a time.
	reserveStep = 16 << 10
)

// reserve is space of the disk that is kept for making room.
type reserve struct {
	fsys vfs.FS
	path string
	size int64         // 0, as in memory, for none
	turn chan struct{} // the token of whoever changes the file
	left int64         // what the file holds; the token's
}

func newReserve(h home, size int64) *reserve {
	if !h.disk {
		size = 0
	}
	return &reserve{fsys: h.fsys, path: filepath.Join(h.dir, reserveFile), size: size, turn: make(chan struct{}, 1)}
}

// with does something that makes room, with what is in reserve if the disk is full.
// It must be something that can be done again after fault.DiskFull.
func (r *reserve) with(do func() error) error {
	err := do()
	gave := false
	for errors.Is(err, fault.DiskFull) && r.give() {
		gave = true
		err = do()
	}
	if gave {
		r.fill()
	}
	return err
}

// give gives back some of the reserve, and reports whether there was any.
func (r *reserve) give() bool {
	r.turn <- struct{}{}
	defer func() { <-r.turn }()
	if r.left == 0 {
		return false
	}
	f, err := r.fsys.OpenFile(r.path, os.O_RDWR)
	if err != nil {
		return false
	}
	defer f.Close()
	left := max(r.left-reserveStep, 0)
	if f.Truncate(left) != nil {
		return false
	}
	r.left = left
	return true
}

// fill takes what is missing of the reserve, as far as the disk has it. The bytes
// are such as no file system can do without.
func (r *reserve) fill() {
	r.turn <- struct{}{}
	defer func() { <-r.turn }()
	if r.left >= r.size {
		return
	}
	f, err := r.fsys.OpenFile(r.path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return
	}
	defer f.Close()
	if r.left, err = f.Size(); err != nil || r.left >= r.size {
		return
	}
	bytes := make([]byte, r.size-r.left)
	_, _ = rand.NewChaCha8([32]byte{}).Read(bytes) // never fails
	n, _ := f.WriteAt(bytes, r.left)
	r.left += int64(n)
	_ = f.Sync() // so that it outlives a power loss
	_ = r.fsys.SyncDir(filepath.Dir(r.path))
}
