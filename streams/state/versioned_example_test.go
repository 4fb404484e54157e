package state_test

import (
	"fmt"
	"time"

	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams/state"
)

func ExampleNewVersioned() {
	prices := state.NewVersioned("prices", serde.String, serde.Int64, 24*time.Hour)
	day := time.Date(2026, 5, 4, 0, 0, 0, 0, time.UTC)
	set := func(at time.Time, price int64) {
		if _, _, err := prices.Put(nil, []byte("tea"), price, at.UnixMilli()); err != nil {
			panic(err)
		}
	}
	set(day.Add(8*time.Hour), 250)
	set(day.Add(12*time.Hour), 280)
	set(day.Add(10*time.Hour), 260) // late
	for hour := 7; hour < 13; hour += 2 {
		price, since, ok, err := prices.GetAsOf("tea", day.Add(time.Duration(hour)*time.Hour))
		fmt.Println(hour, price, ok, since.UTC().Hour(), err)
	}
	price, _, _, _ := prices.Get("tea")
	fmt.Println(price)
	// Output:
	// 7 0 false 0 <nil>
	// 9 250 true 8 <nil>
	// 11 260 true 10 <nil>
	// 280
}
