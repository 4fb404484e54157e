package vfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// conform runs a test on every file system, in a directory of its own.
func conform(t *testing.T, test func(t *testing.T, fsys FS, dir string)) {
	t.Run("disk", func(t *testing.T) { test(t, onDisk(t), t.TempDir()) })
	t.Run("memory", func(t *testing.T) {
		m := NewMemory()
		dir := filepath.Join(string(filepath.Separator), "data", "here")
		require.NoError(t, m.MkdirAll(dir))
		test(t, m, dir)
	})
	t.Run("memory, relative", func(t *testing.T) {
		m := NewMemory()
		require.NoError(t, m.MkdirAll("here"))
		test(t, m, "here")
	})
	t.Run("crashable, after a crash", func(t *testing.T) {
		c := NewCrashable()
		require.NoError(t, c.MkdirAll("/here"))
		test(t, c.Crash(Loss{Kept: KeepAll}), "/here")
	})
	for name, fsys := range map[string]FS{"disk": onDisk(t), "crashable": NewCrashable()} {
		t.Run("faulty "+name, func(t *testing.T) {
			f := NewFaulty(fsys)
			f.SetFree(1 << 40)
			f.Add(Rule{On: OpAny, Match: func(string) bool { return false }, Err: io.ErrUnexpectedEOF})
			dir := t.TempDir()
			require.NoError(t, f.MkdirAll(dir))
			test(t, f, dir)
		})
	}
}

// onDisk returns the disk that has the test's directories.
func onDisk(t *testing.T) *Disk {
	d, err := OpenDisk(os.TempDir(), 0o600)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

func create(t testing.TB, fsys FS, name, content string) File {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	require.NoError(t, err)
	if content != "" {
		n, err := f.WriteAt([]byte(content), 0)
		require.NoError(t, err)
		require.Equal(t, len(content), n)
	}
	return f
}

func content(t testing.TB, fsys FS, name string) string {
	t.Helper()
	b, err := ReadFile(fsys, name, 1<<20)
	require.NoError(t, err)
	return string(b)
}

func TestOpenFlags(t *testing.T) {
	conform(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "a")
		_, err := fsys.OpenFile(name, os.O_RDWR)
		require.ErrorIs(t, err, fs.ErrNotExist)
		_, err = fsys.OpenFile(filepath.Join(dir, "missing", "a"), os.O_RDWR|os.O_CREATE)
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.NoError(t, create(t, fsys, name, "one").Close())
		_, err = fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
		require.ErrorIs(t, err, fs.ErrExist)
		_, err = fsys.OpenFile(dir, os.O_RDWR)
		require.Error(t, err)
		_, err = fsys.OpenFile(filepath.Join(name, "b"), os.O_RDWR|os.O_CREATE)
		require.Error(t, err)

		f, err := fsys.OpenFile(name, os.O_RDONLY)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte("x"), 0)
		require.Error(t, err)
		require.NoError(t, f.Close())
		require.Equal(t, "one", content(t, fsys, name))

		f, err = fsys.OpenFile(name, os.O_RDWR|os.O_TRUNC)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.Empty(t, content(t, fsys, name))
	})
}

func TestFile(t *testing.T) {
	conform(t, func(t *testing.T, fsys FS, dir string) {
		f := create(t, fsys, filepath.Join(dir, "a"), "hello")
		b := make([]byte, 8)
		n, err := f.ReadAt(b, 1)
		require.ErrorIs(t, err, io.EOF)
		require.Equal(t, "ello", string(b[:n]))
		n, err = f.ReadAt(b, 100)
		require.ErrorIs(t, err, io.EOF)
		require.Zero(t, n)
		n, err = f.ReadAt(b[:5], 0)
		require.NoError(t, err)
		require.Equal(t, 5, n)

		_, err = f.WriteAt([]byte("!"), 10_000) // a gap reads as zeros
		require.NoError(t, err)
		size, err := f.Size()
		require.NoError(t, err)
		require.EqualValues(t, 10_001, size)
		gap := make([]byte, 9_995)
		_, err = f.ReadAt(gap, 5)
		require.NoError(t, err)
		require.Equal(t, make([]byte, 9_995), gap)

		require.NoError(t, f.Truncate(3))
		require.NoError(t, f.Truncate(6)) // what was cut does not come back
		require.NoError(t, f.Sync())
		b = make([]byte, 6)
		_, err = f.ReadAt(b, 0)
		require.NoError(t, err)
		require.Equal(t, "hel\x00\x00\x00", string(b))

		_, err = f.WriteAt([]byte("x"), -1)
		require.Error(t, err)
		_, err = f.ReadAt(b, -1)
		require.Error(t, err)
		require.Error(t, f.Truncate(-1))

		require.NoError(t, f.Close())
		require.ErrorIs(t, f.Close(), fs.ErrClosed)
		_, err = f.WriteAt(b, 0)
		require.ErrorIs(t, err, fs.ErrClosed)
		_, err = f.ReadAt(b, 0)
		require.ErrorIs(t, err, fs.ErrClosed)
		_, err = f.Size()
		require.Error(t, err)
		require.Error(t, f.Sync())
		require.Error(t, f.Truncate(0))
	})
}

