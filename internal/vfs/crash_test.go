package vfs

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// tree returns what a file system holds, by path; directories as "/".
func tree(t testing.TB, fsys FS, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := fsys.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		path := filepath.Join(dir, e.Name)
		if !e.Dir {
			all[path] = content(t, fsys, path)
			continue
		}
		all[path] = "/"
		for p, text := range tree(t, fsys, path) {
			all[p] = text
		}
	}
	return all
}

func TestOnlyWhatWasSyncedSurvives(t *testing.T) {
	c := NewCrashable()
	require.NoError(t, c.MkdirAll("/d/e"))
	f := create(t, c, "/d/a", "durable")
	require.NoError(t, f.Sync())
	require.Empty(t, tree(t, c.After(Loss{}), "/"), "a file that was synced under a name that was not")
	require.NoError(t, c.SyncDir("/d"))
	require.Empty(t, tree(t, c.After(Loss{}), "/"), "the name of the directory is not durable")
	require.NoError(t, c.SyncDir("/"))
	require.Equal(t, map[string]string{"/d": "/", "/d/a": "durable", "/d/e": "/"}, tree(t, c.After(Loss{}), "/"))

	_, err := f.WriteAt([]byte("DURABLE, more"), 0)
	require.NoError(t, err)
	create(t, c, "/d/b", "")
	require.NoError(t, c.Remove("/d/e"))
	require.Equal(t, map[string]string{"/d": "/", "/d/a": "durable", "/d/e": "/"}, tree(t, c.After(Loss{}), "/"))
	require.Equal(t, map[string]string{"/d": "/", "/d/a": "DURABLE, more", "/d/b": ""}, tree(t, c.After(Loss{Kept: KeepAll}), "/"))
	killed := c.After(Loss{Kept: KeepAll})
	require.Equal(t, map[string]string{"/d": "/", "/d/a": "durable", "/d/e": "/"}, tree(t, killed.After(Loss{}), "/"), "and then loses its power")
	require.NoError(t, killed.SyncDir("/d"))
	require.Equal(t, map[string]string{"/d": "/", "/d/a": "durable", "/d/b": ""}, tree(t, killed.Crash(Loss{}), "/"))

	require.NoError(t, f.Truncate(3))
	require.NoError(t, f.Sync())
	require.NoError(t, c.SyncDir("/d"))
	require.Equal(t, map[string]string{"/d": "/", "/d/a": "DUR", "/d/b": ""}, tree(t, c.After(Loss{}), "/"))

	require.NoError(t, c.RemoveAll("/d"))
	require.Equal(t, map[string]string{"/d": "/", "/d/a": "DUR", "/d/b": ""}, tree(t, c.After(Loss{}), "/"))
	require.NoError(t, c.SyncDir("/"))
	require.Empty(t, tree(t, c.After(Loss{}), "/"))
}

// TestReplacingAFile crashes at any moment of a replacement: the old bytes or
// the new ones are there, never a mixture, never none.
func TestReplacingAFile(t *testing.T) {
	old, next := bytes.Repeat([]byte("old "), 3000), bytes.Repeat([]byte("new!!"), 2500)
	seen := map[string]int{}
	for seed := range uint64(200) {
		c := NewCrashable()
		require.NoError(t, WriteFile(c, "a", old))
		f := NewFaulty(c)
		crashes := 0
		f.Add(Rule{On: OpChange, Do: func() {
			got := content(t, c.After(RandomLoss(seed)), "a")
			require.True(t, got == string(old) || got == string(next))
			seen[got]++
			crashes++
		}})
		require.NoError(t, WriteFile(f, "a", next))
		require.Equal(t, 5, crashes, "create, write, sync, rename, sync of the directory")
		require.Equal(t, string(next), content(t, c.After(Loss{}), "a"))
	}
	require.Len(t, seen, 2)
}

