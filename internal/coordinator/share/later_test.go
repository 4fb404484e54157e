package share

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// delayed is a share-partition whose records have times, and the members' side of it: they
// return what is not due, and make searches.
type delayed struct {
	*world
	due     []time.Time // of each record
	holders []string    // who has it, as the program knows
	by      []int64     // by which acquisition
	done    []bool
}

// acquire is what a session does: it returns the offsets that the program gets.
func (d *delayed) acquire(t require.TestingT, member string, n int) (got []int64) {
	acquired, err := d.world.acquire(member, n)
	require.NoError(t, err)
	if acquired.Search != nil {
		d.search(t, *acquired.Search)
	}
	for _, r := range acquired.Ranges {
		for i := r.First; i <= r.Last; i++ {
			if d.due[i].After(acquired.Now) {
				errs, result, err := d.c.Settle(jobs, member, []Settlement{{First: i, Last: i, Kind: Return, At: d.due[i], Acquisition: d.acquisitions}}, false, d.now)
				require.NoError(t, err)
				require.NoError(t, errs[0])
				d.took(result.Records...)
				continue
			}
			require.False(t, d.done[i], "offset %d was acknowledged", i)
			d.holders[i], d.by[i] = member, d.acquisitions
			got = append(got, i)
		}
	}
	return got
}

func (d *delayed) search(t require.TestingT, s Search) {
	var found []int64
	var rest Rest
	at := s.First
	for ; at <= s.Last && len(found) < s.Most; at++ {
		switch due := d.due[at]; {
		case !due.After(s.Passed):
		case !due.After(s.Now):
			found = append(found, at)
		default:
			if rest.Count == 0 {
				rest.First, rest.Next = at, due
			}
			rest.Last, rest.Count = at, rest.Count+1
			if due.Before(rest.Next) {
				rest.Next = due
			}
		}
	}
	r, err := d.c.Promote(jobs, s, found, rest, at, d.now)
	require.NoError(t, err)
	d.took(r.Records...)
}

// TestDelayedRecords holds that a record is delivered once its time has come, not before, and
// not again when it was acknowledged, also when far more wait than the window has room for.
func TestDelayedRecords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		w.window, w.attempts, w.end = rapid.IntRange(2, 8).Draw(t, "window"), 1000, 60
		d := &delayed{world: w, due: make([]time.Time, w.end), holders: make([]string, w.end), done: make([]bool, w.end), by: make([]int64, w.end)}
		for i := range d.due {
			d.due[i] = w.now.Add(time.Duration(rapid.IntRange(0, 50).Draw(t, "due")) * 10 * time.Second)
		}
		r, err := w.c.Initialize(jobs, 0, w.now)
		require.NoError(t, err)
		w.took(r.Records...)
		who := func(t *rapid.T) string { return rapid.SampledFrom([]string{"ann", "bob"}).Draw(t, "member") }
		t.Repeat(map[string]func(*rapid.T){
			"wait": func(t *rapid.T) {
				w.now = w.now.Add(rapid.SampledFrom([]time.Duration{1, 10, 40}).Draw(t, "s") * time.Second)
			},
			"acquire": func(t *rapid.T) { d.acquire(t, who(t), rapid.IntRange(1, 9).Draw(t, "max")) },
			"dies": func(t *rapid.T) { // before it reads what it has acquired
				_, err := d.world.acquire(who(t), rapid.IntRange(1, 9).Draw(t, "max"))
				require.NoError(t, err)
			},
			"accept":   func(t *rapid.T) { d.accept(t, rapid.IntRange(0, 59).Draw(t, "offset")) },
			"snapshot": func(*rapid.T) { w.snapshot() },
			"move":     func(*rapid.T) { w.c = w.replay() },
			"restart": func(t *rapid.T) {
				w.c = w.replay()
				all, err := w.c.Unlock(w.now)
				require.NoError(t, err)
				for _, r := range all {
					w.took(r.Records...)
				}
			},
			"": func(t *rapid.T) {
				p := w.c.parts[jobs]
				require.LessOrEqual(t, len(p.later), maxLater)
				require.LessOrEqual(t, p.unfinished(), int64(w.window)+10)
			},
		})
		w.unchecked = true
		for range 400 {
			w.now = w.now.Add(20 * time.Second)
			for _, i := range d.acquire(t, "last", 9) {
				d.accept(t, int(i))
			}
		}
		for i := range d.done {
			require.True(t, d.done[i], "offset %d", i)
		}
		p := w.c.parts[jobs]
		require.Empty(t, p.runs)
		require.Empty(t, p.later)
	})
}

// accept has the holder acknowledge a record. It may have lost it.
func (d *delayed) accept(t require.TestingT, i int) {
	if d.holders[i] == "" || d.done[i] {
		return
	}
	errs, r, err := d.c.Settle(jobs, d.holders[i], []Settlement{{First: int64(i), Last: int64(i), Kind: Accept, Acquisition: d.by[i]}}, false, d.now)
	require.NoError(t, err)
	d.took(r.Records...)
	d.done[i] = errs[0] == nil
	d.holders[i] = ""
}

// TestManyDelayedRecordsTakeLittle has far more records wait than the window has room for.
func TestManyDelayedRecordsTakeLittle(t *testing.T) {
	const records = 50_000
	w := &world{t: t, c: New(), now: time.UnixMilli(1_000_000), window: 200, attempts: 5, lock: time.Minute, end: records}
	d := &delayed{world: w, due: make([]time.Time, records), holders: make([]string, records), done: make([]bool, records), by: make([]int64, records)}
	for i := range d.due {
		if i%10 > 0 {
			d.due[i] = w.now.Add(time.Hour + time.Duration(i%777)*time.Second)
		}
	}
	w.unchecked = true
	_, err := w.c.Initialize(jobs, 0, w.now)
	require.NoError(t, err)
	all := func() (n int) {
		for idle := 0; idle < 4; {
			got := d.acquire(t, "ann", 100)
			if n += len(got); len(got) == 0 {
				idle++
			} else {
				idle = 0
			}
			for _, i := range got {
				d.accept(t, int(i))
			}
			p := w.c.parts[jobs]
			require.LessOrEqual(t, p.unfinished(), int64(300))
			require.LessOrEqual(t, len(p.later), maxLater)
			if p.end < records {
				idle = 0
			}
		}
		return n
	}
	require.Equal(t, records/10, all(), "those that are due are not kept waiting by those that are not")
	require.Equal(t, int64(records-records/10), w.c.Describe("workers", w.now)[0].Delayed)
	w.now = w.now.Add(time.Hour + 300*time.Second)
	n := all()
	w.now = w.now.Add(time.Hour)
	n += all()
	require.Equal(t, records-records/10, n)
}
