// Package journal passes lines to the program's logger without waiting for it. A
// goroutine, which runs only while there are lines, calls the logger, one line after
// the other. If a thousand lines wait, further ones are dropped. The package is safe
// for concurrent use.
package journal

import "sync"

// maxLines is how many lines may wait for the logger.
const maxLines = 1000

// Journal passes lines to the program's logger. That is the program's code and may be
// slow, so only the Journal's goroutine, and Close, wait for it.
//
// Logger is an interface that *slog.Logger has, not the type: package slog would add a
// tenth to what the broker adds to a program.
type Journal struct {
	logger Logger // nil: lines are discarded

	mu      sync.Mutex
	lines   []func()
	dropped int  // since the last line that was kept
	writing bool // the goroutine runs
	closed  bool // nothing is written any more
	work    sync.WaitGroup
}

// Logger is what a *slog.Logger can.
type Logger interface {
	Info(message string, attributes ...any)
	Warn(message string, attributes ...any)
	Error(message string, attributes ...any)
}

// New returns a journal for a logger; with nil it keeps nothing.
func New(l Logger) *Journal { return &Journal{logger: l} }

// Info, Warn and Error note a line with its attributes, as slog has them. They do
// not block, and after Close they do nothing.
func (j *Journal) Info(message string, attrs ...any)  { j.line(Logger.Info, message, attrs) }
func (j *Journal) Warn(message string, attrs ...any)  { j.line(Logger.Warn, message, attrs) }
func (j *Journal) Error(message string, attrs ...any) { j.line(Logger.Error, message, attrs) }

// line notes a line. It does not block.
func (j *Journal) line(how func(Logger, string, ...any), message string, attrs []any) {
	if j.logger == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.closed:
		return
	case len(j.lines) >= maxLines:
		j.dropped++
		return
	}
	if j.dropped > 0 {
		attrs = append(attrs, "dropped", j.dropped) // lines before this one
		j.dropped = 0
	}
	j.lines = append(j.lines, func() { how(j.logger, message, attrs...) })
	if !j.writing {
		j.begin()
	}
}

// begin starts the goroutine. j.mu is held.
func (j *Journal) begin() {
	j.writing = true
	j.work.Add(1)
	go j.write()
}

// write is the goroutine. A logger that ends it, or panics as a nil one does, loses
// its own line: it is not worth the program.
func (j *Journal) write() {
	defer j.work.Done()
	ended := false
	defer func() {
		if ended {
			return
		}
		_ = recover()
		j.mu.Lock()
		defer j.mu.Unlock()
		j.begin()
	}()
	for line := j.take(); line != nil; line = j.take() {
		line()
	}
	ended = true
}

// take takes the next line. Where there is none, it gives the goroutine's role up
// and returns nil.
func (j *Journal) take() func() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.lines) == 0 {
		j.lines, j.writing = nil, false
		return nil
	}
	line := j.lines[0]
	j.lines = j.lines[1:]
	return line
}

// Close waits until everything is written.
func (j *Journal) Close() {
	j.mu.Lock()
	j.closed = true
	j.mu.Unlock()
	j.work.Wait()
}
