package statetest

import (
	"cmp"
	"errors"
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

// changelog keeps what a store writes, as a compacted topic does.
type changelog map[string]logged

type logged struct {
	value []byte
	ms    int64
}

// Append implements state.Changelog.
func (c changelog) Append(key, value []byte, ms int64) error {
	if value == nil {
		delete(c, string(key))
	} else {
		c[string(key)] = logged{slices.Clone(value), ms}
	}
	return nil
}

func (c changelog) restore(t require.TestingT, s state.Store) {
	for key, l := range c {
		require.NoError(t, s.Restore([]byte(key), l.value, l.ms))
	}
	require.NoError(t, s.Restored())
}

// spot is a place in a store by key and time.
type spot struct {
	key  string
	at   int64 // a window's start, a session's end
	tail int64 // a sequence number, a session's start
}

func (s spot) compare(o spot) int {
	return cmp.Or(cmp.Compare(s.key, o.key), cmp.Compare(s.at, o.at), cmp.Compare(s.tail, o.tail))
}

func (s spot) byTime(o spot) int {
	return cmp.Or(cmp.Compare(s.at, o.at), cmp.Compare(s.key, o.key), cmp.Compare(s.tail, o.tail))
}

type held struct {
	spot
	value int64
}

// span is a store by key and time, as what must be in it.
type span struct {
	rows   map[spot]int64
	oldest int64
}

func (s span) clone() span { return span{maps.Clone(s.rows), s.oldest} }

// of returns a key's rows between two times; for no key it returns all of them,
// by their times.
func (s span) of(key *string, from, to int64, order state.Order) (found []held) {
	for p, v := range s.rows {
		if (key == nil || p.key == *key) && p.at >= max(from, s.oldest) && p.at <= to {
			found = append(found, held{p, v})
		}
	}
	slices.SortFunc(found, func(a, b held) int {
		if key == nil {
			return a.byTime(b.spot)
		}
		return a.compare(b.spot)
	})
	if order == state.Descending {
		slices.Reverse(found)
	}
	return found
}

const retention = 50

func moments() *rapid.Generator[int64] { return rapid.Int64Range(-5, 120) }

func names() *rapid.Generator[string] {
	return rapid.SampledFrom([]string{"", "a", "a\x00", "a\x00\x00", "a\x00\xff", "ab", "b", "\xff", "\x00"})
}

func options(t *rapid.T, open func() state.Bytes) []state.Option {
	return []state.Option{state.Over(open()), state.CacheBytes(rapid.SampledFrom([]int64{1, 500, 1 << 20}).Draw(t, "cache"))}
}

func segments(t *rapid.T) time.Duration {
	return time.Duration(rapid.SampledFrom([]int64{0, 1, 7, 1000}).Draw(t, "segment")) * time.Millisecond
}

// windowsModel holds state.Windows over the implementation to a sorted map.
func windowsModel(t *testing.T, open Open) {
	rapid.Check(t, func(r *rapid.T) {
		cfg := state.WindowConfig{
			Size: 10 * time.Millisecond, Retention: retention * time.Millisecond, Segment: segments(r), Duplicates: rapid.Bool().Draw(r, "duplicates"),
		}
		opened := func() *state.Windows[string, int64] {
			return state.NewWindows("windows", serde.String, serde.Int64, cfg, options(r, func() state.Bytes { return open(t, t.TempDir()) })...)
		}
		s, log := opened(), changelog{}
		now, flushed := span{map[spot]int64{}, math.MinInt64}, span{map[spot]int64{}, math.MinInt64}
		next := int64(0)
		check := func(r *rapid.T, w span, each func(string, int64, int64, state.Order) []held, all func(from, to time.Time) []held) {
			key, from, to := names().Draw(r, "key"), moments().Draw(r, "from"), moments().Draw(r, "to")
			order := state.Order(rapid.Bool().Draw(r, "descending"))
			require.Equal(r, w.of(&key, from, to, order), each(key, from, to, order))
			require.Equal(r, w.of(nil, from, to, state.Ascending), all(time.UnixMilli(from), time.UnixMilli(to)))
		}
		fetch := func(rows func(func(state.Row[state.Windowed[string], int64], error) bool)) (found []held) {
			seq := map[spot]int64{}
			for row, err := range rows {
				require.NoError(r, err)
				require.Equal(r, row.Key.Start.Add(cfg.Size), row.Key.End)
				p := spot{row.Key.Key, row.Key.Start.UnixMilli(), 0}
				found = append(found, held{spot{p.key, p.at, seq[p]}, row.Value})
				seq[p]++
			}
			return found
		}
		ofStore := func(key string, from, to int64, order state.Order) (found []held) {
			if order == state.Ascending {
				return fetch(s.Fetch(key, time.UnixMilli(from), time.UnixMilli(to), order))
			}
			require.NoError(r, s.Each([]byte(key), from, to, order, func(start, v, _ int64) error {
				found = append(found, held{spot{key, start, 0}, v})
				return nil
			}))
			for i := range found { // numbers the duplicates
				for j := i + 1; j < len(found) && found[j].at == found[i].at; j++ {
					found[i].tail++
				}
			}
			return found
		}
		flush := func(r *rapid.T) {
			require.NoError(r, s.Flush(log, nil))
			flushed = now.clone()
		}
		r.Repeat(map[string]func(*rapid.T){
			"put": func(r *rapid.T) {
				key, start := names().Draw(r, "key"), moments().Draw(r, "start")
				next++
				kept, err := s.Put([]byte(key), start, next, start)
				require.NoError(r, err)
				require.Equal(r, start >= now.oldest, kept)
				if !kept {
					return
				}
				p := spot{key, start, 0}
				for _, taken := now.rows[p]; taken && cfg.Duplicates; _, taken = now.rows[p] {
					p.tail++
				}
				now.rows[p] = next
			},
			"remove": func(r *rapid.T) {
				key, start := names().Draw(r, "key"), moments().Draw(r, "start")
				if cfg.Duplicates {
					return
				}
				e, err := s.Entry([]byte(key), start)
				require.NoError(r, err)
				require.Equal(r, start < now.oldest, e == nil)
				if e != nil {
					s.Changed(e, false)
					delete(now.rows, spot{key, start, 0})
				}
			},
			"advance": func(r *rapid.T) {
				at := moments().Draw(r, "time")
				s.Advance(at)
				now.oldest = max(now.oldest, at-retention)
			},
			"flush": flush,
			"view": func(r *rapid.T) {
				v, err := s.View()
				require.NoError(r, err)
				w := span{flushed.rows, now.oldest} // time goes on without a flush
				check(r, w, func(key string, from, to int64, order state.Order) []held {
					found := fetch(v.Fetch(key, time.UnixMilli(from), time.UnixMilli(to), state.Ascending))
					if order == state.Descending {
						slices.Reverse(found)
					}
					return found
				}, func(from, to time.Time) []held { return fetch(v.All(from, to)) })
				require.NoError(r, v.Close())
			},
			"restore": func(r *rapid.T) {
				flush(r)
				require.NoError(r, s.Close())
				cfg.Segment = segments(r) // which the changelog does not depend on
				s = opened()
				before, err := s.View() // of a copy that follows the changelog
				require.NoError(r, err)
				require.NoError(r, before.Close())
				log.restore(r, s)
				s.Advance(now.oldest + retention)
			},
			"": func(r *rapid.T) {
				check(r, now, ofStore, func(from, to time.Time) []held { return fetch(s.All(from, to)) })
				key, start := names().Draw(r, "key"), moments().Draw(r, "start")
				v, _, ok, err := s.Lookup([]byte(key), start)
				require.NoError(r, err)
				want, there := now.rows[spot{key, start, 0}]
				there = there && start >= now.oldest
				require.Equal(r, there, ok)
				if there {
					require.Equal(r, want, v)
				}
			},
		})
		require.NoError(r, s.Close())
	})
}

// sessionsModel holds state.Sessions over the implementation to a sorted map.
func sessionsModel(t *testing.T, open Open) {
	rapid.Check(t, func(r *rapid.T) {
		cfg := state.SessionConfig{Retention: retention * time.Millisecond, Segment: segments(r)}
		opened := func() *state.Sessions[string, int64] {
			return state.NewSessions("sessions", serde.String, serde.Int64, cfg, options(r, func() state.Bytes { return open(t, t.TempDir()) })...)
		}
		s, log := opened(), changelog{}
		now := span{map[spot]int64{}, math.MinInt64}
		next := int64(0)
		fetch := func(rows func(func(state.Row[state.Windowed[string], int64], error) bool)) (found []held) {
			for row, err := range rows {
				require.NoError(r, err)
				found = append(found, held{spot{row.Key.Key, row.Key.End.UnixMilli(), row.Key.Start.UnixMilli()}, row.Value})
			}
			return found
		}
		session := func(r *rapid.T) (key string, start, end int64) {
			start = moments().Draw(r, "start")
			return names().Draw(r, "key"), start, start + rapid.Int64Range(0, 20).Draw(r, "length")
		}
		r.Repeat(map[string]func(*rapid.T){
			"put": func(r *rapid.T) {
				key, start, end := session(r)
				present := rapid.IntRange(0, 3).Draw(r, "put") > 0
				e, err := s.Entry([]byte(key), start, end)
				require.NoError(r, err)
				require.Equal(r, end < now.oldest, e == nil)
				if e == nil {
					return
				}
				_, there := now.rows[spot{key, end, start}]
				require.Equal(r, there, e.Present)
				if next++; present {
					e.Value, e.Ms = next, end
					now.rows[spot{key, end, start}] = next
				} else {
					delete(now.rows, spot{key, end, start})
				}
				s.Changed(e, present)
			},
			"advance": func(r *rapid.T) {
				at := moments().Draw(r, "time")
				s.Advance(at)
				now.oldest = max(now.oldest, at-retention)
			},
			"flush": func(r *rapid.T) { require.NoError(r, s.Flush(log, nil)) },
			"restore": func(r *rapid.T) {
				require.NoError(r, s.Flush(log, nil))
				require.NoError(r, s.Close())
				s = opened()
				log.restore(r, s)
				s.Advance(now.oldest + retention)
				v, err := s.View()
				require.NoError(r, err)
				require.Equal(r, now.of(nil, 0, 100, state.Ascending), fetch(v.All(time.UnixMilli(0), time.UnixMilli(100))))
				require.NoError(r, v.Close())
			},
			"": func(r *rapid.T) {
				key, latestStart, earliestEnd := names().Draw(r, "key"), moments().Draw(r, "latest start"), moments().Draw(r, "earliest end")
				want := slices.DeleteFunc(now.of(&key, earliestEnd, math.MaxInt64, state.Ascending), func(h held) bool { return h.tail > latestStart })
				var found []held
				require.NoError(r, s.Find([]byte(key), earliestEnd, latestStart, func(start, end, v, _ int64) error {
					found = append(found, held{spot{key, end, start}, v})
					return nil
				}))
				if len(want) == 0 {
					want = nil
				}
				require.Equal(r, want, found)
				from, to := moments().Draw(r, "from"), moments().Draw(r, "to")
				require.Equal(r, now.of(nil, from, to, state.Ascending), fetch(s.All(time.UnixMilli(from), time.UnixMilli(to))))
				require.Equal(r, now.of(&key, from, to, state.Descending), fetch(s.Fetch(key, time.UnixMilli(from), time.UnixMilli(to), state.Descending)))
				key, start, end := session(r)
				v, _, ok, err := s.Lookup([]byte(key), start, end)
				require.NoError(r, err)
				there := end >= now.oldest
				if _, found := now.rows[spot{key, end, start}]; !found {
					there = false
				}
				require.Equal(r, there, ok)
				if ok {
					require.Equal(r, now.rows[spot{key, end, start}], v)
				}
			},
		})
		require.NoError(r, s.Close())
	})
}

// expiry checks that what has expired leaves the implementation, and only then.
func expiry(t *testing.T, open Open) {
	below := open(t, t.TempDir())
	s := state.NewWindows("windows", serde.String, serde.Int64, state.WindowConfig{Retention: 100 * time.Millisecond, Segment: 10 * time.Millisecond}, state.Over(below))
	rows := func() int { return len(contents(t, below, nil, nil, state.Ascending)) }
	for start := range int64(50) {
		_, err := s.Put([]byte("a"), start, start, start)
		require.NoError(t, err)
	}
	s.Advance(115) // before its last change was flushed, which must be forwarded
	var told []int64
	require.NoError(t, s.Flush(nil, func(e *state.Entry[state.Windowed[string], int64]) error {
		told = append(told, e.Value)
		return nil
	}))
	require.Len(t, told, 50)
	require.Equal(t, 40, rows(), "those from 10 on, of which 15 is the oldest that is shown")
	_, _, ok, err := s.Lookup([]byte("a"), 14)
	require.NoError(t, err)
	require.False(t, ok)
	_, _, ok, err = s.Lookup([]byte("a"), 15)
	require.NoError(t, err)
	require.True(t, ok)
	s.Advance(90)
	require.EqualValues(t, 15, s.Oldest())
	s.Advance(1000)
	require.NoError(t, s.Flush(nil, nil))
	require.Zero(t, rows())
	enough := errors.New("enough")
	_, err = s.Put([]byte("a"), 950, 1, 950)
	require.NoError(t, err)
	require.ErrorIs(t, s.Each([]byte("a"), 0, 2000, state.Ascending, func(int64, int64, int64) error { return enough }), enough)
	closed(t, s)
}