// TestLossIsDrawn crashes with three blocks unsynced: every subset comes up,
// whole blocks only, with and without the length; every prefix, too; and the
// same seed takes the same.
func TestLossIsDrawn(t *testing.T) {
	c := NewCrashable()
	f := create(t, c, "a", "x")
	require.NoError(t, f.Sync())
	require.NoError(t, c.SyncDir("."))
	all := slices.Concat(bytes.Repeat([]byte("1"), 512), bytes.Repeat([]byte("2"), 512), bytes.Repeat([]byte("3"), 100))
	_, err := f.WriteAt(all, 0)
	require.NoError(t, err)
	for _, kept := range []Kept{KeepSome, KeepPrefix} {
		seen := map[string]bool{}
		lengths := map[int]bool{}
		for seed := range uint64(3000) {
			loss := Loss{Kept: kept, Block: 512, Seed: seed}
			got := content(t, c.After(loss), "a")
			require.Equal(t, got, content(t, c.After(loss), "a"))
			padded := append([]byte(got), make([]byte, len(all)-len(got))...)
			blocks := ""
			for i := 0; i < len(all); i += 512 {
				b := padded[i:min(i+512, len(all))]
				switch {
				case bytes.Equal(b, all[i:i+len(b)]):
					blocks += "+"
				case kept == KeepPrefix:
					n := len(bytes.TrimRight(b, "\x00"))
					require.True(t, i == 0 && n <= 1 || bytes.Equal(b[:n], all[i:i+n]))
					blocks += "-"
				default:
					require.Empty(t, bytes.Trim(b, "x\x00"))
					blocks += "-"
				}
			}
			seen[blocks] = true
			lengths[len(got)] = true
		}
		if kept == KeepSome {
			require.Len(t, seen, 8)
			require.Len(t, lengths, 4)
		} else {
			require.Equal(t, map[string]bool{"---": true, "+--": true, "++-": true, "+++": true}, seen)
			require.Greater(t, len(lengths), 500, "the cut is at any byte")
		}
	}
}

// TestNamesAreLostInAnyOrder renames one file after the other.
func TestNamesAreLostInAnyOrder(t *testing.T) {
	c := NewCrashable()
	for i := range 3 {
		require.NoError(t, create(t, c, fmt.Sprint("/", i), "").Close())
	}
	require.NoError(t, c.SyncDir("/"))
	for i := range 3 {
		require.NoError(t, c.Rename(fmt.Sprint("/", i), fmt.Sprint("/new", i)))
	}
	for kept, want := range map[Kept]int{KeepSome: 8, KeepPrefix: 4, KeepNone: 1, KeepAll: 1} {
		seen := map[string]bool{}
		for seed := range uint64(300) {
			entries, err := c.After(Loss{Kept: kept, Seed: seed}).ReadDir("/")
			require.NoError(t, err)
			require.Len(t, entries, 3, "a rename is one step")
			seen[fmt.Sprint(entries)] = true
		}
		require.Len(t, seen, want)
	}
}

func TestCrashEndsEverything(t *testing.T) {
	c := NewCrashable()
	require.NoError(t, c.MkdirAll("/d"))
	f := create(t, c, "/d/a", "lost")
	next := c.Crash(Loss{})
	_, err := c.OpenFile("/d/a", os.O_RDONLY)
	require.ErrorIs(t, err, syscall.EIO)
	_, err = f.WriteAt([]byte("x"), 0)
	require.ErrorIs(t, err, syscall.EIO)
	_, err = f.ReadAt(make([]byte, 1), 0)
	require.ErrorIs(t, err, syscall.EIO)
	_, err = f.Size()
	require.ErrorIs(t, err, syscall.EIO)
	for _, err := range []error{
		f.Sync(), f.Truncate(0), c.MkdirAll("e"), c.Rename("/d", "/e"), c.Remove("/d/a"), c.RemoveAll("/d"), c.SyncDir("/d"),
	} {
		require.ErrorIs(t, err, syscall.EIO)
	}
	_, err = c.ReadDir("/d")
	require.ErrorIs(t, err, syscall.EIO)
	_, err = c.Stat("/d")
	require.ErrorIs(t, err, syscall.EIO)
	require.NoError(t, f.Close())
	_, err = next.Stat("/d")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, next.MkdirAll("/d"))
	require.NoError(t, create(t, next, "/d/a", "again").Close())
}
