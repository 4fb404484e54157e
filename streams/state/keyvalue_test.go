package state_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams/state"
)

// changelog stores what a store writes.
type changelog []logged

type logged struct {
	key   string
	value []byte
	ms    int64
}

func (c *changelog) Append(key, value []byte, ms int64) error {
	*c = append(*c, logged{string(key), slices.Clone(value), ms})
	return nil
}

func entry[V any](s *state.KeyValue[string, V], key string) *state.Entry[string, V] {
	e, err := s.Entry([]byte(key))
	if err != nil {
		panic(err)
	}
	return e
}

func length(t require.TestingT, s state.Store) int {
	n, err := s.Len()
	require.NoError(t, err)
	return n
}

func restore(t require.TestingT, s state.Store, log changelog) {
	for _, r := range log {
		require.NoError(t, s.Restore([]byte(r.key), r.value, r.ms))
	}
	require.NoError(t, s.Restored())
}

func put(s *state.KeyValue[string, int64], key string, v, ms int64) {
	e := entry(s, key)
	e.Value, e.Ms = v, ms
	s.Changed(e, true)
}

func remove(s *state.KeyValue[string, int64], key string) {
	s.Changed(entry(s, key), false)
}

func newStore() *state.KeyValue[string, int64] {
	s := state.NewKeyValue("counts", serde.String, serde.Int64)
	s.KeepOld()
	return s
}

// old returns an entry's value as of the last flush.
func old[V any](t require.TestingT, s *state.KeyValue[string, V], e *state.Entry[string, V]) V {
	v, ok, err := s.Old(e)
	require.NoError(t, err)
	require.Equal(t, e.OldPresent, ok)
	return v
}

func ExampleKeyValue() {
	counts := state.NewKeyValue("counts", serde.String, serde.Int64)
	for _, word := range []string{"to", "be", "or", "not", "to", "be"} {
		e, err := counts.Entry([]byte(word))
		if err != nil {
			panic(err)
		}
		e.Value++
		counts.Changed(e, true)
	}
	for row, err := range counts.All() {
		if err != nil {
			panic(err)
		}
		fmt.Println(row.Key, row.Value)
	}
	// Output:
	// be 2
	// not 1
	// or 1
	// to 2
}

func TestFlushWritesEachChangedKeyOnce(t *testing.T) {
	s, log := newStore(), changelog{}
	put(s, "b", 1, 10)
	put(s, "a", 1, 11)
	put(s, "b", 2, 12)
	put(s, "gone", 1, 13)
	remove(s, "gone")
	require.NoError(t, s.Flush(&log, func(e *state.Entry[string, int64]) error {
		require.False(t, e.OldPresent)
		return nil
	}))
	two, _ := serde.Int64.Append(nil, 2)
	one, _ := serde.Int64.Append(nil, 1)
	require.Equal(t, changelog{{"b", two, 12}, {"a", one, 11}}, log)
	require.Equal(t, 2, length(t, s))

	log = nil
	remove(s, "b")
	require.NoError(t, s.Flush(&log, func(e *state.Entry[string, int64]) error {
		require.True(t, e.OldPresent)
		require.Equal(t, int64(2), old(t, s, e))
		key, err := s.Key(e)
		require.Equal(t, "b", key)
		return err
	}))
	require.Equal(t, changelog{{"b", nil, 12}}, log)
	require.NoError(t, s.Flush(&log, nil))
	require.Len(t, log, 1)
}

func TestFlushStopsAtTheFirstError(t *testing.T) {
	failed := errors.New("failed")
	s := newStore()
	put(s, "a", 1, 1)
	require.ErrorIs(t, s.Flush(&changelog{}, func(*state.Entry[string, int64]) error { return failed }), failed)
	wrong := state.NewKeyValue("wrong", serde.String, serde.Func(
		func([]byte, int) ([]byte, error) { return nil, failed },
		func([]byte) (int, error) { return 0, failed }))
	wrong.Changed(entry(wrong, "a"), true)
	require.ErrorIs(t, wrong.Flush(&changelog{}, nil), failed)
	require.ErrorIs(t, wrong.Restore([]byte("a"), []byte("x"), 1), failed)
}

