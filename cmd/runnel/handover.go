package main

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/fault"
)

// Several commands may work on one directory at once: the first opens it, the
// others attach to it. When it ends, one of the others opens the directory, and
// the rest attach to that one.

// openPatience is how long a command waits for a directory that a process
// holds and does not serve: the process may be opening or closing it. It is a
// variable for tests, where it is.
var openPatience = 500 * time.Millisecond

const (
	// handoverPatience is how long a command waits if it was attached before:
	// the next holder may have to recover from a crash.
	handoverPatience = time.Minute

	// handoverPause is how long a command waits between attempts.
	handoverPause = 5 * time.Millisecond

	// maxHandovers is how often in a row the process that a command attached to
	// may end at once.
	maxHandovers = 100
)

// openDir opens a directory, or attaches to the process that holds it. It
// retries, because that process may close the directory at any moment, and
// another may open it.
func openDir(ctx context.Context, dir string, patience time.Duration) (backend, error) {
	until := time.Now().Add(patience)
	for pause := handoverPause; ; pause = min(2*pause, 20*handoverPause) {
		b, locked := runnel.Open(dir, runnel.ShareGroups()) // other commands may attach
		if locked == nil {
			return b, nil
		}
		if !errors.Is(locked, fault.Locked) {
			return nil, locked
		}
		r, refused := runnel.Attach(dir)
		if refused == nil {
			return r, nil
		}
		if errors.Is(refused, fault.UnsupportedVersion) {
			return nil, refused
		}
		if time.Now().After(until) {
			return nil, silent(locked, refused)
		}
		if err := wait(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// silent is the error for a directory whose holder does not listen.
func silent(locked, refused error) error {
	why := refused.Error()
	if f, ok := errors.AsType[*fault.Error](refused); ok && f.Detail != "" {
		why = f.Detail
	}
	return hinted{locked, "it accepts no tools, or not yet: " + why + "\nend that process first, or try again"}
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// with opens the backend for one command. If it was attached to a process that
// has ended, the command starts again, unless it has already printed something:
// see lasting.
func (s *shell) with(ctx context.Context, create bool, do func(ctx context.Context, b backend) error) error {
	out := &counting{w: s.out}
	s.out = out
	defer func() { s.out = out.w }()
	return s.handOver(ctx, create, func() bool { return out.n == 0 }, do)
}

// lasting is with for commands that can continue on another backend.
func (s *shell) lasting(ctx context.Context, do func(ctx context.Context, b backend) error) error {
	return s.handOver(ctx, false, func() bool { return true }, do)
}

func (s *shell) handOver(ctx context.Context, create bool, mayRepeat func() bool, do func(ctx context.Context, b backend) error) error {
	patience := openPatience
	for quick := 0; ; {
		b, err := s.open(ctx, create, patience)
		if err != nil {
			return err
		}
		began := time.Now()
		err = do(ctx, b)
		closing := b.Close()
		if _, visitor := b.(*runnel.Remote); !visitor || !gone(ctx, err) || !mayRepeat() {
			return errors.Join(err, closing)
		}
		if time.Since(began) > time.Second {
			quick = 0
		}
		if quick++; quick > maxHandovers {
			return err
		}
		if waited := wait(ctx, handoverPause); waited != nil {
			return waited
		}
		s.again, patience = true, handoverPatience
	}
}

// gone reports whether an error says that the process that this one was
// attached to has gone. Calls in progress were canceled there.
func gone(ctx context.Context, err error) bool {
	return errors.Is(err, fault.Closed) || errors.Is(err, fault.UnknownOutcome) || errors.Is(err, context.Canceled) && ctx.Err() == nil
}

// done returns err, except that it ignores an error which says that the command
// had already done its work before it started again.
func (s *shell) done(err error, code fault.Code) error {
	if s.again && errors.Is(err, code) {
		return nil
	}
	return err
}

// counting counts the bytes that it writes.
type counting struct {
	w io.Writer
	n int64
}

// Write implements io.Writer.
func (c *counting) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}
