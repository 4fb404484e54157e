package state_test

import (
	"fmt"
	"time"

	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams/state"
)

func ExampleNewWindows() {
	perMinute := state.NewWindows("visits", serde.String, serde.Int64, state.WindowConfig{
		Size: time.Minute, Segment: time.Minute, Retention: time.Hour,
	})
	page := []byte("/index")
	for _, ms := range []int64{1_000, 2_000, 61_000, 59_000} {
		e, err := perMinute.Entry(page, ms/60_000*60_000)
		if err != nil {
			panic(err)
		}
		if e == nil {
			continue // the window has expired
		}
		e.Value, e.Ms = e.Value+1, ms
		perMinute.Changed(e, true)
	}
	for row, err := range perMinute.Fetch("/index", time.UnixMilli(0), time.UnixMilli(60_000), state.Ascending) {
		if err != nil {
			panic(err)
		}
		fmt.Println(row.Key.Start.UTC().Format(time.TimeOnly), row.Key.End.UTC().Format(time.TimeOnly), row.Value)
	}
	perMinute.Advance(2 * time.Hour.Milliseconds())
	_, _, ok, err := perMinute.Lookup(page, 0)
	fmt.Println(ok, err)
	// Output:
	// 00:00:00 00:01:00 3
	// 00:01:00 00:02:00 1
	// false <nil>
}

func ExampleNewSessions() {
	visits := state.NewSessions("visits", serde.String, serde.Int64, state.SessionConfig{Retention: time.Hour})
	ann := []byte("ann")
	for _, s := range [][2]int64{{0, 10_000}, {60_000, 75_000}, {600_000, 600_000}} {
		e, err := visits.Entry(ann, s[0], s[1])
		if err != nil {
			panic(err)
		}
		e.Value = 1 + (s[1]-s[0])/5_000
		visits.Changed(e, true)
	}
	// Which sessions are within half a minute of a record at 0:40?
	err := visits.Find(ann, 10_000, 70_000, func(start, end int64, clicks, _ int64) error {
		fmt.Println(start, end, clicks)
		return nil
	})
	fmt.Println(err)
	// Output:
	// 0 10000 3
	// 60000 75000 4
	// <nil>
}

func ExampleNewTimed() {
	keys := state.WindowKeys(serde.String, state.WindowConfig{Size: time.Minute, Segment: time.Minute, Retention: time.Hour})
	perMinute := state.NewTimed("visits", keys, serde.Int64)
	e, err := perMinute.EntryAt([]byte("/index"), 60_000, 0)
	if err != nil {
		panic(err)
	}
	e.Value, e.Ms = 7, 61_000
	perMinute.Changed(e, true)
	for row, err := range perMinute.All(time.UnixMilli(0), time.UnixMilli(120_000)) {
		if err != nil {
			panic(err)
		}
		fmt.Println(row.Key.Key, row.Key.Start.UTC().Format(time.TimeOnly), row.Value)
	}
	// Output: /index 00:01:00 7
}
