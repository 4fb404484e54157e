package statetest

import (
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams/state"
)

const history = 30

// versions is what a key has had: by the time from which on, a value, or 0 for
// none.
type versions map[int64]int64

// at returns the version of a time. latest says whether no other one follows.
func (v versions) at(at int64) (from int64, found bool, until int64) {
	until = state.Forever
	for _, t := range slices.Sorted(maps.Keys(v)) {
		if t > at {
			return from, found, t
		}
		from, found = t, true
	}
	return from, found, until
}

// sequence is a changelog that keeps everything, in order.
type sequence []func(state.Store) error

// Append implements state.Changelog.
func (s *sequence) Append(key, value []byte, ms int64) error {
	key, value = slices.Clone(key), slices.Clone(value)
	*s = append(*s, func(to state.Store) error { return to.Restore(key, value, ms) })
	return nil
}

// versionsModel holds state.Versioned over the implementation to a sorted map
// for each key.
func versionsModel(t *testing.T, open Open) {
	rapid.Check(t, func(r *rapid.T) {
		var below state.Bytes
		opened := func() *state.Versioned[string, int64] {
			below = open(t, t.TempDir())
			return state.NewVersioned("versions", serde.String, serde.Int64, history*time.Millisecond, state.Over(below))
		}
		s, log := opened(), sequence{}
		all, latest, next := map[string]versions{}, int64(math.MinInt64+history), int64(0)
		oldest := func() int64 { return latest - history }
		want := func(key string, at int64) state.Version[int64] {
			from, found, until := all[key].at(at)
			if value := all[key][from]; found && value != 0 && (at >= oldest() || until == state.Forever) {
				return state.Version[int64]{Value: value, From: from, Until: until, Present: true}
			}
			return state.Version[int64]{}
		}
		check := func(r *rapid.T, key string, at int64) {
			got, err := s.Lookup([]byte(key), at)
			require.NoError(r, err)
			if !got.Present {
				got = state.Version[int64]{}
			}
			require.Equal(r, want(key, at), got)
		}
		r.Repeat(map[string]func(*rapid.T){
			"put": func(r *rapid.T) {
				key, from := names().Draw(r, "key"), moments().Draw(r, "from")
				next++
				_, _, end := all[key].at(from)
				until, put, err := s.Put(&log, []byte(key), next, from)
				require.NoError(r, err)
				require.Equal(r, from >= oldest(), put)
				if !put {
					return
				}
				require.Equal(r, end, until)
				if all[key] == nil {
					all[key] = versions{}
				}
				all[key][from] = next
				latest = max(latest, from)
			},
			"delete": func(r *rapid.T) {
				key, from := names().Draw(r, "key"), moments().Draw(r, "from")
				before := want(key, from)
				was, put, err := s.Delete(&log, []byte(key), from)
				require.NoError(r, err)
				require.Equal(r, from >= oldest(), put)
				if !was.Present {
					was = state.Version[int64]{}
				}
				require.Equal(r, before, was)
				if !put {
					return
				}
				if all[key] == nil {
					all[key] = versions{}
				}
				all[key][from] = 0
				latest = max(latest, from)
			},
			"restore": func(r *rapid.T) {
				require.NoError(r, s.Close())
				s = opened()
				for _, record := range log {
					require.NoError(r, record(s))
				}
				require.NoError(r, s.Restored())
			},
			"reopen": func(r *rapid.T) { // what was below is all there is
				require.NoError(r, s.Checkpoint(1))
				s = state.NewVersioned("versions", serde.String, serde.Int64, history*time.Millisecond, state.Over(below))
			},
			"": func(r *rapid.T) {
				key, at := names().Draw(r, "key"), moments().Draw(r, "at")
				check(r, key, at)
				check(r, key, state.Forever)
				v, err := s.View()
				require.NoError(r, err)
				value, from, ok, err := v.GetAsOf(key, time.UnixMilli(at))
				require.NoError(r, err)
				w := want(key, at)
				require.Equal(r, w.Present, ok)
				if ok {
					require.Equal(r, w.Value, value)
					require.Equal(r, w.From, from.UnixMilli())
				}
				value, _, ok, err = v.Get(key)
				require.NoError(r, err)
				require.Equal(r, want(key, state.Forever).Present, ok)
				require.Equal(r, want(key, state.Forever).Value, value)
				require.NoError(r, v.Close())
				live, kept := 0, 0
				for key, of := range all {
					if want(key, state.Forever).Present {
						live++
					}
					for from := range of {
						if _, _, until := of.at(from); until > oldest() && (of[from] != 0 || from > oldest()) {
							kept++
						}
					}
				}
				n, err := s.Len()
				require.NoError(r, err)
				require.Equal(r, live, n)
				require.Len(r, contents(r, below, []byte{0}, []byte{1}, state.Ascending), kept, "versions that are needed, and no others")
			},
		})
		require.NoError(r, s.Close())
	})
}
