package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
)

// pipeLinger is how long a batch of piped input waits for more records.
// (Kafka's own tool waits a second.)
const pipeLinger = 100 * time.Millisecond

// writing is one run of produce. It continues on another backend: records that
// were not acknowledged are sent again.
type writing struct {
	*shell
	*produceFlags
	topic   string
	headers []record.Header
	opts    []producer.Option

	lines   *lineSource
	stopped bool  // no more lines are read: the input has ended, or a line was wrong
	wrong   error // the error in that line

	failed chan struct{} // holds a token when a record could not be written

	mu      sync.Mutex
	pending []*sending // sent records, in order; acknowledged ones are removed from the front
	records int64      // acknowledged
	last    map[int32]int64
	twice   int64 // records that may have been written twice
	err     error // the first failure on this backend
}

// sending is a record that was sent.
type sending struct {
	r    record.Record
	line int
	done bool
}

func newWriting(s *shell, f *produceFlags, name string, headers []record.Header, opts []producer.Option) *writing {
	return &writing{
		shell: s, produceFlags: f, topic: name, headers: headers, opts: opts,
		failed: make(chan struct{}, 1), last: map[int32]int64{},
	}
}

// produce sends the lines. Lines before an error stay sent.
func (w *writing) produce(ctx context.Context, b backend) error {
	if _, err := b.DescribeTopics(ctx, w.topic); err != nil {
		return w.unknownTopic(ctx, b, w.topic, err)
	}
	opts := w.opts
	if !isTerminal(w.in) { // piped input comes in bulk, and its end flushes
		opts = append(opts[:len(opts):len(opts)], producer.Linger(pipeLinger))
	}
	p, err := producer.New(b, opts...)
	if err != nil {
		return err
	}
	defer p.Close()
	if w.lines == nil {
		if isTerminal(w.in) {
			fmt.Fprintln(w.errs, "A line is a record. Ctrl-D ends.")
		}
		w.lines = readLines(ctx, w.in)
	}
	w.sendAgain(ctx, p)
	err = w.sendLines(ctx, p)
	flushed := p.Flush(context.WithoutCancel(ctx))
	failure := w.failure()
	if failure == nil {
		failure = flushed
	}
	return errors.Join(err, failure)
}

// sendAgain sends what was not acknowledged on another backend.
func (w *writing) sendAgain(ctx context.Context, p *producer.Producer) {
	w.mu.Lock()
	pending := w.pending
	w.pending, w.err = nil, nil
	w.mu.Unlock()
	select {
	case <-w.failed:
	default:
	}
	for _, s := range pending {
		if !s.done {
			w.send(ctx, p, s)
		}
	}
}

// sendLines sends lines until there are no more or something fails.
func (w *writing) sendLines(ctx context.Context, p *producer.Producer) error {
	for !w.stopped {
		line, err := w.lines.next(ctx, w.failed)
		switch {
		case errors.Is(err, errNudged):
			return nil // the failure has the reason
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, io.EOF):
			w.stopped = true
			continue
		}
		s := &sending{line: w.lines.n}
		if err == nil {
			if s.r, err = w.parse(line); err != nil {
				err = fmt.Errorf("line %d: %w", s.line, err)
			}
		}
		if err != nil {
			w.stopped, w.wrong = true, err
			break
		}
		s.r.Topic, s.r.Headers = w.topic, append(s.r.Headers, w.headers...)
		w.send(ctx, p, s)
	}
	return w.wrong
}

func (w *writing) send(ctx context.Context, p *producer.Producer, s *sending) {
	w.mu.Lock()
	w.pending = append(w.pending, s)
	w.mu.Unlock()
	p.SendAsync(ctx, s.r, func(at record.Position, err error) { w.outcome(s, at, err) })
}

// outcome records the outcome of a record.
func (w *writing) outcome(s *sending, at record.Position, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		if errors.Is(err, fault.UnknownOutcome) {
			w.twice++
		}
		if w.err == nil {
			w.err = fmt.Errorf("line %d: %w", s.line, err)
		}
		select {
		case w.failed <- struct{}{}:
		default:
		}
		return
	}
	s.done = true
	for len(w.pending) > 0 && w.pending[0].done {
		w.pending[0] = nil
		w.pending = w.pending[1:]
	}
	w.records++
	w.last[at.Partition] = max(w.last[at.Partition], at.Offset)
}

func (w *writing) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// report prints what was written, and returns err, the reason why the rest was
// not.
func (w *writing) report(err error) error {
	if w.lines == nil {
		return err // no line was read
	}
	if w.twice > 0 {
		fmt.Fprintf(w.errs, "The process that held %s ended: %s may have been written twice.\n", w.at, count(w.twice, "record"))
	}
	if err != nil {
		fmt.Fprintf(w.errs, "%s written before the failure.\n", count(w.records, "record"))
		return err
	}
	if w.tables() {
		fmt.Fprintf(w.out, "%s written to %s.\n", count(w.records, "record"), w.topic)
		return nil
	}
	return w.line(struct {
		Topic   string          `json:"topic"`
		Records int64           `json:"records"`
		Last    map[int32]int64 `json:"lastOffsets"`
	}{w.topic, w.records, w.last})
}
