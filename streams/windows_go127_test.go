//go:build go1.27

package streams_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
	"github.com/runnel-go/runnel/streams/streamstest"
)

// Windows in chains of methods are the same topology as by functions.
func TestWindowsInChains(t *testing.T) {
	w := streams.Tumbling(time.Minute, 0)
	windowed := serde.For("out", streams.TimeWindowed(serde.String, w), serde.Int64)
	texts := serde.For("texts", streams.TimeWindowed(serde.String, w), serde.String)
	label := func(w streams.Windowed[string], n int64) (string, string) { return w.Key, fmt.Sprint(n) }
	plain := func(w streams.Windowed[string], _ int64) string { return w.Key }
	none := func() string { return "" }
	add := func(_ streams.Windowed[string], v, all string) string { return all + v }
	join := func(a, b string) string { return a + b }
	functions := func(t *streams.Topology) {
		windows := streams.Stream(t, processIn).GroupByKey().WindowedBy(w)
		counts := streams.Count(windows, "counts").ToStream()
		counts.To(windowed)
		streams.Map(counts, label).To(serde.For("labels", serde.String, serde.String))
		streams.SelectKey(counts, plain).To(serde.For("plain", serde.String, serde.Int64))
		streams.Aggregate(windows, "texts", none, add).ToStream().To(texts)
		streams.Reduce(windows, "joined", join).Named("joined").ToStream().ForEach(func(streams.Windowed[string], string) {})
	}
	chain := func(t *streams.Topology) {
		windows := streams.Stream(t, processIn).GroupByKey().WindowedBy(w)
		counts := windows.Count("counts").ToStream()
		counts.To(windowed)
		counts.Map(label).To(serde.For("labels", serde.String, serde.String))
		counts.SelectKey(plain).To(serde.For("plain", serde.String, serde.Int64))
		streams.AsKTable(windows.Aggregate("texts", none, add)).ToStream().To(texts)
		streams.AsKStream(windows.Reduce("joined", join).Named("joined").ToStream()).ForEach(func(streams.Windowed[string], string) {})
	}
	require.Equal(t, newApp(t, functions).Describe(), newApp(t, chain).Describe())
	results := func(define func(*streams.Topology)) (all []string) {
		d := streamstest.New(t, define)
		in := streamstest.Input(d, processIn)
		for i, at := range []int64{1, 61, 59, 62} {
			in.SendAt(time.Unix(at, 0), "k", fmt.Sprint(i))
		}
		for _, name := range []string{"out", "labels", "plain", "texts"} {
			for _, r := range d.Records(name) {
				all = append(all, fmt.Sprintf("%s %q=%q", name, r.Key, r.Value))
			}
		}
		return all
	}
	require.Len(t, results(functions), 12)
	require.Equal(t, results(functions), results(chain))
}
