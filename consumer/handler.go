package consumer

import (
	"context"
	"errors"
	"fmt"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/callback"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
)

// Handler handles one record for Run. Returning nil makes the record done; after an
// error it is tried again. A panic, and a goroutine that the handler ends, count as
// errors.
//
// ctx has the values of Run's ctx. It does not end with it, so that what has begun is
// finished; it ends when the result no longer counts: when the partition was lost, or
// was given up, or Run ends, and the DrainTimeout is over. The record's bytes are
// read-only, and the handler may keep them.
type Handler func(ctx context.Context, r record.Record) error

// Handle returns a Handler that decodes the records of topic t for fn. A record that
// its serde cannot decode is a *DecodeError and gets no second attempt. A record of
// another topic is fault.InvalidRequest and ends Run. For several topics, write a
// Handler that looks at r.Topic and calls what Handle returned for it.
func Handle[K, V any](t serde.Topic[K, V], fn func(ctx context.Context, r Record[K, V]) error) Handler {
	return func(ctx context.Context, r record.Record) error {
		typed, err := decode(&t, &r)
		if err == nil {
			return fn(ctx, typed)
		}
		var f *fault.Error
		if errors.As(err, &f) && f.Code == fault.Serialization {
			f.Hint = "DeadLetters keeps such records"
			return Permanent(err)
		}
		return permanent{err, true}
	}
}

// Permanent wraps an error of a handler so that the record gets no other attempt: Run
// gives it up at once. It returns nil for nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanent{err, false}
}

// IsPermanent reports whether err is one that Permanent has wrapped, or one of Handle's for a
// record that it cannot decode.
func IsPermanent(err error) bool {
	is, _ := isPermanent(err)
	return is
}

type permanent struct {
	error
	ends bool // Run, even if it writes dead letters
}

func (p permanent) Unwrap() error { return p.error }

// HandlerError says that Run has given a record up. It ends Run where there is no
// dead-letter topic.
type HandlerError struct {
	Raw      record.Record // the record as it was fetched; its bytes belong to the receiver of the error
	Attempts int           // how often it was tried
	Err      error         // of the last attempt
}

// Error names the record, and says what failed.
func (e *HandlerError) Error() string {
	return fmt.Sprintf("%v: handling it failed, attempt %d was the last: %v", e.Raw.Position(), e.Attempts, e.Err)
}

// Unwrap returns Err.
func (e *HandlerError) Unwrap() error { return e.Err }

// errExited stands for a handler that ended its goroutine.
var errExited = fault.Newf(fault.Unknown, "the handler ended its goroutine")

// isPermanent reports whether a record that failed with err is not worth another
// attempt, and whether the error must end Run.
func isPermanent(err error) (is, ends bool) {
	var p permanent
	is = errors.As(err, &p)
	return is, p.ends
}

// call calls the handler. A panic is its error.
func (h Handler) call(ctx context.Context, r *record.Record) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = callback.Panicked(p)
		}
	}()
	return h(ctx, *r)
}
