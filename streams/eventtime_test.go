package streams_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
)

// afterAt returns the time that follows the last @ of a value.
func afterAt(r streams.Incoming[string, string]) (time.Time, bool) {
	ms, err := strconv.ParseInt(r.Value[strings.LastIndexByte(r.Value, '@')+1:], 10, 64)
	if err != nil {
		panic(err)
	}
	return time.UnixMilli(ms), true
}

func ExampleEventTime() {
	events := serde.For("lines", serde.String, serde.String)
	s, err := streams.NewSimulation("app", func(t *streams.Topology) {
		streams.Stream(t, events, streams.EventTime(afterAt)).To(out)
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := s.Send(record.Record{Topic: "lines", Key: []byte("a"), Value: []byte("login@1700000000000")}); err != nil {
		fmt.Println(err)
	}
	for _, r := range s.Records("out") {
		fmt.Println(r.Timestamp.UTC())
	}
	// Output: 2023-11-14 22:13:20 +0000 UTC
}

func TestEventTime(t *testing.T) {
	skip := func(r streams.Incoming[string, string]) (time.Time, bool) {
		at, _ := afterAt(r)
		return at, at.UnixMilli() >= 0
	}
	partitionTime := func(r streams.Incoming[string, string]) (time.Time, bool) {
		if at, _ := afterAt(r); at.UnixMilli() >= 0 {
			return at, true
		}
		return r.PartitionTime, !r.PartitionTime.IsZero()
	}
	for _, c := range []struct {
		name    string
		extract func(streams.Incoming[string, string]) (time.Time, bool)
		times   string // of what comes out
		skipped int64
		fails   bool // at the record whose time is negative
	}{
		{name: "negative times fail", extract: afterAt, times: "5", fails: true},
		{name: "negative times are skipped", extract: skip, times: "5 3 9", skipped: 2},
		{name: "the partition's time stands in", extract: partitionTime, times: "5 5 3 9", skipped: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := streams.NewSimulation("app", func(t *streams.Topology) {
				streams.Stream(t, serde.For("lines", serde.String, serde.String), streams.EventTime(c.extract)).To(out)
			})
			require.NoError(t, err)
			var failed error
			for _, value := range []string{"y@-2", "a@5", "b@-1", "c@3", "d@9"} {
				if c.fails && value == "y@-2" {
					continue
				}
				if failed = s.Send(record.Record{Topic: "lines", Value: []byte(value), Timestamp: time.UnixMilli(77)}); failed != nil {
					break
				}
			}
			if c.fails {
				at := new(streams.ProcessingError)
				require.ErrorAs(t, failed, &at)
				require.ErrorIs(t, failed, fault.InvalidTimestamp)
				require.Equal(t, int64(1), at.At.Offset)
			} else {
				require.NoError(t, failed)
			}
			var times []string
			for _, r := range s.Records("out") {
				times = append(times, strconv.FormatInt(r.Timestamp.UnixMilli(), 10))
			}
			require.Equal(t, c.times, strings.Join(times, " "))
			require.Equal(t, c.skipped, s.ErrorCounts().Deserialization.Skipped)
		})
	}
}

// A function that fails on a record fails for that record alone.
func TestEventTimePanics(t *testing.T) {
	define := func(t *streams.Topology) {
		streams.Stream(t, serde.For("lines", serde.String, serde.String), streams.EventTime(afterAt)).To(out)
	}
	s, err := streams.NewSimulation("app", define, streams.OnError(streams.Skip()))
	require.NoError(t, err)
	require.NoError(t, s.Send(record.Record{Topic: "lines", Value: []byte("none")}))
	require.NoError(t, s.Send(record.Record{Topic: "lines", Value: []byte("a@1")}))
	require.Len(t, s.Records("out"), 1)
	require.Equal(t, int64(1), s.ErrorCounts().Deserialization.Skipped)

	s, err = streams.NewSimulation("app", define)
	require.NoError(t, err)
	at := new(streams.ProcessingError)
	require.ErrorAs(t, s.Send(record.Record{Topic: "lines", Value: []byte("none")}), &at)
	require.Equal(t, streams.Deserialization, at.Phase)
}
