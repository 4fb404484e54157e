package fault

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
)

// Error is a Code with the place where it happened. Where they do not apply,
// Topic is empty, and Partition and Offset are -1: build an Error with At, or
// set these in a literal.
type Error struct {
	Code      Code
	Topic     string
	Partition int32
	Offset    int64
	Detail    string // what exactly, in a few words
	Hint      string // what the user can do about it
	Cause     error  // the underlying error, or nil

	// Final says that retrying does not help until the user has done what Hint
	// says, even if the Code is retriable.
	Final bool
}

// At returns an Error for a topic's partition. A negative partition or offset
// is left out of the message.
func At(code Code, topic string, partition int32, offset int64) *Error {
	return &Error{Code: code, Topic: topic, Partition: partition, Offset: offset}
}

// Newf returns an Error without a place, with a detail.
func Newf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Partition: -1, Offset: -1, Detail: fmt.Sprintf(format, args...)}
}

// Because returns e with cause as its underlying error.
func (e *Error) Because(cause error) *Error { e.Cause = cause; return e }

// Detailf returns e with a detail.
func (e *Error) Detailf(format string, args ...any) *Error {
	e.Detail = fmt.Sprintf(format, args...)
	return e
}

// Try returns e with a hint about what to do.
func (e *Error) Try(hint string) *Error { e.Hint = hint; return e }

// ForGood returns e, final.
func (e *Error) ForGood() *Error { e.Final = true; return e }

// Error returns the place, then what happened, then the detail, the cause and
// the hint: "orders-3 at offset 1042: there is no space left on the disk: …".
func (e *Error) Error() string {
	var b strings.Builder
	if e.Topic != "" {
		b.WriteString(e.Topic)
		if e.Partition >= 0 {
			fmt.Fprintf(&b, "-%d", e.Partition)
		}
		if e.Offset >= 0 {
			fmt.Fprintf(&b, " at offset %d", e.Offset)
		}
		b.WriteString(": ")
	}
	b.WriteString(e.Code.Error())
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	if e.Cause != nil {
		b.WriteString(": " + e.Cause.Error())
	}
	if e.Hint != "" {
		b.WriteString(" (" + e.Hint + ")")
	}
	return b.String()
}

// Is reports whether target is e's code, so that errors.Is(err, fault.Closed)
// works.
func (e *Error) Is(target error) bool {
	c, ok := target.(Code)
	return ok && c == e.Code
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Corruption says that bytes which were acknowledged as durable are no longer
// what was written. It answers errors.Is(err, CorruptMessage), and is not
// retriable: reading the same bytes again gives the same answer.
type Corruption struct {
	Topic     string
	Partition int32
	Offset    int64  // the first offset affected, or -1
	File      string // the file's path
	Pos       int64  // where in the file the damage was found, in bytes
	Expected  string // what should be there
	Found     string // what is there
	Hint      string // what to do
	Next      int64  // the offset after the damage, at which reading continues; 0 if unknown
}

// Error names partition, offset, file and position, and the expected and the
// found bytes.
func (c *Corruption) Error() string {
	var b strings.Builder
	if c.Topic != "" {
		fmt.Fprintf(&b, "%s-%d", c.Topic, c.Partition)
		if c.Offset >= 0 {
			fmt.Fprintf(&b, " at offset %d", c.Offset)
		}
		b.WriteString(": ")
	}
	fmt.Fprintf(&b, "corrupt data in %s at byte %d: expected %s, found %s", c.File, c.Pos, c.Expected, c.Found)
	if c.Hint != "" {
		b.WriteString(" (" + c.Hint + ")")
	}
	if c.Next > 0 {
		fmt.Fprintf(&b, "; reading continues at offset %d", c.Next)
	}
	return b.String()
}

// Is reports whether target is CorruptMessage.
func (c *Corruption) Is(target error) bool { return target == CorruptMessage }

// CodeOf returns the code of err: that of the first Code, Error, Conflict or
// Corruption in its chain, and Unknown when there is none.
func CodeOf(err error) Code {
	var e *Error
	var c Code
	var k *Corruption
	var n *Conflict
	switch {
	case errors.As(err, &n):
		return PreconditionFailed
	case errors.As(err, &e):
		return e.Code
	case errors.As(err, &k):
		return CorruptMessage
	case errors.As(err, &c):
		return c
	}
	return Unknown
}

// OfDisk returns the code for an error of a file system: DiskFull if there is
// no space or quota left, PermissionDenied if the process lacks a permission,
// Storage otherwise.
func OfDisk(err error) Code {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return DiskFull
	}
	if errors.Is(err, fs.ErrPermission) {
		return PermissionDenied
	}
	return Storage
}

// Retriable reports whether a repeat of the call that returned err may succeed.
// Corruption on disk is not retriable, although Kafka's CORRUPT_MESSAGE is, as
// that may have happened in transit. An error that is Final, or wraps one that
// is, is not retriable either. A retry after UnknownOutcome may succeed after a
// first call that succeeded, too.
func Retriable(err error) bool {
	var k *Corruption
	if err == nil || errors.As(err, &k) || isFinal(err) {
		return false
	}
	return CodeOf(err).Retriable()
}

func isFinal(err error) bool {
	var e *Error
	for errors.As(err, &e) {
		if e.Final {
			return true
		}
		err = e.Cause
	}
	return false
}
