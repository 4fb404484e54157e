package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// maxLine is the longest line, in bytes.
const maxLine = 16 << 20

// lineSource reads lines, without their ends, on a goroutine of its own, so
// that a context can end the wait for one. The goroutine runs until the program
// ends.
type lineSource struct {
	lines chan []byte
	ended chan error
	n     int // lines read
}

func readLines(ctx context.Context, r io.Reader) *lineSource {
	s := &lineSource{lines: make(chan []byte, 64), ended: make(chan error, 1)}
	go func() {
		scanner := bufio.NewScanner(r)
		scanner.Buffer(nil, maxLine)
		for scanner.Scan() {
			select {
			case s.lines <- bytes.Clone(scanner.Bytes()):
			case <-ctx.Done():
				return
			}
		}
		close(s.lines)
		s.ended <- scanner.Err()
	}()
	return s
}

// errNudged says that nudge ended the wait for a line.
var errNudged = errors.New("something else happened")

// next waits for a line and counts it. It returns io.EOF after the last one,
// and errNudged if nudge comes first.
func (s *lineSource) next(ctx context.Context, nudge <-chan struct{}) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	select {
	case line, ok := <-s.lines:
		if ok {
			s.n++
			return line, nil
		}
		switch err := <-s.ended; {
		case errors.Is(err, bufio.ErrTooLong):
			err = fmt.Errorf("line %d is longer than %d MiB", s.n+1, maxLine>>20)
			s.ended <- err
			return nil, err
		case err != nil:
			s.ended <- err
			return nil, err
		}
		s.ended <- nil
		return nil, io.EOF
	case <-nudge:
		return nil, errNudged
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
