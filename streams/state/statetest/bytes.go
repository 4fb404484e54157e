// Package statetest has the tests that every implementation of state.Bytes must
// pass.
//
//	func TestBytes(t *testing.T) {
//		statetest.Test(t, func(t testing.TB, dir string) state.Bytes { return open(t, dir) })
//	}
package statetest

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/streams/state"
)

// Open opens the Bytes that dir holds, or would hold if it is kept there: an
// empty one at first. It may fail the test.
type Open func(t testing.TB, dir string) state.Bytes

// Test holds an implementation to what state.Bytes promises.
func Test(t *testing.T, open Open) {
	t.Run("AnySequenceEqualsASortedMap", func(t *testing.T) { model(t, open) })
	t.Run("ABatchIsAppliedInItsOrder", func(t *testing.T) { order(t, open) })
	t.Run("NullIsNotEmpty", func(t *testing.T) { empty(t, open) })
	t.Run("ARangeShowsWhatWasThereWhenItBegan", func(t *testing.T) { writesWithin(t, open) })
	t.Run("SnapshotsAreReadWhileTheStoreGoesOn", func(t *testing.T) { beside(t, open) })
	t.Run("TheBatchStaysTheCallers", func(t *testing.T) { reuse(t, open) })
	t.Run("APositionIsKept", func(t *testing.T) { position(t, open) })
	t.Run("AnySequenceOfWindowsEqualsASortedMap", func(t *testing.T) { windowsModel(t, open) })
	t.Run("AnySequenceOfSessionsEqualsASortedMap", func(t *testing.T) { sessionsModel(t, open) })
	t.Run("AnySequenceOfVersionsEqualsASortedMap", func(t *testing.T) { versionsModel(t, open) })
	t.Run("WhatExpiresIsRemoved", func(t *testing.T) { expiry(t, open) })
}

// Durable holds an implementation that keeps its contents in a directory to
// what Checkpoint promises.
func Durable(t *testing.T, open Open) {
	dir := t.TempDir()
	s := open(t, dir)
	_, placed := s.Position()
	require.False(t, placed)
	for i := range 1000 {
		put(t, s, fmt.Sprintf("%03d", i), fmt.Sprint(i))
	}
	require.NoError(t, s.Checkpoint(42))
	require.NoError(t, s.Close())

	s = open(t, dir)
	defer closed(t, s)
	at, placed := s.Position()
	require.True(t, placed)
	require.EqualValues(t, 42, at)
	rows := contents(t, s, nil, nil, state.Ascending)
	require.Len(t, rows, 1000)
	require.Equal(t, row{"777", "777"}, rows[777])
	require.Positive(t, s.Size())
}

type row struct{ key, value string }

func contents(t require.TestingT, r state.Reader, from, to []byte, order state.Order) (rows []row) {
	require.NoError(t, r.Range(from, to, order, func(key, value []byte) bool {
		rows = append(rows, row{string(key), string(value)})
		return true
	}))
	return rows
}

func put(t require.TestingT, s state.Bytes, key, value string) {
	var b state.Batch
	b.Put([]byte(key), []byte(value))
	require.NoError(t, s.Apply(&b))
}

func closed(t require.TestingT, s io.Closer) { require.NoError(t, s.Close()) }

// expected returns what Range shows of a map.
func expected(of map[string]string, from, to []byte, order state.Order) (rows []row) {
	for _, key := range slices.Sorted(maps.Keys(of)) {
		if key >= string(from) && (to == nil || key < string(to)) {
			rows = append(rows, row{key, of[key]})
		}
	}
	if order == state.Descending {
		slices.Reverse(rows)
	}
	return rows
}

// keys are few, so that they meet, and have the bytes at which orders go wrong.
func keys() *rapid.Generator[[]byte] {
	return rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 'a', 'b', 0xfe, 0xff}), 0, 4)
}

type taken struct {
	state.Snapshot
	of map[string]string
}

func model(t *testing.T, open Open) {
	rapid.Check(t, func(r *rapid.T) {
		s := open(t, t.TempDir())
		defer closed(r, s)
		held := map[string]string{}
		var snapshots []taken
		defer func() {
			for _, snap := range snapshots {
				require.NoError(r, snap.Close())
			}
		}()
		check := func(r *rapid.T, from state.Reader, of map[string]string) {
			key := keys().Draw(r, "key")
			value, err := from.Get(key)
			require.NoError(r, err)
			want, there := of[string(key)]
			require.Equal(r, there, value != nil)
			require.Equal(r, want, string(value))
			first, order := keys().Draw(r, "from"), state.Order(rapid.Bool().Draw(r, "descending"))
			var behind []byte
			if rapid.Bool().Draw(r, "bounded") {
				behind = keys().Draw(r, "to")
			}
			rows := expected(of, first, behind, order)
			require.Equal(r, rows, contents(r, from, first, behind, order))
			if len(rows) > 1 { // some of them
				var some []row
				require.NoError(r, from.Range(first, behind, order, func(key, value []byte) bool {
					some = append(some, row{string(key), string(value)})
					return len(some) < len(rows)/2
				}))
				require.Equal(r, rows[:max(len(rows)/2, 1)], some)
			}
		}
		r.Repeat(map[string]func(*rapid.T){
			"apply": func(r *rapid.T) {
				var b state.Batch
				for range rapid.IntRange(1, 8).Draw(r, "writes") {
					key := keys().Draw(r, "key")
					switch rapid.IntRange(0, 5).Draw(r, "kind") {
					case 0:
						b.Delete(key)
						delete(held, string(key))
					case 1:
						to := keys().Draw(r, "to")
						b.DeleteRange(key, to)
						maps.DeleteFunc(held, func(k, _ string) bool { return k >= string(key) && k < string(to) })
					default:
						value := rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(r, "value")
						b.Put(key, value)
						held[string(key)] = string(value)
					}
				}
				require.NoError(r, s.Apply(&b))
			},
			"snapshot": func(r *rapid.T) {
				snap, err := s.Snapshot()
				require.NoError(r, err)
				snapshots = append(snapshots, taken{snap, maps.Clone(held)})
			},
			"checkpoint": func(r *rapid.T) {
				at := rapid.Int64Range(0, 1<<40).Draw(r, "position")
				require.NoError(r, s.Checkpoint(at))
				got, ok := s.Position()
				require.True(r, ok)
				require.Equal(r, at, got)
			},
			"": func(r *rapid.T) {
				check(r, s, held)
				if len(snapshots) > 0 {
					snap := snapshots[rapid.IntRange(0, len(snapshots)-1).Draw(r, "which")]
					check(r, snap, snap.of)
				}
			},
		})
	})
}

