package streams_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
	"github.com/runnel-go/runnel/streams/streamstest"
)

var (
	users   = serde.For("users", serde.String, serde.String)
	regions = serde.For("regions", serde.String, serde.Int64)
)

func none[K, V any](k K) row[K, V] { return row[K, V]{Key: k} }

func TestATableKeepsItsRowsOnlyIfSomethingNeedsThem(t *testing.T) {
	byLetter := func(_, v string) (string, string) { return v[:1], v }
	for name, c := range map[string]struct {
		define func(*streams.KTable[string, string])
		stores []string
	}{
		"nothing": {func(u *streams.KTable[string, string]) { u.ToStream().To(words) }, nil},
		"filtered": {func(u *streams.KTable[string, string]) {
			u.Filter(func(_, v string) bool { return v != "" }).ToStream().To(words)
		}, nil},
		"named":   {func(u *streams.KTable[string, string]) { u.Materialized("people") }, []string{"people"}},
		"grouped": {func(u *streams.KTable[string, string]) { streams.GroupTable(u, byLetter).Count("counts") }, []string{"users", "counts"}},
		"mapped, then grouped": {func(u *streams.KTable[string, string]) {
			streams.GroupTable(streams.MapTable(u, func(v string) string { return v + "!" }), byLetter).Count("counts")
		}, []string{"users", "counts"}},
		"mapped and named, then grouped": {func(u *streams.KTable[string, string]) {
			mapped := streams.MapTable(u, func(v string) string { return v + "!" }).Materialized("mapped")
			streams.GroupTable(mapped, byLetter).Count("counts")
		}, []string{"mapped", "counts"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := streamstest.New(t, func(t *streams.Topology) { c.define(streams.Table(t, users)) })
			var found []string
			for _, store := range []string{"users", "people", "mapped", "counts"} {
				if _, ok := d.Store(store); ok {
					found = append(found, store)
				}
			}
			require.Equal(t, c.stores, found)
		})
	}
}

func TestATableInAStoreCannotBePutIntoAnother(t *testing.T) {
	_, err := streams.NewSimulation("app", func(t *streams.Topology) {
		streams.Count(streams.Stream(t, lines).GroupByKey(), "counts").Materialized("again")
		streams.Table(t, users).Materialized("counts")
	})
	require.ErrorIs(t, err, fault.InvalidRequest)
	require.ErrorContains(t, err, `the table is in the store "counts" already`)
	require.ErrorContains(t, err, `the store "counts" belongs to KSTREAM-AGGREGATE-0000000001 already`)
}

func TestNullKeysAreSkippedAndCounted(t *testing.T) {
	d := streamstest.New(t, func(t *streams.Topology) { streams.Table(t, users).ToStream().To(words) })
	in := streamstest.Input(d, users)
	in.SendValue("nobody")
	in.Send("a", "Anna")
	require.Equal(t, []row[string, string]{some("a", "Anna")}, rows(streamstest.Output(d, words)))
	require.Equal(t, int64(1), d.ErrorCounts().Processing.Skipped)
}

// A table that tracks old values does not pass on the deletion of a row that was
// never in it.
func TestAFilteredTableIsTheRowsThatAreIn(t *testing.T) {
	d := streamstest.New(t, func(t *streams.Topology) {
		even := streams.Table(t, regions).Filter(func(_ string, n int64) bool { return n%2 == 0 })
		even.ToStream().To(totals)
		streams.GroupTable(even, func(_ string, n int64) (string, int64) { return "all", n }).
			Reduce("sum", func(a, b int64) int64 { return a + b }, func(a, b int64) int64 { return a - b }).
			ToStream().To(serde.For("sum", serde.String, serde.Int64))
	})
	in, out, sums := streamstest.Input(d, regions), streamstest.Output(d, totals), streamstest.Output(d, serde.For("sum", serde.String, serde.Int64))
	in.Send("a", 1)
	require.Empty(t, rows(out))
	in.Send("a", 2)
	in.Send("b", 4)
	require.Equal(t, []row[string, int64]{some("a", int64(2)), some("b", int64(4))}, rows(out))
	in.Send("a", 3)
	require.Equal(t, []row[string, int64]{none[string, int64]("a")}, rows(out))
	in.Send("a", 5)
	in.Delete("c")
	require.Empty(t, rows(out))
	require.Equal(t, []row[string, int64]{some("all", int64(2)), some("all", int64(6)), some("all", int64(4))}, rows(sums))
}

// A change that leaves a row in its group is one record between the
// sub-topologies, one that moves it is two.
func TestAGroupThatStaysGetsOneChange(t *testing.T) {
	d := streamstest.New(t, func(t *streams.Topology) {
		byLetter := streams.GroupTable(streams.Table(t, users), func(k, v string) (string, string) { return v[:1], k })
		streams.AggregateTable(byLetter, "names", func() string { return "" },
			func(_, v, all string) string { return all + "+" + v },
			func(_, v, all string) string { return all + "-" + v }).ToStream().To(words)
	})
	in, out := streamstest.Input(d, users), streamstest.Output(d, words)
	records := func() int { return len(d.Records("test-names-repartition")) }
	in.Send("1", "Anna")
	require.Equal(t, 1, records())
	in.Send("1", "Adam")
	require.Equal(t, 2, records())
	in.Send("1", "Berta")
	require.Equal(t, 4, records())
	in.Delete("1")
	require.Equal(t, 5, records())
	in.Delete("1")
	require.Equal(t, 5, records())
	require.Equal(t, []row[string, string]{
		some("A", "+1"), some("A", "+1-1+1"), some("A", "+1-1+1-1"), some("B", "+1"), some("B", "+1-1"),
	}, rows(out))
}

// A stream becomes a table behind a repartition topic if its keys have changed.
func TestToTableGathersKeysThatHaveChanged(t *testing.T) {
	d := streamstest.New(t, func(t *streams.Topology) {
		byName := streams.SelectKey(streams.Stream(t, lines), func(_, v string) string { return v[:1] })
		byName.ToTable().Named("latest").Materialized("latest").ToStream().To(words)
	})
	in := streamstest.Input(d, lines)
	in.Send("1", "ab")
	in.Send("2", "ac")
	require.Len(t, d.Records("test-latest-repartition"), 2)
	require.Equal(t, []row[string, string]{some("a", "ab"), some("a", "ac")}, rows(streamstest.Output(d, words)))
	v, _, ok, err := streamstest.Store[string, string](d, "latest").Get("a")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "ac", v)
}

// A row that a mapping of nulls leaves out is deleted, and a deletion is not
// mapped.
func TestAMappedRowMayBeNull(t *testing.T) {
	nullable := serde.For("maybe", serde.String, serde.Serde[*int64](serde.Nullable(serde.Int64)))
	d := streamstest.New(t, func(t *streams.Topology) {
		positive := func(n int64) *int64 {
			if n == 0 {
				panic(errors.New("a deletion was mapped"))
			}
			if n > 0 {
				return &n
			}
			return nil
		}
		streams.MapTable(streams.Table(t, regions), positive, streams.ValueSerde(nullable.Value)).ToStream().To(nullable)
	})
	in, out := streamstest.Input(d, regions), streamstest.Output(d, nullable)
	in.Send("a", 1)
	in.Send("a", -1)
	in.Delete("a")
	all := out.ReadAll()
	require.Len(t, all, 3)
	require.Equal(t, int64(1), *all[0].Value)
	require.False(t, all[1].HasValue)
	require.False(t, all[2].HasValue)
}
