package layout

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
)

const (
	// ReserveBytes is how much a broker keeps in reserve.
	ReserveBytes = 64 << 10

	// reserveStep is how much of it is given at a time.
	reserveStep = 16 << 10
)

// Reserve is disk space that is kept so that records can be deleted on a full disk:
// deleting writes a checkpoint before it frees anything.
type Reserve struct {
	fsys vfs.FS
	path string
	size int64         // 0, as in memory, for none
	turn chan struct{} // holds a token while the file is changed
	left int64         // the file's size; guarded by turn
}

// NewReserve returns the reserve of a data directory, of so many bytes once it is
// filled. With 0, as in memory, there is none.
func NewReserve(fsys vfs.FS, dir string, size int64) *Reserve {
	return &Reserve{fsys: fsys, path: filepath.Join(dir, ReserveFile), size: size, turn: make(chan struct{}, 1)}
}

// With calls do and, if the disk is full, frees some of the reserve and calls it again.
// do must be repeatable after fault.DiskFull.
func (r *Reserve) With(do func() error) error {
	err := do()
	gave := false
	for errors.Is(err, fault.DiskFull) && r.give() {
		gave = true
		err = do()
	}
	if gave {
		r.Fill()
	}
	return err
}

// give frees some of the reserve, and reports whether there was any.
func (r *Reserve) give() bool {
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

// Fill fills the reserve again, as far as the disk has space. The bytes are random, so
// that no file system can compress them away.
func (r *Reserve) Fill() {
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
