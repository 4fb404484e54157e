package record

import (
	"time"

	"github.com/runnel-go/runnel/fault"
)

// Milliseconds returns a record's timestamp in milliseconds since 1970, as
// batches store it, and NoTimestamp for the zero time. A time before 1970, or
// beyond 64 bits of milliseconds, is fault.InvalidTimestamp, which names the
// partition.
func Milliseconds(t time.Time, topic string, partition int32) (int64, error) {
	if t.IsZero() {
		return NoTimestamp, nil
	}
	ms := t.UnixMilli()
	if ms < 0 || time.UnixMilli(ms).Unix() != t.Unix() { // the second check detects overflow
		return 0, fault.At(fault.InvalidTimestamp, topic, partition, -1).Detailf("%v is before 1970, or beyond 64 bits of milliseconds", t)
	}
	return ms, nil
}
