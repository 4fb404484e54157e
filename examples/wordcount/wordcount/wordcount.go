// Package wordcount counts the words of a text with a streams application, on
// any backend.
//
// The text goes into a topic, piece by piece: a piece is a line, or a part of a
// line that is too long for a record. The application splits the pieces into
// words and counts them; the counts are read back from its output topic.
//
// Piece number i is record number i/n of partition i%n, where n is the number
// of the topic's partitions. So the topic itself says which pieces it has,
// however the program ended, and another run with the same text continues from
// there.
package wordcount

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
	"github.com/runnel-go/runnel/topic"
)

// The application and its topics.
const (
	Application = "wordcount"
	partitions  = 4
)

var (
	lines  = serde.For("wordcount-lines", serde.String, serde.String)
	totals = serde.For("wordcount-totals", serde.String, serde.Int64)
)

// Job is a text whose words are to be counted.
type Job struct {
	Text     io.Reader
	Counts   io.Writer // gets "%7d %s\n" for each word, in the order of the words' bytes
	Progress io.Writer // receives the progress and the most frequent words
	Live     bool      // Progress is a terminal
	Options  []streams.Option
}

// Run counts the words of a text and writes the counts. If an earlier Run on
// this backend was stopped, Run continues it, given the same text. When ctx
// ends, it stops so that the next Run counts nothing twice, and returns ctx's
// error.
//
// A word of more than MaxPiece bytes is ErrWordTooLong, and a text that differs
// from that of the earlier Run is ErrOtherText.
func Run(ctx context.Context, backend streams.Backend, job Job) (err error) {
	have, err := open(ctx, backend)
	if err != nil {
		return err
	}
	app, err := streams.New(backend, Application, Topology, job.Options...)
	if err != nil {
		return err
	}
	view, err := openView(backend, job)
	if err != nil {
		return err
	}
	defer view.close()

	// The application and the view end when the text is counted, when ctx ends,
	// or with the first error of either.
	working, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	running, stop := context.WithCancel(working)
	ran, viewed := make(chan error, 1), make(chan error, 1)
	go func() {
		err := app.Run(running)
		fail(err)
		ran <- err
	}()
	go func() {
		err := view.follow(running)
		fail(err)
		viewed <- err
	}()
	err = feed(working, backend, job.Text, have, view)
	if err == nil {
		err = app.CaughtUp(working)
	}
	stop()
	if failed := errors.Join(<-ran, <-viewed); failed != nil {
		return failed
	}
	if err != nil {
		return err
	}
	return view.finish(ctx)
}

// written is the content of a partition of the lines' topic.
type written struct {
	records int64
	last    string // the last record, if there is one
}

// open creates the topics, or finds out what they contain.
func open(ctx context.Context, backend streams.Backend) ([]written, error) {
	_, err := topic.Ensure(ctx, backend,
		topic.Spec{Name: lines.Name, Partitions: partitions},
		topic.Spec{Name: totals.Name, Partitions: partitions, Config: topic.Config{Cleanup: topic.Compact}})
	if err != nil {
		return nil, err
	}
	found, err := backend.DescribeTopics(ctx, lines.Name)
	if err != nil {
		return nil, err
	}
	have := make([]written, len(found[0].Partitions))
	for i := range have {
		if have[i], err = readLines(ctx, backend, int32(i)); err != nil {
			return nil, err
		}
	}
	return have, nil
}

// ErrOtherText is returned if the lines written by an earlier run are not those
// of the text.
var ErrOtherText = errors.New("an earlier run counted another text here")

// feed writes the pieces of the text that the topic does not have.
func feed(ctx context.Context, backend streams.Backend, text io.Reader, have []written, view *view) error {
	p, err := producer.New(backend, producer.ClientID(Application), producer.Partitioner(topic.ManualPartitioner))
	if err != nil {
		return err
	}
	defer p.Close()
	from, n := newPieces(text), int64(len(have))
	for i := int64(0); ; i++ {
		piece, err := from.next()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, io.EOF):
			return errors.Join(p.Flush(ctx), complete(i, have))
		case err != nil:
			return errors.Join(err, p.Flush(ctx))
		}
		at := have[i%n]
		switch number := i / n; {
		case number >= at.records:
			p.SendAsync(ctx, record.Record{Topic: lines.Name, Partition: int32(i % n), Value: piece}, nil)
		case number == at.records-1 && string(piece) != at.last:
			return fmt.Errorf("%w: piece %d of the text is not what was counted", ErrOtherText, i+1)
		}
		view.pieces.Store(i + 1)
	}
}

// complete checks at the text's end that the topic does not contain more than
// the text.
func complete(pieces int64, have []written) error {
	var before int64
	for _, w := range have {
		before += w.records
	}
	if before > pieces {
		return fmt.Errorf("%w: it had %d lines or more, this one has %d", ErrOtherText, before, pieces)
	}
	return nil
}
