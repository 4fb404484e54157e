package runnel_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/internal/vfs"
)

// liar is a disk that says yes and does not do it: what a program would run on
// that had forgotten the call.
type liar struct {
	vfs.FS
	forgets func(op vfs.Op, path string) bool
}

func (l liar) OpenFile(name string, flag int) (vfs.File, error) {
	f, err := l.FS.OpenFile(name, flag)
	if err != nil {
		return nil, err
	}
	return liarFile{f, l, name}, nil
}

func (l liar) SyncDir(dir string) error {
	if l.forgets(vfs.OpSyncDir, dir) {
		return nil
	}
	return l.FS.SyncDir(dir)
}

func (l liar) Remove(name string) error {
	if l.forgets(vfs.OpRemove, name) {
		return nil
	}
	return l.FS.Remove(name)
}

type liarFile struct {
	vfs.File
	disk liar
	name string
}

func (f liarFile) Sync() error {
	if f.disk.forgets(vfs.OpSync, f.name) {
		return nil
	}
	return f.File.Sync()
}

func (f liarFile) Truncate(size int64) error {
	if f.disk.forgets(vfs.OpTruncate, f.name) {
		return nil
	}
	return f.File.Truncate(size)
}

func (f liarFile) WriteAt(p []byte, off int64) (int, error) {
	if f.disk.forgets(vfs.OpWrite, f.name) {
		return len(p), nil
	}
	return f.File.WriteAt(p, off)
}

// TestLiesAreFound: the torture test finds a loss on every disk that does not do
// what it is told, as it would in a log that did not tell it. So its silence on an
// honest disk means something.
func TestLiesAreFound(t *testing.T) {
	is := func(op vfs.Op, suffix string) func(vfs.Op, string) bool {
		return func(o vfs.Op, path string) bool { return o == op && strings.HasSuffix(path, suffix) }
	}
	for name, forgets := range map[string]func(vfs.Op, string) bool{
		"syncs nothing":                 is(vfs.OpSync, ""),
		"syncs no segment":              is(vfs.OpSync, ".log"),
		"syncs no checkpoint":           is(vfs.OpSync, ".checkpoint"),
		"syncs no names":                is(vfs.OpSyncDir, ""),
		"cuts nothing off":              is(vfs.OpTruncate, ".log"),
		"removes no segment":            is(vfs.OpRemove, ".log"),
		"writes no checkpoint":          is(vfs.OpWrite, ".checkpoint"),
		"syncs every other time":        everyOther(vfs.OpSync),
		"syncs names every other time":  everyOther(vfs.OpSyncDir),
		"cuts off every other time":     everyOther(vfs.OpTruncate),
		"writes no byte of any segment": is(vfs.OpWrite, ".log"),
	} {
		t.Run(name, func(t *testing.T) {
			for seed := uint64(1); seed <= tortureSeeds; seed++ {
				_, err := torment(seed, func(fsys vfs.FS) vfs.FS { return liar{fsys, forgets} })
				if err != nil {
					t.Logf("seed %d: %v", seed, err)
					return
				}
			}
			require.Fail(t, "nothing was found")
		})
	}
}

func everyOther(op vfs.Op) func(vfs.Op, string) bool {
	n := 0
	return func(o vfs.Op, _ string) bool {
		if o != op {
			return false
		}
		n++
		return n%2 == 0
	}
}