func TestDirectories(t *testing.T) {
	conform(t, func(t *testing.T, fsys FS, dir string) {
		deep := filepath.Join(dir, "a", "b", "c")
		require.NoError(t, fsys.MkdirAll(deep))
		require.NoError(t, fsys.MkdirAll(deep))
		require.NoError(t, create(t, fsys, filepath.Join(dir, "z"), "zzz").Close())
		require.NoError(t, create(t, fsys, filepath.Join(dir, "a", "f"), "").Close())
		require.Error(t, fsys.MkdirAll(filepath.Join(dir, "z")))
		require.Error(t, fsys.MkdirAll(filepath.Join(dir, "z", "y")))

		entries, err := fsys.ReadDir(dir)
		require.NoError(t, err)
		require.Equal(t, []Entry{{Name: "a", Dir: true}, {Name: "z", Size: 3}}, entries)
		_, err = fsys.ReadDir(filepath.Join(dir, "missing"))
		require.ErrorIs(t, err, fs.ErrNotExist)
		_, err = fsys.ReadDir(filepath.Join(dir, "z"))
		require.Error(t, err)

		e, err := fsys.Stat(filepath.Join(dir, "z"))
		require.NoError(t, err)
		require.Equal(t, Entry{Name: "z", Size: 3}, e)
		e, err = fsys.Stat(dir)
		require.NoError(t, err)
		require.True(t, e.Dir)
		_, err = fsys.Stat(filepath.Join(dir, "y"))
		require.ErrorIs(t, err, fs.ErrNotExist)

		require.NoError(t, fsys.SyncDir(deep))
		require.ErrorIs(t, fsys.SyncDir(filepath.Join(dir, "missing")), fs.ErrNotExist)

		require.Error(t, fsys.Remove(filepath.Join(dir, "a")), "not empty")
		require.NoError(t, fsys.Remove(deep))
		require.ErrorIs(t, fsys.Remove(deep), fs.ErrNotExist)
		require.NoError(t, fsys.RemoveAll(filepath.Join(dir, "a")))
		require.NoError(t, fsys.RemoveAll(filepath.Join(dir, "a")))
		require.NoError(t, fsys.RemoveAll(filepath.Join(dir, "missing", "too")))
		_, err = fsys.Stat(filepath.Join(dir, "a", "f"))
		require.ErrorIs(t, err, fs.ErrNotExist)
	})
}

func TestRename(t *testing.T) {
	conform(t, func(t *testing.T, fsys FS, dir string) {
		a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
		require.ErrorIs(t, fsys.Rename(a, b), fs.ErrNotExist)
		f := create(t, fsys, a, "old")
		require.NoError(t, create(t, fsys, b, "gone").Close())
		require.NoError(t, fsys.Rename(a, b))
		require.NoError(t, fsys.Rename(b, b))
		require.Equal(t, "old", content(t, fsys, b))
		_, err := fsys.Stat(a)
		require.ErrorIs(t, err, fs.ErrNotExist)
		_, err = f.WriteAt([]byte("new"), 0) // the handle follows the file
		require.NoError(t, err)
		require.Equal(t, "new", content(t, fsys, b))
		require.NoError(t, fsys.Remove(b))
		got := make([]byte, 3)
		_, err = f.ReadAt(got, 0)
		require.NoError(t, err)
		require.Equal(t, "new", string(got))
		require.NoError(t, f.Close())

		require.NoError(t, fsys.MkdirAll(filepath.Join(dir, "d", "e")))
		require.NoError(t, create(t, fsys, filepath.Join(dir, "d", "e", "f"), "deep").Close())
		require.Error(t, fsys.Rename(filepath.Join(dir, "d"), filepath.Join(dir, "d", "e", "g")))
		require.ErrorIs(t, fsys.Rename(filepath.Join(dir, "d"), filepath.Join(dir, "missing", "g")), fs.ErrNotExist)
		require.NoError(t, fsys.Rename(filepath.Join(dir, "d"), filepath.Join(dir, "g")))
		require.Equal(t, "deep", content(t, fsys, filepath.Join(dir, "g", "e", "f")))
		require.NoError(t, create(t, fsys, a, "").Close())
		require.Error(t, fsys.Rename(a, filepath.Join(dir, "g")))
		require.Error(t, fsys.Rename(filepath.Join(dir, "g"), a))
	})
}