func TestAKeyWithoutBytesIsAKey(t *testing.T) {
	s, log := newStore(), changelog{}
	text := state.NewKeyValue("text", serde.String, serde.String)
	text.Changed(entry(text, ""), true)
	require.NoError(t, text.Flush(&log, func(*state.Entry[string, string]) error { return nil }))
	require.NotNil(t, log[0].value)
	require.Equal(t, 1, length(t, text))
	put(s, "", 1, 1)
	n, at, ok, err := s.Get("")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, int64(1), n)
	require.Equal(t, time.UnixMilli(1), at)
}

// A store equals a map, flushed or not, and so does the store restored from its
// changelog.
func TestAStoreIsAMapAndItsChangelogIsTheStore(t *testing.T) {
	type value struct{ n, ms int64 }
	rapid.Check(t, func(t *rapid.T) {
		s, log := newStore(), changelog{}
		model, flushed := map[string]value{}, map[string]value{}
		check := func(s *state.KeyValue[string, int64], model map[string]value) {
			require.Equal(t, len(model), length(t, s))
			got, keys := map[string]value{}, []string{}
			for r, err := range s.All() {
				require.NoError(t, err)
				got[r.Key], keys = value{r.Value, r.At.UnixMilli()}, append(keys, r.Key)
			}
			require.Equal(t, model, got)
			require.True(t, slices.IsSorted(keys))
		}
		key := rapid.SampledFrom([]string{"", "a", "b", "ab", "\xff", "c"})
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				k, v := key.Draw(t, "key"), value{rapid.Int64().Draw(t, "value"), rapid.Int64Range(0, 1<<40).Draw(t, "ms")}
				put(s, k, v.n, v.ms)
				model[k] = v
			},
			"remove": func(t *rapid.T) {
				k := key.Draw(t, "key")
				remove(s, k)
				delete(model, k)
			},
			"get": func(t *rapid.T) {
				k := key.Draw(t, "key")
				n, at, ok, err := s.Get(k)
				require.NoError(t, err)
				want, there := model[k]
				require.Equal(t, there, ok)
				if ok {
					require.Equal(t, want, value{n, at.UnixMilli()})
				}
			},
			"flush": func(t *rapid.T) {
				require.NoError(t, s.Flush(&log, func(e *state.Entry[string, int64]) error {
					k, err := s.Key(e)
					require.NoError(t, err)
					before, there := flushed[k]
					require.Equal(t, there, e.OldPresent)
					require.Equal(t, before.n, old(t, s, e))
					delete(flushed, k)
					if e.Present {
						flushed[k] = value{e.Value, e.Ms}
					}
					return nil
				}))
				require.Equal(t, model, flushed)
				again := newStore()
				restore(t, again, log)
				check(again, model)
			},
			"": func(*rapid.T) { check(s, model) },
		})
	})
}

// A value that is changed in place does not change the old one: in the store
// that made it, and in the one that was restored.
func TestTheOldValueHasMemoryOfItsOwn(t *testing.T) {
	open := func() *state.KeyValue[string, map[string]int] {
		s := state.NewKeyValue("sets", serde.String, serde.JSON[map[string]int]())
		s.KeepOld()
		return s
	}
	var log changelog
	change := func(s *state.KeyValue[string, map[string]int], n int, before map[string]int) {
		e := entry(s, "a")
		if !e.Present {
			e.Value = map[string]int{}
		}
		e.Value["n"] = n
		s.Changed(e, true)
		emitted := 0
		require.NoError(t, s.Flush(&log, func(e *state.Entry[string, map[string]int]) error {
			emitted++
			require.Equal(t, before, old(t, s, e))
			require.Equal(t, map[string]int{"n": n}, e.Value)
			return nil
		}))
		require.Equal(t, 1, emitted)
	}
	s := open()
	change(s, 1, nil)
	change(s, 2, map[string]int{"n": 1})
	restored := open()
	restore(t, restored, log)
	change(restored, 3, map[string]int{"n": 2})
}

