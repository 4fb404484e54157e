package state_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams/state"
)

// A cache is a map whatever it keeps in memory: ranges, old values, views and
// what is read again agree with it.
func TestACacheOverBytesIsAMap(t *testing.T) {
	long := strings.Repeat("long", 12)
	keys := rapid.SampledFrom([]string{"", "a", "ab", "b", "\x00", "a\x00", "\xff", long, long + "a", "c", "d", "e", "f", "g"})
	rapid.Check(t, func(t *rapid.T) {
		var options []state.Option
		if rapid.Bool().Draw(t, "over") {
			options = append(options, state.Over(state.NewMemory()), state.CacheBytes(rapid.Int64Range(1, 1000).Draw(t, "limit")))
		}
		s := state.NewKeyValue("sums", serde.String, serde.Int64, options...)
		if rapid.Bool().Draw(t, "old") {
			s.KeepOld()
		} else if len(options) == 0 {
			_, err := s.View() // later, what is changed may be in it
			require.NoError(t, err)
		}
		now, flushed := map[string]int64{}, map[string]int64{}
		log := changelog{}
		type viewed struct {
			*state.View[string, int64]
			of map[string]int64
		}
		var views []viewed
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				k := keys.Draw(t, "key")
				now[k] = rapid.Int64().Draw(t, "value")
				put(s, k, now[k], 1)
			},
			"add": func(t *rapid.T) {
				k := keys.Draw(t, "key")
				e := entry(s, k)
				before, there := now[k]
				require.Equal(t, there, e.Present)
				if there {
					require.Equal(t, before, e.Value)
				}
				e.Value = before + 1
				s.Changed(e, true)
				now[k]++
			},
			"remove": func(t *rapid.T) {
				k := keys.Draw(t, "key")
				remove(s, k)
				delete(now, k)
			},
			"look": func(t *rapid.T) {
				s.Release(entry(s, keys.Draw(t, "key")))
			},
			"flush": func(t *rapid.T) {
				told := maps.Clone(flushed)
				once, again := true, ""
				emit := func(e *state.Entry[string, int64]) error {
					k, err := s.Key(e)
					require.NoError(t, err)
					before, there := told[k]
					was, ok, err := s.Old(e)
					require.NoError(t, err)
					require.Equal(t, there, ok, "%q", k)
					require.Equal(t, before, was)
					if delete(told, k); e.Present {
						told[k] = e.Value
					}
					if once { // changes while it is flushed
						once, again = false, keys.Draw(t, "again")
						now[again] = 77
						put(s, again, 77, 2)
					}
					return nil
				}
				flush := s.Flush
				if rapid.Bool().Draw(t, "through") {
					flush = s.WriteThrough
				}
				require.NoError(t, flush(&log, emit))
				require.Equal(t, now, told)
				flushed = told
			},
			"view": func(t *rapid.T) {
				v, err := s.View()
				require.NoError(t, err)
				views = append(views, viewed{v, maps.Clone(flushed)})
			},
			"": func(t *rapid.T) {
				require.Equal(t, len(now), length(t, s))
				k := keys.Draw(t, "key")
				v, _, ok, err := s.Get(k)
				require.NoError(t, err)
				want, there := now[k]
				require.Equal(t, there, ok)
				require.Equal(t, want, v)

				from, to, order := keys.Draw(t, "from"), keys.Draw(t, "to"), state.Order(rapid.Bool().Draw(t, "descending"))
				require.Equal(t, between(now, from, to, order), rowsOf(t, s.Range(from, to, order)))
				var found []pair
				for _, p := range between(now, "", "\xff\xff", state.Ascending) {
					if strings.HasPrefix(p.key, from) {
						found = append(found, p)
					}
				}
				require.Equal(t, found, rowsOf(t, s.Prefix([]byte(from))))
				if len(views) > 0 {
					v := views[rapid.IntRange(0, len(views)-1).Draw(t, "which")]
					require.Equal(t, between(v.of, from, to, order), rowsOf(t, v.Range(from, to, order)))
					n, _, ok, err := v.Get(k)
					require.NoError(t, err)
					want, there := v.of[k]
					require.Equal(t, there, ok)
					require.Equal(t, want, n)
				}
			},
		})
		require.NoError(t, s.Flush(&log, nil))
		again := state.NewKeyValue("again", serde.String, serde.Int64, state.Over(state.NewMemory()))
		restore(t, again, log)
		require.Equal(t, between(now, "", "\xff\xff", state.Ascending), rowsOf(t, again.All()))
		require.NoError(t, s.Close())
	})
}

type pair struct {
	key   string
	value int64
}

func between(of map[string]int64, from, to string, order state.Order) (pairs []pair) {
	for _, k := range slices.Sorted(maps.Keys(of)) {
		if k >= from && k < to {
			pairs = append(pairs, pair{k, of[k]})
		}
	}
	if order == state.Descending {
		slices.Reverse(pairs)
	}
	return pairs
}

func rowsOf(t require.TestingT, rows func(func(state.Row[string, int64], error) bool)) (pairs []pair) {
	for r, err := range rows {
		require.NoError(t, err)
		pairs = append(pairs, pair{r.Key, r.Value})
	}
	return pairs
}

// What is in memory stays within its limit, whatever is read and written.
func TestACacheStaysWithinItsLimit(t *testing.T) {
	const limit = 64 << 10
	below := state.NewMemory()
	s := state.NewKeyValue("many", serde.String, serde.Int64, state.Over(below), state.CacheBytes(limit))
	for i := range 20_000 {
		put(s, fmt.Sprint("key", i), int64(i), 1)
		if s.Full() {
			require.NoError(t, s.Flush(nil, nil))
		}
		require.Less(t, s.Size()-below.Size(), int64(limit+limit/8))
	}
	require.NoError(t, s.Flush(nil, nil))
	for i := range 20_000 {
		v, _, ok, err := s.Get(fmt.Sprint("key", i))
		require.NoError(t, err)
		require.True(t, ok)
		require.EqualValues(t, i, v)
		require.Less(t, s.Size()-below.Size(), int64(limit+limit/8))
	}
	require.Equal(t, 20_000, length(t, s))
}

// A value that is not what its serde expects is an error that names the store.
func TestWhatIsBelowMayBeUnreadable(t *testing.T) {
	for value, what := range map[string]string{"short": "5 bytes long", "12345678abc": "here are 3"} {
		below := state.NewMemory()
		var b state.Batch
		b.Put([]byte("a"), []byte(value))
		require.NoError(t, below.Apply(&b))
		s := state.NewKeyValue("numbers", serde.String, serde.Int64, state.Over(below))
		_, _, _, err := s.Get("a")
		require.ErrorContains(t, err, "the store numbers")
		require.ErrorContains(t, err, what)
		for _, err := range s.All() {
			require.ErrorContains(t, err, what)
		}
		v, err := s.View()
		require.NoError(t, err)
		_, _, _, err = v.Get("a")
		require.ErrorContains(t, err, what)
	}
}
