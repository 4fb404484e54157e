package share

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// fate is what the model knows of one offset.
type fate struct {
	taken    bool // has been acquired
	finished bool
	count    int
	member   string
	until    time.Time

	acquisition int64
}

// TestAnySequence holds a share-partition to a model that has each offset by itself.
func TestAnySequence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		w.window, w.attempts = rapid.IntRange(1, 12).Draw(t, "window"), rapid.IntRange(1, 3).Draw(t, "attempts")
		w.deadTopic = rapid.Bool().Draw(t, "dead letters")
		r, err := w.c.Initialize(jobs, 0, w.now)
		require.NoError(t, err)
		w.took(r.Records...)
		m := &model{world: w, fates: make([]fate, 40)}
		t.Repeat(map[string]func(*rapid.T){
			"records": func(t *rapid.T) { w.end = rapid.Int64Range(w.end, 40).Draw(t, "end") },
			"delete":  m.delete,
			"wait": func(t *rapid.T) {
				w.now = w.now.Add(rapid.SampledFrom([]time.Duration{1, 10, 40}).Draw(t, "s") * time.Second)
			},
			"acquire":  m.acquire,
			"settle":   m.settle,
			"snapshot": func(*rapid.T) { w.snapshot() },
			"move":     func(*rapid.T) { w.c = w.replay() },
			"restart":  m.restart,
			"":         m.check,
		})
		m.drain(t)
	})
}

type model struct {
	*world
	fates []fate
}

func (m *model) delete(t *rapid.T) {
	m.start = rapid.Int64Range(m.start, m.end).Draw(t, "start")
}

// acquire holds what a member gets: nothing that another one holds, everything else that is
// due and fits, with its right number.
func (m *model) acquire(t *rapid.T) {
	member, most := m.who(t), rapid.IntRange(1, 10).Draw(t, "max")
	for i := range m.start { // are finished now
		m.fates[i].taken, m.fates[i].finished = true, true
	}
	var want []int64
	spent := map[int64]bool{}
	for i := range m.end {
		f := &m.fates[i]
		switch {
		case !f.taken || f.finished || m.now.Before(f.until) || len(want) == most:
		case f.count >= m.attempts && !m.deadTopic:
			f.finished = true
		default:
			spent[i] = f.count >= m.attempts
			want = append(want, i)
		}
	}
	open := 0
	for _, f := range m.fates {
		if f.taken && !f.finished {
			open++
		}
	}
	for i := range m.end {
		if !m.fates[i].taken && len(want) < most && open < m.window {
			want, open = append(want, i), open+1
		}
	}
	acquired, err := m.world.acquire(member, most)
	require.NoError(t, err)
	var got []int64
	for _, r := range acquired.Ranges {
		for i := r.First; i <= r.Last; i++ {
			got = append(got, i)
			f := &m.fates[i]
			if !spent[i] {
				f.count++
			}
			require.Equal(t, f.count, r.Attempt, i)
			require.Equal(t, spent[i], r.Spent, i)
			f.taken, f.member, f.until, f.acquisition = true, member, m.now.Add(m.lock), m.acquisitions
		}
	}
	require.Equal(t, want, got)
	if len(got) > 0 {
		again, err := m.acquireAs(member, m.acquisitions, most) // the answer was lost
		require.NoError(t, err)
		require.Equal(t, merged(acquired.Ranges), merged(again.Ranges))
		require.Equal(t, acquired.Until, again.Until)
	}
}

