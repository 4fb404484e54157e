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

// changelog keeps what a store writes.
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

func put(s *state.KeyValue[string, int64], key string, v, ms int64) {
	e := s.Entry([]byte(key))
	e.Value, e.Ms = v, ms
	s.Changed(e, true)
}

func remove(s *state.KeyValue[string, int64], key string) {
	s.Changed(s.Entry([]byte(key)), false)
}

func newStore() *state.KeyValue[string, int64] {
	return state.NewKeyValue("counts", serde.String, serde.Int64)
}

func ExampleKeyValue() {
	counts := state.NewKeyValue("counts", serde.String, serde.Int64)
	for _, word := range []string{"to", "be", "or", "not", "to", "be"} {
		e := counts.Entry([]byte(word))
		e.Value++
		counts.Changed(e, true)
	}
	for word, n := range counts.All() {
		fmt.Println(word, n.Value)
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
	require.Equal(t, 2, s.Len())

	log = nil
	remove(s, "b")
	require.NoError(t, s.Flush(&log, func(e *state.Entry[string, int64]) error {
		require.True(t, e.OldPresent)
		require.Equal(t, int64(2), e.Old)
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
	wrong.Changed(wrong.Entry([]byte("a")), true)
	require.ErrorIs(t, wrong.Flush(&changelog{}, nil), failed)
	require.ErrorIs(t, wrong.Restore([]byte("a"), []byte("x"), 1), failed)
}

func TestAKeyWithoutBytesIsAKey(t *testing.T) {
	s, log := newStore(), changelog{}
	text := state.NewKeyValue("text", serde.String, serde.String)
	text.Changed(text.Entry(nil), true)
	require.NoError(t, text.Flush(&log, func(*state.Entry[string, string]) error { return nil }))
	require.NotNil(t, log[0].value)
	require.Equal(t, 1, text.Len())
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
			require.Equal(t, len(model), s.Len())
			got, keys := map[string]value{}, []string{}
			for k, v := range s.All() {
				got[k], keys = value{v.Value, v.At.UnixMilli()}, append(keys, k)
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
					old, there := flushed[k]
					require.Equal(t, there, e.OldPresent)
					if there {
						require.Equal(t, old.n, e.Old)
					}
					delete(flushed, k)
					if e.Present {
						flushed[k] = value{e.Value, e.Ms}
					}
					return nil
				}))
				require.Equal(t, model, flushed)
				again := newStore()
				for _, r := range log {
					require.NoError(t, again.Restore([]byte(r.key), r.value, r.ms))
				}
				check(again, model)
			},
			"": func(*rapid.T) { check(s, model) },
		})
	})
}
