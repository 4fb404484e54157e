package streams

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/runnel-go/runnel/record"
)

// The headers of a dead letter, which follow those that the record had. The
// first six are Kafka's (KIP-1034). All are text.
const (
	HeaderException  = "__streams.errors.exception"         // the type of the underlying error, and its message
	HeaderMessage    = "__streams.errors.message"           // what happened, in full
	HeaderStacktrace = "__streams.errors.stacktrace"        // of a panic; otherwise the whole ProcessingError
	HeaderTopic      = "__streams.errors.topic"             // where the record was read
	HeaderPartition  = "__streams.errors.partition"         // in decimal
	HeaderOffset     = "__streams.errors.offset"            // in decimal; -1 without one
	HeaderNode       = "__streams.errors.processor.node.id" // the operator's name
	HeaderTask       = "__streams.errors.task.id"           // such as 0_3
)

// headerPrefix begins all of them.
const headerPrefix = "__streams.errors."

// writeDeadLetter writes the record that failed with e to a topic.
func writeDeadLetter(e *ProcessingError, out outbox, topic string) error {
	to, err := out.deadLetters(topic)
	if err != nil {
		return err
	}
	at := e.Raw.Timestamp
	if at.UnixMilli() < 0 { // a topic would refuse it
		at = time.Now()
	}
	return to.write(at.UnixMilli(), e.Raw.Key, e.Raw.Value, deadLetterHeaders(e))
}

// deadLetterHeaders returns the record's own headers, without those of an
// earlier failure, followed by the headers that describe e.
func deadLetterHeaders(e *ProcessingError) []record.Header {
	headers := slices.DeleteFunc(slices.Clone(e.Raw.Headers), func(h record.Header) bool { return strings.HasPrefix(h.Key, headerPrefix) })
	cause := e.Err
	for next := errors.Unwrap(cause); next != nil; next = errors.Unwrap(cause) {
		cause = next
	}
	stack := e.Error()
	if p := new(PanicError); errors.As(e.Err, &p) {
		stack = string(p.Stack)
	}
	for _, h := range [...]struct{ key, value string }{
		{HeaderException, fmt.Sprintf("%T: %v", cause, cause)},
		{HeaderMessage, e.Err.Error()},
		{HeaderStacktrace, stack},
		{HeaderTopic, e.At.Topic},
		{HeaderPartition, strconv.Itoa(int(e.At.Partition))},
		{HeaderOffset, strconv.FormatInt(e.At.Offset, 10)},
		{HeaderNode, e.Node},
		{HeaderTask, e.Task.String()},
	} {
		headers = append(headers, record.Header{Key: h.key, Value: []byte(h.value)})
	}
	return headers
}
