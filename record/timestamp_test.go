package record_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

func TestMilliseconds(t *testing.T) {
	for _, at := range []time.Time{
		time.UnixMilli(-1), time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC),
		time.Unix(math.MaxInt64/1000+1, 0), time.Unix(1<<60, 0),
	} {
		_, err := record.Milliseconds(at, "orders", 3)
		require.ErrorIs(t, err, fault.InvalidTimestamp, at.String())
		require.ErrorContains(t, err, "orders-3")
	}
	for want, at := range map[int64]time.Time{
		record.NoTimestamp: {}, 0: time.UnixMilli(0), 1: time.Unix(0, 1_999_999), math.MaxInt64: time.UnixMilli(math.MaxInt64),
	} {
		ms, err := record.Milliseconds(at, "orders", 3)
		require.NoError(t, err)
		require.Equal(t, want, ms)
	}
}

func ExampleMilliseconds() {
	ms, err := record.Milliseconds(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), "orders", 0)
	fmt.Println(ms, err)
	_, err = record.Milliseconds(time.Date(1969, 12, 31, 0, 0, 0, 0, time.UTC), "orders", 0)
	fmt.Println(err)
	// Output:
	// 1767225600000 <nil>
	// orders-0: the record's timestamp is out of the allowed range: 1969-12-31 00:00:00 +0000 UTC is before 1970, or beyond 64 bits of milliseconds
}
