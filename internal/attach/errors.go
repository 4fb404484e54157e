package attach

import (
	"context"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/wire"
)

// WriteError appends an error, which may be nil, in the encoding that answers
// use.
func WriteError(w *wire.Writer, err error) { (&coder{w: w}).problem(&err) }

// ReadError reads an error that WriteError wrote.
func ReadError(r *wire.Reader) (err error) {
	c := &coder{r: *r}
	c.problem(&err)
	*r = c.r
	return err
}

// The kinds of errors. An error of no other kind is its text and what it wraps.
const (
	errNone int8 = iota
	errFault
	errCorruption
	errCode
	errCanceled
	errDeadline
	errOther
	errConflict
)

// maxErrorDepth is how deeply errors may be nested. Deeper ones are sent as
// text.
const maxErrorDepth = 16

// foreign is an error of the other side that is not of package fault. It wraps
// what it wrapped there.
type foreign struct {
	text   string
	causes []error
}

func (e *foreign) Error() string   { return e.text }
func (e *foreign) Unwrap() []error { return e.causes }

// problem is an error, which may be nil.
func (c *coder) problem(err *error) { c.problemAt(err, 0) }

// problemAt is problem for an error that is wrapped depth times. At the greatest depth an
// error is reduced to its text, so that what one side writes the other can read.
func (c *coder) problemAt(err *error, depth int) {
	if depth > maxErrorDepth {
		c.fail("errors too deep")
		return
	}
	which := kindOf(*err)
	if depth == maxErrorDepth && which == errFault {
		which = errOther
	}
	int8s(c, &which)
	if c.isReading() {
		*err = nil
	}
	switch which {
	case errNone:
	case errFault:
		c.fault(err, depth)
	case errCorruption:
		k, _ := (*err).(*fault.Corruption)
		if k == nil {
			k = &fault.Corruption{}
			*err = k
		}
		text(c, &k.Topic)
		int32s(c, &k.Partition)
		int64s(c, &k.Offset)
		text(c, &k.File)
		int64s(c, &k.Pos)
		text(c, &k.Expected)
		text(c, &k.Found)
		text(c, &k.Hint)
		int64s(c, &k.Next)
	case errConflict:
		k, _ := (*err).(*fault.Conflict)
		if k == nil {
			k = &fault.Conflict{}
			*err = k
		}
		text(c, &k.Topic)
		int32s(c, &k.Partition)
		c.bool(&k.Key)
		int64s(c, &k.Want)
		int64s(c, &k.Have)
		int32s(c, &k.HaveEpoch)
	case errCode:
		code, _ := (*err).(fault.Code)
		int16s(c, &code)
		*err = code
	case errCanceled:
		*err = context.Canceled
	case errDeadline:
		*err = context.DeadlineExceeded
	case errOther:
		e := foreignOf(*err)
		if depth == maxErrorDepth {
			e.causes = nil
		}
		text(c, &e.text)
		list(c, 1, &e.causes, func(c *coder, cause *error) {
			if c.problemAt(cause, depth+1); *cause == nil && c.isReading() {
				c.fail("an error that wraps nothing")
			}
		})
		if c.isReading() {
			*err = e
		}
	default:
		c.fail("an error of an unknown kind")
	}
}

func (c *coder) fault(err *error, depth int) {
	e, _ := (*err).(*fault.Error)
	if e == nil {
		e = &fault.Error{}
		*err = e
	}
	int16s(c, &e.Code)
	text(c, &e.Topic)
	int32s(c, &e.Partition)
	int64s(c, &e.Offset)
	text(c, &e.Detail)
	text(c, &e.Hint)
	c.bool(&e.Final)
	if c.isReading() {
		c.problemAt(&e.Cause, depth+1)
		return
	}
	cause := e.Cause // a copy, because writing must not change the error, which others may have
	c.problemAt(&cause, depth+1)
}

func kindOf(err error) int8 {
	switch err { // an error that wraps one of these is errOther
	case nil:
		return errNone
	case context.Canceled:
		return errCanceled
	case context.DeadlineExceeded:
		return errDeadline
	}
	switch err.(type) {
	case *fault.Error:
		return errFault
	case *fault.Corruption:
		return errCorruption
	case *fault.Conflict:
		return errConflict
	case fault.Code:
		return errCode
	}
	return errOther
}

// foreignOf returns what is sent of an error that has no kind of its own. The causes let
// errors.Is find a fault or a context's error within it on the other side.
func foreignOf(err error) *foreign {
	e := &foreign{}
	if err == nil {
		return e // to be read into
	}
	e.text = err.Error()
	switch w := err.(type) {
	case interface{ Unwrap() error }:
		if cause := w.Unwrap(); cause != nil {
			e.causes = []error{cause}
		}
	case interface{ Unwrap() []error }:
		e.causes = append(e.causes, w.Unwrap()...)
	}
	return e
}