func order(t *testing.T, open Open) {
	s := open(t, t.TempDir())
	defer closed(t, s)
	var b state.Batch
	b.Put([]byte("a"), []byte("1"))
	b.Put([]byte("b"), []byte("1"))
	b.DeleteRange([]byte("a"), []byte("c"))
	b.Put([]byte("b"), []byte("2"))
	b.Put([]byte("c"), []byte("1"))
	b.Delete([]byte("c"))
	require.Equal(t, 6, b.Len())
	require.NoError(t, s.Apply(&b))
	require.Equal(t, []row{{"b", "2"}}, contents(t, s, nil, nil, state.Ascending))

	put(t, s, "a", "1")
	put(t, s, "\xff\xff", "1")
	b.Reset()
	b.DeleteRange([]byte("b"), nil)
	require.NoError(t, s.Apply(&b))
	require.Equal(t, []row{{"a", "1"}}, contents(t, s, nil, nil, state.Ascending))
}

func empty(t *testing.T, open Open) {
	s := open(t, t.TempDir())
	defer closed(t, s)
	value, err := s.Get([]byte("a"))
	require.NoError(t, err)
	require.Nil(t, value)
	put(t, s, "", "")
	put(t, s, "a", "")
	for _, key := range []string{"", "a"} {
		value, err = s.Get([]byte(key))
		require.NoError(t, err)
		require.NotNil(t, value)
		require.Empty(t, value)
	}
	require.Equal(t, []row{{"a", ""}, {"", ""}}, contents(t, s, nil, nil, state.Descending))
}

func writesWithin(t *testing.T, open Open) {
	for _, order := range []state.Order{state.Ascending, state.Descending} {
		s := open(t, t.TempDir())
		for i := range 300 {
			put(t, s, fmt.Sprintf("%03d", i), "old")
		}
		seen := 0
		require.NoError(t, s.Range([]byte("100"), []byte("200"), order, func(key, value []byte) bool {
			require.Equal(t, "old", string(value))
			seen++
			var b state.Batch
			b.DeleteRange([]byte("120"), []byte("180"))
			b.Put(append(bytes.Clone(key), 'x'), []byte("new"))
			b.Put(key, []byte("new"))
			require.NoError(t, s.Apply(&b))
			return true
		}))
		require.Equal(t, 100, seen)
		closed(t, s)
	}
}

func beside(t *testing.T, open Open) {
	s := open(t, t.TempDir())
	defer closed(t, s)
	for i := range 500 {
		put(t, s, fmt.Sprintf("%03d", i), "0")
	}
	var readers sync.WaitGroup
	for round := range 20 {
		snap, err := s.Snapshot()
		require.NoError(t, err)
		want := fmt.Sprint(round)
		for range 2 {
			readers.Go(func() {
				n := 0
				err := snap.Range(nil, nil, state.Ascending, func(_, value []byte) bool {
					n++
					return string(value) == want
				})
				if err != nil || n != 500 {
					t.Errorf("round %d: %d rows, %v", round, n, err)
				}
				if value, err := snap.Get([]byte("250")); err != nil || string(value) != want {
					t.Errorf("round %d: %q, %v", round, value, err)
				}
			})
		}
		var b state.Batch
		for i := range 500 {
			b.Put(fmt.Appendf(nil, "%03d", i), fmt.Append(nil, round+1))
		}
		require.NoError(t, s.Apply(&b))
		readers.Wait()
		require.NoError(t, snap.Close())
	}
}

func reuse(t *testing.T, open Open) {
	s := open(t, t.TempDir())
	defer closed(t, s)
	var b state.Batch
	key, value := []byte("key"), []byte("value")
	b.Put(key, value)
	copy(key, "xxx")
	require.NoError(t, s.Apply(&b))
	b.Reset()
	require.Zero(t, b.Len())
	b.Put([]byte("other"), []byte("VALUE"))
	require.NoError(t, s.Apply(&b))
	require.Equal(t, []row{{"key", "value"}, {"other", "VALUE"}}, contents(t, s, nil, nil, state.Ascending))
}

func position(t *testing.T, open Open) {
	s := open(t, t.TempDir())
	defer closed(t, s)
	_, ok := s.Position()
	require.False(t, ok)
	require.NoError(t, s.Checkpoint(7))
	at, ok := s.Position()
	require.True(t, ok)
	require.EqualValues(t, 7, at)
	require.Empty(t, contents(t, s, nil, nil, state.Ascending), "the position is not a key")
}