// The deletion of an entry that was restored is written, or the key would come
// back with the next restore.
func TestARestoredEntryIsDeletedForGood(t *testing.T) {
	one, _ := serde.Int64.Append(nil, 1)
	s, log := newStore(), changelog{{"a", one, 7}}
	restore(t, s, log)
	remove(s, "a")
	emitted := 0
	require.NoError(t, s.Flush(&log, func(e *state.Entry[string, int64]) error {
		emitted++
		require.False(t, e.Present)
		require.Equal(t, int64(1), old(t, s, e))
		return nil
	}))
	require.Equal(t, 1, emitted)
	again := newStore()
	restore(t, again, log)
	require.Equal(t, 0, length(t, again))
	require.Equal(t, changelog{{"a", one, 7}, {"a", nil, 7}}, log)
}

// WriteThrough writes every deletion, as Kafka's stores without a cache do.
func TestWritingThroughTellsOfADeletionOfNothing(t *testing.T) {
	s, log, emitted := newStore(), changelog{}, 0
	emit := func(e *state.Entry[string, int64]) error {
		emitted++
		require.False(t, e.Present || e.OldPresent)
		return nil
	}
	remove(s, "a")
	require.NoError(t, s.Flush(&log, emit))
	require.Empty(t, log)
	remove(s, "a")
	require.NoError(t, s.WriteThrough(&log, emit))
	require.Equal(t, changelog{{"a", nil, 0}}, log)
	require.Equal(t, 1, emitted)
	require.Equal(t, 0, length(t, s))
}

// odd is an int64 whose serde does not write odd numbers and panics at 13.
var odd = serde.Func(func(dst []byte, v int64) ([]byte, error) {
	switch {
	case v == 13:
		panic("thirteen")
	case v%2 != 0:
		return dst, errors.New("odd")
	}
	return serde.Int64.Append(dst, v)
}, serde.Int64.Decode)

// A value that cannot be written is undone, and the others are flushed.
func TestUndoTakesBackWhatCannotBeWritten(t *testing.T) {
	s, log := state.NewKeyValue("even", serde.String, odd), changelog{}
	s.KeepOld()
	var emitted []string
	flush := func() (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panicked: %v", p)
			}
		}()
		return s.Flush(&log, func(e *state.Entry[string, int64]) error {
			emitted = append(emitted, fmt.Sprint(s.Key(e)))
			return nil
		})
	}
	put(s, "a", 2, 1)
	require.NoError(t, flush())
	require.NoError(t, s.Undo(), "nothing failed")

	log, emitted = nil, nil
	put(s, "a", 3, 2)
	put(s, "b", 4, 2)
	put(s, "new", 13, 2)
	put(s, "c", 6, 2)
	for _, reason := range []string{"odd", "thirteen"} {
		require.ErrorContains(t, flush(), reason)
		e := s.Failing()
		key, value := s.Encoded(e)
		require.NotEmpty(t, key)
		require.Nil(t, value)
		require.NoError(t, s.Undo())
		require.Nil(t, s.Failing())
		require.Equal(t, reason == "odd", e.Present)
	}
	require.NoError(t, flush())
	require.Equal(t, []string{"b<nil>", "c<nil>"}, emitted)
	require.Len(t, log, 2)
	n, at, ok, err := s.Get("a")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, int64(2), n)
	require.Equal(t, time.UnixMilli(1), at)
	require.Equal(t, 3, length(t, s))
}

func TestReleaseForgetsWhatWasOnlyLookedAt(t *testing.T) {
	s := newStore()
	e := entry(s, "a")
	e.Ms = 7
	s.Release(e)
	require.Zero(t, entry(s, "a").Ms)
	put(s, "a", 1, 1)
	s.Release(entry(s, "a"))
	require.Equal(t, 1, length(t, s))
	key, value := s.Encoded(entry(s, "a"))
	require.Equal(t, "a", string(key))
	require.Equal(t, []byte{0, 0, 0, 0, 0, 0, 0, 1}, value)
}

// The deletion of an entry that was restored into memory is written.
func TestTheDeletionOfWhatWasRestoredIsWritten(t *testing.T) {
	one, _ := serde.Int64.Append(nil, 1)
	s, log := state.NewKeyValue("counts", serde.String, serde.Int64), changelog{}
	restore(t, s, changelog{{"a", one, 7}})
	remove(s, "a")
	require.NoError(t, s.Flush(&log, nil))
	require.Equal(t, changelog{{"a", nil, 7}}, log)
}
