package vfs

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// eachFaulty runs a test over memory and disk.
func eachFaulty(t *testing.T, test func(t *testing.T, f *Faulty, dir string)) {
	for name, fsys := range map[string]FS{"disk": onDisk(t), "memory": NewMemory()} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, fsys.MkdirAll(dir))
			test(t, NewFaulty(fsys), dir)
		})
	}
}

func TestRules(t *testing.T) {
	eachFaulty(t, func(t *testing.T, f *Faulty, dir string) {
		a := filepath.Join(dir, "a.log")
		file := create(t, f, a, "hello")
		defer file.Close()
		undo := f.Add(Rule{On: OpSync, Match: Named(".log"), Skip: 1, Times: 2, Err: syscall.EIO})
		var got []error
		for range 4 {
			got = append(got, file.Sync())
		}
		require.NoError(t, got[0])
		require.ErrorIs(t, got[1], syscall.EIO)
		require.ErrorContains(t, got[2], a)
		require.NoError(t, got[3])
		undo()
		undo()

		other := create(t, f, filepath.Join(dir, "b.index"), "")
		defer other.Close()
		for op, do := range map[Op]func() error{
			OpOpen:     func() error { return openAndClose(f, a, os.O_RDWR|os.O_CREATE) },
			OpCreate:   func() error { return openAndClose(f, filepath.Join(dir, "c.log"), os.O_RDWR|os.O_CREATE) },
			OpRead:     func() error { _, err := file.ReadAt(make([]byte, 1), 0); return err },
			OpWrite:    func() error { _, err := file.WriteAt([]byte("h"), 0); return err },
			OpTruncate: func() error { return file.Truncate(5) },
			OpSync:     file.Sync,
			OpSyncDir:  func() error { return f.SyncDir(dir) },
			OpRename:   func() error { return f.Rename(a, a) },
			OpRemove:   func() error { return f.RemoveAll(filepath.Join(dir, "none")) },
			OpMkdir:    func() error { return f.MkdirAll(dir) },
			OpList:     func() error { _, err := f.Stat(a); return err },
		} {
			undo := f.Add(Rule{On: op, Err: syscall.EMFILE})
			require.ErrorIs(t, do(), syscall.EMFILE, op)
			undo()
			undo = f.Add(Rule{On: OpAny &^ op, Match: Named(".log", dir), Err: syscall.EMFILE})
			require.NoError(t, do(), op)
			undo()
			require.NoError(t, do(), op)
		}
	})
}

func openAndClose(fsys FS, name string, flag int) error {
	f, err := fsys.OpenFile(name, flag)
	if err != nil {
		return err
	}
	return f.Close()
}

// A disk that lies says yes, and changes nothing.
func TestLie(t *testing.T) {
	eachFaulty(t, func(t *testing.T, f *Faulty, dir string) {
		a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
		file := create(t, f, a, "hello")
		defer file.Close()
		f.Add(Rule{On: OpWrite | OpTruncate | OpSync | OpSyncDir | OpRename | OpRemove, Lie: true})
		n, err := file.WriteAt([]byte("HELLO, world"), 0)
		require.NoError(t, err)
		require.Equal(t, 12, n)
		require.NoError(t, file.Truncate(1))
		require.NoError(t, file.Sync())
		require.NoError(t, f.SyncDir(filepath.Join(dir, "nowhere")))
		require.NoError(t, f.Rename(a, b))
		require.NoError(t, f.Remove(a))
		require.NoError(t, f.RemoveAll(dir))
		text, err := ReadFile(f, a, 100)
		require.NoError(t, err)
		require.Equal(t, "hello", string(text))

		f.Add(Rule{On: OpWrite, Err: syscall.EIO, Torn: 2})
		_, err = file.WriteAt([]byte("HELLO"), 0)
		require.ErrorIs(t, err, syscall.EIO, "an error is no lie")
	})
}

func TestTornWrite(t *testing.T) {
	eachFaulty(t, func(t *testing.T, f *Faulty, dir string) {
		for torn := range 8 {
			name := filepath.Join(dir, "a")
			file := create(t, f, name, "")
			undo := f.Add(Rule{On: OpWrite, Err: syscall.EIO, Torn: torn})
			n, err := file.WriteAt([]byte("hello"), 0)
			require.ErrorIs(t, err, syscall.EIO)
			require.Equal(t, min(torn, 5), n)
			undo()
			require.Equal(t, "hello"[:min(torn, 5)], content(t, f, name))
			require.NoError(t, file.Close())
		}
	})
}

func TestSpoiltRead(t *testing.T) {
	eachFaulty(t, func(t *testing.T, f *Faulty, dir string) {
		name := filepath.Join(dir, "a")
		require.NoError(t, create(t, f, name, "hello").Close())
		f.Add(Rule{On: OpRead, Times: 1, Spoil: func(p []byte) { p[0] ^= 1 << 5 }})
		require.Equal(t, "Hello", content(t, f, name))
		require.Equal(t, "hello", content(t, f, name))
	})
}

func TestSpace(t *testing.T) {
	eachFaulty(t, func(t *testing.T, f *Faulty, dir string) {
		a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
		file := create(t, f, a, "hello")
		defer file.Close()
		f.SetFree(4)
		n, err := file.WriteAt([]byte("HELLO, world"), 0)
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.Equal(t, 9, n)
		require.Equal(t, "HELLO, wo", content(t, f, a))
		_, err = file.WriteAt([]byte("hello"), 0)
		require.NoError(t, err, "what was there can be written again")
		_, err = file.WriteAt([]byte("x"), 20)
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.ErrorIs(t, file.Truncate(10), syscall.ENOSPC)
		require.NoError(t, file.Truncate(6))
		require.NoError(t, file.Truncate(9))
		require.NoError(t, file.Truncate(6))
		require.NoError(t, WriteFile(f, b, []byte("abc")))
		require.ErrorIs(t, WriteFile(f, b, []byte("d")), syscall.ENOSPC)
		_, err = f.Stat(b + ".tmp")
		require.ErrorIs(t, err, fs.ErrNotExist, "what was written of it is gone")
		require.NoError(t, f.Remove(b))
		require.NoError(t, WriteFile(f, b, []byte("d")))
		require.NoError(t, WriteFile(f, b, []byte("ef")), "what was replaced made room")
		require.NoError(t, f.RemoveAll(dir))
		require.NoError(t, f.MkdirAll(dir))
		require.NoError(t, WriteFile(f, b, []byte("nine byte")))
		require.ErrorIs(t, WriteFile(f, b, []byte("0")), syscall.ENOSPC)
		f.SetFree(-1)
		require.NoError(t, WriteFile(f, b, make([]byte, 1000)))
	})
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := NewFaulty(NewMemory())
		file := create(t, f, "a", "hello")
		defer file.Close()
		f.Add(Rule{On: OpSync, Delay: 5 * time.Second})
		began := time.Now()
		require.NoError(t, file.Sync())
		require.Equal(t, 5*time.Second, time.Since(began))
	})
}
