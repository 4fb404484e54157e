//go:build go1.27

package streams

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
)

// The package has no windows yet. What follows is the shape that they fit into:
// types of their own for windowed tables and streams, whose methods reach no
// KStream or KTable of windowed keys, beside the generic methods of KStream. That
// this file compiles shows that Go sees no instantiation cycle, from grouping a
// stream through its windows back to a stream; the test shows that the parts that
// KTable and KStream are made of serve both.

type windowed[K any] struct {
	key   K
	start int64
}

type windowedGroup[K, V any] struct{ group grouping[windowed[K], V] }

func (g *windowedGroup[K, V]) grouping() *grouping[windowed[K], V] { return &g.group }

// byLength stands for windowing: the window of a record is the length of its key.
func (g *KGroupedStream[K, V]) byLength(length func(K) int64, keys serde.Serde[windowed[K]]) *windowedGroup[K, V] {
	t, from := g.group.topology, g.group.out
	n := t.process("WINDOW-", from.node)
	out := &outlet[windowed[K], V]{node: n}
	window := func(k K, v V) (windowed[K], V) { return windowed[K]{k, length(k)}, v }
	from.to(n, func(w *wiring) receiver[K, V] {
		return &mapper[K, V, windowed[K], V]{step: w.step(n), f: window, next: out.wire(w)}
	})
	return &windowedGroup[K, V]{grouping[windowed[K], V]{topology: t, out: out, key: keys, value: g.group.value}}
}

func (g *windowedGroup[K, V]) Count(store string) *windowedTable[K, int64] {
	return &windowedTable[K, int64]{counted(g.grouping(), store)}
}

type windowedTable[K, V any] struct{ changes[windowed[K], V] }

func (t *windowedTable[K, V]) ToStream() *windowedStream[K, V] {
	return &windowedStream[K, V]{t.topology, valuesOf(t.changes), t.key, t.value}
}

type windowedStream[K, V any] struct {
	topology *Topology
	out      *outlet[windowed[K], V]
	key      serde.Serde[windowed[K]]
	value    serde.Serde[V]
}

func (s *windowedStream[K, V]) Map[K2, V2 any](f func(windowed[K], V) (K2, V2)) *KStream[K2, V2] {
	return mapRecords(s.topology, s.out, f)
}

func (s *windowedStream[K, V]) SelectKey[K2 any](f func(windowed[K], V) K2, options ...KeyOption[K2]) *KStream[K2, V] {
	return selectKey(s.topology, s.out, s.value, f, options)
}

// plain is a function and no method: as one it would close the cycle.
func plain[K, V any](s *windowedStream[K, V]) *KStream[windowed[K], V] {
	return &KStream[windowed[K], V]{topology: s.topology, out: s.out, key: s.key, value: s.value}
}

type windowedSerde struct{}

func (windowedSerde) Append(dst []byte, w windowed[string]) ([]byte, error) {
	return append(strconv.AppendInt(dst, w.start, 10), w.key...), nil
}

func (windowedSerde) Decode(src []byte) (windowed[string], error) {
	key := strings.TrimLeft(string(src), "0123456789")
	start, err := strconv.ParseInt(strings.TrimSuffix(string(src), key), 10, 64)
	return windowed[string]{key, start}, err
}

func TestWindowedTypesFitBesideGenericMethods(t *testing.T) {
	lines := serde.For("lines", serde.String, serde.String)
	s, err := NewSimulation("app", func(t *Topology) {
		table := Stream(t, lines).
			GroupByKey().
			byLength(func(key string) int64 { return int64(len(key)) }, windowedSerde{}).
			Count("counts")
		stream := table.ToStream()
		stream.Map(func(w windowed[string], n int64) (string, int64) { return w.key, n }).To(serde.For("mapped", serde.String, serde.Int64))
		stream.SelectKey(func(w windowed[string], _ int64) int64 { return w.start }).
			GroupByKey().Count("windows").
			ToStream().To(serde.For("selected", serde.Int64, serde.Int64))
		plain(stream).Filter(func(w windowed[string], _ int64) bool { return w.start > 1 }).To(serde.For("plain", serde.Serde[windowed[string]](windowedSerde{}), serde.Int64))
	})
	require.NoError(t, err)
	for _, key := range []string{"a", "bb", "bb"} {
		require.NoError(t, s.Send(record.Record{Topic: "lines", Key: []byte(key), Value: []byte("line")}))
	}
	keys := func(topic string) (all []string) {
		for _, r := range s.Records(topic) {
			all = append(all, string(r.Key))
		}
		return all
	}
	require.Equal(t, []string{"a", "bb", "bb"}, keys("mapped"))
	require.Len(t, keys("selected"), 3)
	require.Equal(t, []string{"2bb", "2bb"}, keys("plain"))
}
