package producer

import (
	"strconv"
	"time"

	"github.com/runnel-go/runnel/record"
)

// HeaderDeliverAt is the header of At. Its value is the time in Unix milliseconds, in decimal.
const HeaderDeliverAt = "runnel.deliver-at"

// At returns a header for a record that share groups (package share) are not to deliver
// before t, which counts in milliseconds:
//
//	p.Send(ctx, record.Record{Topic: "reminders", Value: v, Headers: []record.Header{producer.At(t)}})
//
// The record is written at once, at the end of its partition, and is as durable as any other.
// A share group passes it over and delivers the records behind it; once t has come, it
// delivers the record with the next ones. It waits on disk, however many do. Of
// several, those that are due together come in the order of their offsets. If the topic's
// retention deletes the record before t, it is not delivered. The clock is that of the process
// that coordinates the group.
//
// Other consumers see the record at once, like any other, with the header.
func At(t time.Time) record.Header {
	return record.Header{Key: HeaderDeliverAt, Value: strconv.AppendInt(nil, t.UnixMilli(), 10)}
}

// DeliverAt returns the time before which share groups are not to deliver a record, and
// whether there is one. A header whose value is no number counts as none.
func DeliverAt(r record.Record) (t time.Time, ok bool) {
	value, ok := r.Header(HeaderDeliverAt)
	if !ok {
		return t, false
	}
	ms, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		return t, false
	}
	return time.UnixMilli(ms), true
}