func TestWholeFiles(t *testing.T) {
	conform(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "a")
		_, err := ReadFile(fsys, name, 10)
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.NoError(t, WriteFile(fsys, name, []byte("one, long")))
		require.NoError(t, WriteFile(fsys, name, []byte("two")))
		require.Equal(t, "two", content(t, fsys, name))
		_, err = ReadFile(fsys, name, 2)
		var path *fs.PathError
		require.True(t, errors.As(err, &path), "%v", err)
		entries, err := fsys.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, entries, 1)
		require.Error(t, WriteFile(fsys, filepath.Join(dir, "missing", "a"), nil))
	})
}

// TestModel holds a file against a slice of bytes.
func TestModel(t *testing.T) {
	conform(t, func(t *testing.T, fsys FS, dir string) {
		room := make([]byte, 2<<20+7+20_000) // as large as the file gets; 0 behind want
		rapid.Check(t, func(t *rapid.T) {
			clear(room)
			want := room[:0]
			f, err := fsys.OpenFile(filepath.Join(dir, "a"), os.O_RDWR|os.O_CREATE|os.O_TRUNC)
			require.NoError(t, err)
			defer f.Close()
			size := rapid.OneOf(rapid.Int64Range(0, 5_000), rapid.SampledFrom([]int64{511, 512, 1<<16 - 1, 1<<20 - 1, 1 << 20, 2<<20 + 7}))
			t.Repeat(map[string]func(*rapid.T){
				"write": func(t *rapid.T) {
					at := size.Draw(t, "at")
					b := bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, rapid.IntRange(0, 20_000).Draw(t, "length"))
					_, err := f.WriteAt(b, at)
					require.NoError(t, err)
					if len(b) > 0 {
						want = room[:max(len(want), int(at)+len(b))]
						copy(want[at:], b)
					}
				},
				"truncate": func(t *rapid.T) {
					n := size.Draw(t, "length")
					require.NoError(t, f.Truncate(n))
					clear(room[n:])
					want = room[:n]
				},
				"": func(t *rapid.T) {
					n, err := f.Size()
					require.NoError(t, err)
					require.EqualValues(t, len(want), n)
					from := min(size.Draw(t, "from"), n)
					same(t, f, want, from, min(from+30_000, n))
				},
			})
			same(t, f, want, 0, int64(len(want)))
		})
	})
}

// same compares a range of a file with what it should hold.
func same(t *rapid.T, f File, want []byte, from, to int64) {
	t.Helper()
	got := make([]byte, to-from)
	_, err := f.ReadAt(got, from)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want[from:to], got))
}

// TestReadersBesideWriter reads what is known to be written while a file grows.
func TestReadersBesideWriter(t *testing.T) {
	conform(t, func(t *testing.T, fsys FS, dir string) {
		f := create(t, fsys, filepath.Join(dir, "a"), "")
		defer f.Close()
		const blocks, length = 500, 7_001
		written := make(chan int64, blocks)
		var readers sync.WaitGroup
		for range 3 {
			readers.Go(func() {
				b := make([]byte, length)
				for i := range written {
					_, err := f.ReadAt(b, i*length)
					if err != nil || !bytes.Equal(b, bytes.Repeat([]byte{byte(i)}, length)) {
						t.Errorf("block %d: %v", i, err)
					}
				}
			})
		}
		for i := range int64(blocks) {
			_, err := f.WriteAt(bytes.Repeat([]byte{byte(i)}, length), i*length)
			require.NoError(t, err)
			written <- i
		}
		close(written)
		readers.Wait()
	})
}

func TestMemoryInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		f := create(t, m, "a", "hello")
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = f.ReadAt(make([]byte, 5), 0)
		}()
		<-done
		synctest.Wait()
		require.NoError(t, f.Sync())
		require.NoError(t, f.Close())
	})
}
