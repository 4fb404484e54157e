package streams_test

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
	"github.com/runnel-go/runnel/streams/streamstest"
)

func ExampleKGroupedStream_WindowedBy() {
	perMinute := streams.Tumbling(time.Minute, 10*time.Second)
	s, err := streams.NewSimulation("app", func(t *streams.Topology) {
		counts := streams.Count(streams.Stream(t, lines).GroupByKey().WindowedBy(perMinute), "visits")
		streams.Map(counts.ToStream(), func(w streams.Windowed[string], n int64) (string, string) {
			return w.Key, fmt.Sprintf("%s: %d", w.Start.UTC().Format(time.TimeOnly), n)
		}).To(out)
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, at := range []int{1, 59, 61, 58, 75, 57} { // when the last comes, the first minute is closed
		if err := s.Send(record.Record{Topic: "lines", Key: []byte("/index"), Value: []byte("GET"), Timestamp: time.Unix(int64(at), 0)}); err != nil {
			fmt.Println(err)
		}
	}
	for _, r := range s.Records("out") {
		fmt.Printf("%s %s\n", r.Key, r.Value)
	}
	fmt.Println("late:", s.ErrorCounts().Late)
	// Output:
	// /index 00:00:00: 1
	// /index 00:00:00: 2
	// /index 00:01:00: 1
	// /index 00:00:00: 3
	// /index 00:01:00: 2
	// late: 1
}

// concatenated aggregates the values of each window to a text.
func concatenated(w streams.TimeWindows, store string) func(*streams.Topology) {
	return func(t *streams.Topology) {
		windows := streams.Stream(t, processIn).GroupByKey().WindowedBy(w)
		streams.Aggregate(windows, store, func() string { return "" }, func(w streams.Windowed[string], v, all string) string { return all + v }).
			ToStream().To(serde.For("out", streams.TimeWindowed(serde.String, w), serde.String))
	}
}

// modelWindows is what windows of a size must hold of records, and how many are late.
type modelWindows struct {
	size, advance, grace, now int64
	rows                      map[string]string // by key and start
	late                      int64
}

func (m *modelWindows) add(key, value string, ms int64) {
	m.now = max(m.now, ms)
	for start := int64(0); start <= ms; start += m.advance {
		switch end := start + m.size; {
		case ms >= end:
		case m.now >= end+m.grace:
			m.late++
		default:
			m.rows[fmt.Sprint(key, "@", start, "-", end)] += value
		}
	}
}

// Any records, in any order, are in the windows of a plain loop; with caching, and with
// restarts of the application at any time, too.
func TestWindowsEqualTheirModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &modelWindows{rows: make(map[string]string), now: -1}
		m.size = rapid.Int64Range(1, 20).Draw(t, "size")
		m.advance = rapid.Int64Range(1, m.size).Draw(t, "advance")
		m.grace = rapid.Int64Range(0, 15).Draw(t, "grace")
		w := streams.Hopping(time.Duration(m.size)*time.Millisecond, time.Duration(m.advance)*time.Millisecond, time.Duration(m.grace)*time.Millisecond)
		s, err := streams.NewSimulation("app", concatenated(w, "all"))
		require.NoError(t, err)
		broker := openMemory(t)
		defer broker.Close()
		create(t, broker, 1, "in", "out")
		var late int64
		run := func() {
			app, err := streams.New(broker, "app", concatenated(w, "all"), fast)
			require.NoError(t, err)
			drain(t, app)
			late += app.ErrorCounts().Late
		}
		for i := range rapid.IntRange(1, 40).Draw(t, "records") {
			r := record.Record{Topic: "in", Value: []byte{byte('a' + i%26)}, Timestamp: time.UnixMilli(rapid.Int64Range(0, 60).Draw(t, "ms"))}
			if key := rapid.SampledFrom([]string{"", "k", "l\x00m"}).Draw(t, "key"); key != "" {
				r.Key = []byte(key)
				m.add(key, string(r.Value), r.Timestamp.UnixMilli())
			}
			require.NoError(t, s.Send(r))
			write(t, broker, r)
			if rapid.IntRange(0, 9).Draw(t, "restart") == 0 {
				run()
			}
		}
		run()
		rows := func(records []record.Record) map[string]string {
			all := make(map[string]string)
			serde := streams.TimeWindowed(serde.String, w)
			for _, r := range records {
				key, err := serde.Decode(r.Key)
				require.NoError(t, err)
				all[fmt.Sprint(key.Key, "@", key.Start.UnixMilli(), "-", key.End.UnixMilli())] = string(r.Value)
			}
			return all
		}
		require.Equal(t, m.rows, rows(s.Records("out")))
		require.Equal(t, m.late, s.ErrorCounts().Late)
		require.Equal(t, m.rows, rows(rawRecords(t, broker, "out")))
		require.Equal(t, m.late, late)
	})
}

