package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/examples/wordcount/wordcount"
)

// packed is what a member of a group has read.
type packed struct {
	orders, again int // different ones, and those that came once more
	err           error
}

// pack reads orders as a member of a group, and commits after each batch, until it has so
// many different ones. Which node coordinates the group, and that it dies, is not its concern.
func pack(ctx context.Context, b *runnel.Remote, n int) (p packed) {
	c, err := consumer.New(b, consumer.Group("packers"), consumer.Topics(orders.Topic), consumer.ManualCommit())
	if err != nil {
		return packed{err: err}
	}
	defer c.Close()
	seen := map[string]bool{}
	for len(seen) < n {
		batch, err := c.Poll(ctx)
		if err != nil {
			return packed{len(seen), p.again, err}
		}
		for _, r := range batch {
			if seen[string(r.Value)] {
				p.again++
			}
			seen[string(r.Value)] = true
		}
		if err := c.Commit(ctx); err != nil {
			return packed{len(seen), p.again, err}
		}
	}
	return packed{len(seen), p.again, nil}
}

// committed returns how many offsets of the orders the group has committed, as any node
// knows it.
func committed(ctx context.Context, b *runnel.Remote) (int64, error) {
	offsets, err := b.GroupOffsets(ctx, "packers")
	return offsets[orders].Offset, err
}

// The text whose words are counted, and how often each of them is in it.
const (
	line  = "to be or not to be\n"
	lines = 1200
)

// counted is what came of counting.
type counted struct {
	be  int // how often the word was counted
	err error
}

// count counts the words of a text that comes slowly, so that it is not over when the
// process is killed.
func count(ctx context.Context, b *runnel.Remote) counted {
	var out bytes.Buffer
	err := wordcount.Run(ctx, b, wordcount.Job{Text: &slowly{strings.NewReader(strings.Repeat(line, lines))}, Counts: &out, Progress: io.Discard})
	if err != nil {
		return counted{err: err}
	}
	for row := range strings.Lines(out.String()) {
		var n int
		var word string
		if _, err := fmt.Sscan(row, &n, &word); err == nil && word == "be" {
			return counted{be: n}
		}
	}
	return counted{err: fmt.Errorf("the word is not among the counted ones: %s", out.String())}
}

// slowly hands out a text in parts.
type slowly struct{ from io.Reader }

func (s *slowly) Read(b []byte) (int, error) {
	time.Sleep(50 * time.Millisecond)
	return s.from.Read(b[:min(len(b), 512)])
}
