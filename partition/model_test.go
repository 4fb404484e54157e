package partition_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/partition"
)

// TestModel drives a partition by random commands and compares it with a slice.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := configOn(vfs.NewMemory())
		cfg.Fsync = rapid.Bool().Draw(t, "fsync")
		cfg.MaxMessageBytes = 400
		cfg.Log.SegmentBytes = 1000
		cfg.Log.TailBytes = rapid.SampledFrom([]int{-1, 500, 1 << 20}).Draw(t, "tail")
		m := &model{cfg: cfg}
		m.p, _ = open(t, cfg)
		t.Repeat(map[string]func(*rapid.T){
			"":              m.check,
			"append":        m.append,
			"appendMany":    m.appendMany,
			"appendInvalid": m.appendInvalid,
			"read":          m.read,
			"wait":          m.wait,
			"deleteRecords": m.deleteRecords,
			"reopen":        m.reopen,
		})
		require.NoError(t, m.p.Close())
	})
}

// model is what a partition should hold: the value at each offset.
type model struct {
	cfg    partition.Config
	p      *partition.Partition
	values []string
	start  int64
}

func (m *model) end() int64 { return int64(len(m.values)) }

func (m *model) draw(t *rapid.T) []string {
	values := make([]string, rapid.IntRange(1, 5).Draw(t, "records"))
	for i := range values {
		values[i] = fmt.Sprintf("%d", len(m.values)+i)
	}
	return values
}

func (m *model) check(t *rapid.T) {
	require.Equal(t, m.start, m.p.StartOffset())
	require.Equal(t, m.end(), m.p.HighWatermark())
	require.Equal(t, m.end(), m.p.EndOffset())
	require.LessOrEqual(t, m.p.DurableOffset(), m.end())
	if m.cfg.Fsync {
		require.Equal(t, m.end(), m.p.DurableOffset())
	}
}

func (m *model) append(t *rapid.T) {
	values := m.draw(t)
	base, err := appendAll(m.p, values...)
	require.NoError(t, err)
	require.Equal(t, m.end(), base)
	m.values = append(m.values, values...)
}

// appendMany queues appends, good ones and bad ones, without waiting between.
func (m *model) appendMany(t *rapid.T) {
	type sent struct {
		done *outcome
		base int64
	}
	var all []sent
	for range rapid.IntRange(2, 20).Draw(t, "appends") {
		s := sent{done: newOutcome(), base: m.end()}
		if rapid.IntRange(0, 4).Draw(t, "bad") == 0 {
			s.base = -1
			m.p.Append(batchOf(string(make([]byte, 400))), nil, s.done)
		} else {
			values := m.draw(t)
			m.p.Append(batchOf(values...), nil, s.done)
			m.values = append(m.values, values...)
		}
		all = append(all, s)
	}
	for _, s := range all {
		base, err := s.done.wait()
		require.Equal(t, s.base, base)
		require.Equal(t, s.base < 0, err != nil)
	}
}

func (m *model) appendInvalid(t *rapid.T) {
	raw := batchOf("value")
	raw = raw[:rapid.IntRange(0, len(raw)-1).Draw(t, "cut")]
	done := newOutcome()
	m.p.Append(raw, nil, done)
	_, err := done.wait()
	require.ErrorIs(t, err, fault.InvalidRecord)
}

func (m *model) read(t *rapid.T) {
	offset := rapid.Int64Range(-1, m.end()+1).Draw(t, "offset")
	s, err := m.p.Read(offset, rapid.IntRange(0, 500).Draw(t, "max"), nil)
	if offset < m.start || offset > m.end() {
		require.ErrorIs(t, err, fault.OffsetOutOfRange)
		return
	}
	require.NoError(t, err)
	got := valuesFrom(t, s, offset)
	require.Equal(t, offset == m.end(), len(got) == 0)
	for i, v := range got {
		require.Equal(t, m.values[int(offset)+i], v)
	}
	s.Release()
}

func (m *model) wait(t *rapid.T) {
	offset := rapid.Int64Range(0, m.end()+3).Draw(t, "offset")
	rings := make(bell, 1)
	require.Equal(t, offset >= m.end(), m.p.Wait(offset, rings))
	m.append(t)
	switch {
	case len(rings) == 1:
		require.Less(t, offset, m.end())
	default:
		m.p.CancelWait(rings)
	}
}

func (m *model) deleteRecords(t *rapid.T) {
	before := rapid.Int64Range(-1, m.end()).Draw(t, "before")
	start, err := m.p.DeleteRecords(before)
	require.NoError(t, err)
	if before == -1 {
		before = m.end()
	}
	m.start = max(m.start, before)
	require.Equal(t, m.start, start)
}

func (m *model) reopen(t *rapid.T) {
	require.NoError(t, m.p.Close())
	var err error
	m.p, _, err = partition.Open(m.cfg)
	require.NoError(t, err)
	require.Equal(t, append([]string(nil), m.values[m.start:]...), readAll(t, m.p, m.start))
}