func TestUnlimitedWindows(t *testing.T) {
	d := streamstest.New(t, concatenated(streams.Unlimited(time.UnixMilli(10)), "all"))
	in := streamstest.Input(d, processIn)
	for _, ms := range []int64{20, 9, 1_000_000_000_000, 10} {
		in.SendAt(time.UnixMilli(ms), "k", fmt.Sprint(ms%100))
	}
	outs := streamstest.Output(d, serde.For("out", streams.TimeWindowed(serde.String, streams.Unlimited(time.UnixMilli(10))), serde.String)).ReadAll()
	require.Len(t, outs, 3)
	last := outs[2]
	require.Equal(t, "20010", last.Value)
	require.Equal(t, int64(10), last.Key.Start.UnixMilli())
	require.Equal(t, int64(math.MaxInt64), last.Key.End.UnixMilli())
	require.Equal(t, int64(1_000_000_000_000), last.At.UnixMilli())
	require.Zero(t, d.ErrorCounts().Late)
}

// Windows that cannot be are errors of the declaration.
func TestWindowsThatCannotBe(t *testing.T) {
	for text, w := range map[string]streams.TimeWindows{
		"less than a millisecond":     streams.Tumbling(0, 0),
		"more than their size":        streams.Hopping(time.Second, 2*time.Second, 0),
		"a negative grace period":     streams.Tumbling(time.Second, -time.Second),
		"that begins before 1970":     streams.Unlimited(time.UnixMilli(-1)),
		"that advance by less than a": streams.Hopping(time.Second, time.Microsecond, 0),
	} {
		_, err := streams.NewSimulation("app", concatenated(w, "all"))
		require.ErrorIs(t, err, fault.InvalidRequest)
		require.ErrorContains(t, err, text)
		require.ErrorContains(t, err, "KSTREAM-AGGREGATE-")
	}
}

// A grouping by new keys is repartitioned in front of its windows, which join with other
// tables of the same windows, and whose changelog is kept for as long as the windows.
func TestWindowsBehindARepartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := openMemory(t)
		defer broker.Close()
		create(t, broker, 3, "lines", "out")
		w := streams.Tumbling(time.Minute, 0)
		app, err := streams.New(broker, "app", func(t *streams.Topology) {
			words := streams.FlatMapValues(streams.Stream(t, lines), strings.Fields)
			grouped := streams.GroupBy(words, func(_, word string) string { return word })
			streams.Count(grouped.WindowedBy(w), "counts").ToStream().To(serde.For("out", streams.TimeWindowed(serde.String, w), serde.Int64))
		}, fast)
		require.NoError(t, err)
		require.Contains(t, app.Describe(), "counts-repartition")
		send(t, broker, "a b a", "b a c")
		drain(t, app)
		got := make(map[string]int64)
		for key, n := range table(t, broker, serde.For("out", streams.TimeWindowed(serde.String, w), serde.Int64)) {
			got[key.Key] += n
			require.Equal(t, time.Minute, key.End.Sub(key.Start))
		}
		require.Equal(t, map[string]int64{"a": 3, "b": 2, "c": 1}, got)
		described, err := broker.DescribeTopics(t.Context(), "app-counts-changelog")
		require.NoError(t, err)
		require.Equal(t, 24*time.Hour+time.Minute, described[0].Config.Retention)
	})
}

// write appends a record to its topic.
func write(t require.TestingT, b streams.Backend, r record.Record) {
	p, err := producer.New(b)
	require.NoError(t, err)
	_, err = p.Send(context.Background(), r)
	require.NoError(t, err)
	require.NoError(t, p.Close())
}

// rawRecords returns what a topic of one partition holds.
func rawRecords(t require.TestingT, b streams.Backend, name string) (all []record.Record) {
	for _, r := range readAll(t, b, serde.For(name, serde.Bytes, serde.Bytes)) {
		all = append(all, record.Record{Key: r.Key, Value: r.Value, Timestamp: r.Timestamp})
	}
	return all
}