func (m *model) settle(t *rapid.T) {
	if m.end == 0 {
		return
	}
	member := m.who(t)
	s := Settlement{First: rapid.Int64Range(0, m.end-1).Draw(t, "first"), Kind: rapid.SampledFrom([]Kind{Gap, Accept, Release, Reject, Renew, Return}).Draw(t, "kind")}
	s.Last = min(s.First+rapid.Int64Range(0, 3).Draw(t, "more"), m.end-1)
	if rapid.Bool().Draw(t, "later") && s.Kind != Return { // TestDelayedRecords has those that take no room until then
		s.At = m.now.Add(20 * time.Second)
	}
	s.Acquisition = m.acquisitionOf(s.First)
	if rapid.IntRange(0, 9).Draw(t, "late") == 0 { // of an acquisition before
		s.Acquisition--
	}
	owned := true
	for i := s.First; i <= s.Last; i++ {
		f := m.fates[i]
		owned = owned && f.taken && !f.finished && f.member == member && f.acquisition == s.Acquisition
	}
	errs, r, err := m.c.Settle(jobs, member, []Settlement{s}, false, m.now)
	require.NoError(t, err)
	m.took(r.Records...)
	require.Equal(t, owned, errs[0] == nil, "%+v %v", s, errs[0])
	if !owned {
		return
	}
	for i := s.First; i <= s.Last; i++ {
		f := &m.fates[i]
		switch s.Kind {
		case Gap, Accept, Reject:
			f.finished = true
		case Renew:
			f.until = s.At
			if s.At.IsZero() {
				f.until = m.now.Add(time.Millisecond)
			}
		case Return:
			f.count--
			f.member, f.until = "", s.At
		case Release:
			f.member, f.until = "", s.At
		}
	}
}

func (m *model) restart(t *rapid.T) {
	m.c = m.replay()
	all, err := m.c.Unlock(m.now)
	require.NoError(t, err)
	for _, r := range all {
		m.took(r.Records...)
	}
	for i := range m.fates {
		if f := &m.fates[i]; f.member != "" {
			f.member, f.until = "", time.Time{}
		}
	}
}

func (m *model) who(t *rapid.T) string {
	return rapid.SampledFrom([]string{"ann", "bob", "cy"}).Draw(t, "member")
}

// check holds the runs to their rules.
func (m *model) check(t *rapid.T) {
	p := m.c.parts[jobs]
	for i, r := range p.runs {
		require.LessOrEqual(t, r.first, r.last)
		require.Less(t, r.last, p.end)
		if i > 0 {
			before := p.runs[i-1]
			require.Less(t, before.last, r.first)
			require.False(t, before.last+1 == r.first && before.like(r), "like neighbors are one run: %+v", p.runs)
		}
	}
}

// drain holds that every record ends acknowledged, given up or a dead letter: none is lost,
// and none is held for ever.
func (m *model) drain(t *rapid.T) {
	m.deadTopic, m.unchecked = true, true
	for range 200 {
		m.now = m.now.Add(time.Minute)
		got, err := m.world.acquire("last", 10)
		require.NoError(t, err)
		for _, r := range got.Ranges {
			_, result, err := m.c.Settle(jobs, "last", []Settlement{{First: r.First, Last: r.Last, Kind: Accept, Acquisition: m.acquisitions}}, false, m.now)
			require.NoError(t, err)
			m.took(result.Records...)
		}
	}
	p := m.c.parts[jobs]
	require.Empty(t, p.runs)
	require.Equal(t, m.end, p.end)
}

func FuzzApply(f *testing.F) {
	w := newWorld(f)
	w.end = 10
	for _, command := range [][]string{{"begin", "0"}, {"acquire", "ann", "7"}, {"accept", "ann", "3"}, {"release", "ann", "5", "in", "1m"}, {"snapshot"}, {"acquire", "bob", "1"}} {
		w.tell(command)
		for _, r := range w.log {
			f.Add(r.Key, r.Value)
		}
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		c := New()
		if c.Apply(key, value) != nil {
			return
		}
		parts := c.parts
		records, err := c.Snapshot() // what is accepted can be written, and read as the same
		require.NoError(t, err)
		again := New()
		for _, r := range records {
			require.NoError(t, again.Apply(r.Key, r.Value))
		}
		require.Equal(t, parts, again.parts)
	})
}

// merged makes neighbors one range.
func merged(all []Range) (merged []Range) {
	for _, r := range all {
		if n := len(merged); n > 0 && merged[n-1].Last+1 == r.First && merged[n-1].Attempt == r.Attempt && merged[n-1].Spent == r.Spent {
			merged[n-1].Last = r.Last
			continue
		}
		merged = append(merged, r)
	}
	return merged
}
