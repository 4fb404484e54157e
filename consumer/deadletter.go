package consumer

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/runnel-go/runnel/internal/callback"
	"github.com/runnel-go/runnel/record"
)

// The headers of a dead letter, which follow those that the record had. They are named
// as those of package streams are. All are text.
const (
	HeaderException  = "__consumer.errors.exception"  // the type of the underlying error, and its message
	HeaderMessage    = "__consumer.errors.message"    // what happened in the last attempt
	HeaderStacktrace = "__consumer.errors.stacktrace" // of a panic; otherwise the whole HandlerError
	HeaderTopic      = "__consumer.errors.topic"      // where the record was read
	HeaderPartition  = "__consumer.errors.partition"  // in decimal
	HeaderOffset     = "__consumer.errors.offset"     // in decimal
	HeaderAttempts   = "__consumer.errors.attempts"   // how often the record was tried, in decimal
	HeaderGroup      = "__consumer.errors.group"      // the consumer's group; empty without one
)

// headerPrefix begins all of them.
const headerPrefix = "__consumer.errors."

// DeadLetter returns the record to write to a topic for one that was given up by a consumer of
// a group: its key, value, timestamp and headers, and the headers of HeaderTopic and those
// beside it. Run writes such records itself: see DeadLetters.
func (e *HandlerError) DeadLetter(topic, group string) record.Record {
	at := e.Raw.Timestamp
	if at.UnixMilli() < 0 { // a topic would refuse it
		at = time.Now()
	}
	return record.Record{Topic: topic, Timestamp: at, Key: e.Raw.Key, Value: e.Raw.Value, Headers: deadLetterHeaders(e, group)}
}

// deadLetterHeaders returns the record's own headers, without those of an earlier
// failure, followed by the headers that describe e.
func deadLetterHeaders(e *HandlerError, group string) []record.Header {
	headers := slices.DeleteFunc(slices.Clone(e.Raw.Headers), func(h record.Header) bool { return strings.HasPrefix(h.Key, headerPrefix) })
	message, stack := e.Err.Error(), e.Error()
	if p := new(callback.Panic); errors.As(e.Err, &p) {
		message, stack = fmt.Sprint("panic: ", p.Value), string(p.Stack)
	}
	for _, h := range [...]struct{ key, value string }{
		{HeaderException, exception(e.Err)},
		{HeaderMessage, message},
		{HeaderStacktrace, stack},
		{HeaderTopic, e.Raw.Topic},
		{HeaderPartition, strconv.Itoa(int(e.Raw.Partition))},
		{HeaderOffset, strconv.FormatInt(e.Raw.Offset, 10)},
		{HeaderAttempts, strconv.Itoa(e.Attempts)},
		{HeaderGroup, group},
	} {
		headers = append(headers, record.Header{Key: h.key, Value: []byte(h.value)})
	}
	return headers
}

// exception is the type and the message of the error below err, or of the value of a
// panic.
func exception(err error) string {
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	if p := new(callback.Panic); errors.As(err, &p) {
		return fmt.Sprintf("%T: %v", p.Value, p.Value)
	}
	return fmt.Sprintf("%T: %v", err, err)
}
