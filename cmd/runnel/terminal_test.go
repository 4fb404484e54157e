package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// terminal is a command that runs as in a shell of its own.
type terminal struct {
	t     *testing.T
	name  string
	in    *os.File
	lines chan string // of standard output
	stop  context.CancelFunc
	ended chan error
}

// start runs a command on a directory.
func start(t *testing.T, dir string, args ...string) *terminal {
	t.Helper()
	in, keys, err := os.Pipe()
	require.NoError(t, err)
	read, out := io.Pipe()
	ctx, stop := context.WithCancel(t.Context())
	p := &terminal{t: t, name: strings.Join(args, " "), in: keys, lines: make(chan string, 1000), stop: stop, ended: make(chan error, 1)}
	go func() {
		for scan := bufio.NewScanner(read); scan.Scan(); {
			p.lines <- scan.Text()
		}
		close(p.lines)
	}()
	go func() {
		s := &shell{in: in, out: out, errs: io.Discard, people: true}
		root := newRoot(s)
		root.SetArgs(append(args, "--at", dir))
		p.ended <- root.ExecuteContext(ctx)
		_ = out.Close()
		_ = in.Close()
	}()
	t.Cleanup(func() {
		stop()
		_ = keys.Close()
	})
	return p
}

// patience is longer than anything takes here.
const patience = 2 * time.Minute

// expect waits for these lines and no others.
func (p *terminal) expect(want ...string) {
	p.t.Helper()
	for _, line := range want {
		select {
		case got, ok := <-p.lines:
			if !ok {
				require.FailNow(p.t, "it has ended", "%s: before %q: %v", p.name, line, <-p.ended)
			}
			require.Equal(p.t, line, got, p.name)
		case <-time.After(patience):
			require.FailNow(p.t, "nothing comes", "%s: before %q", p.name, line)
		}
	}
}

// types writes lines to the command's standard input.
func (p *terminal) types(lines ...string) {
	p.t.Helper()
	_, err := p.in.WriteString(strings.Join(lines, "\n") + "\n")
	require.NoError(p.t, err)
}

// end ends the command, as Ctrl-C does, and returns its error.
func (p *terminal) end() error {
	p.stop()
	return p.wait()
}

func (p *terminal) wait() error {
	select {
	case err := <-p.ended:
		return err
	case <-time.After(patience):
		require.FailNow(p.t, "it does not end", p.name)
		return nil
	}
}

// writes produces lines.
func writes(t *testing.T, dir string, lines ...string) {
	t.Helper()
	p := start(t, dir, "produce", "orders")
	p.types(lines...)
	require.NoError(t, p.in.Close())
	require.NoError(t, p.wait())
}

// runs runs a command to its end, and returns what it prints.
func runs(t *testing.T, dir string, args ...string) []string {
	t.Helper()
	p := start(t, dir, args...)
	require.NoError(t, p.in.Close())
	require.NoError(t, p.wait())
	var lines []string
	for line := range p.lines {
		lines = append(lines, line)
	}
	return lines
}

// Commands in several terminals share a directory. The first holds it; when it
// ends, another takes over, and the rest go on where they were: nothing is lost,
// nothing comes twice, and a place such as "the end" is the one of before.
func TestTerminals(t *testing.T) {
	defer func(before time.Duration) { openPatience = before }(openPatience)
	openPatience = patience // a command may begin while another takes the directory over
	dir := t.TempDir()
	runs(t, dir, "topic", "create", "orders")
	writes(t, dir, "zero")
	first := start(t, dir, "consume", "orders", "--follow")
	first.expect("zero") // so it holds the directory
	writer := start(t, dir, "produce", "orders")
	writer.types("one")
	first.expect("one")
	second := start(t, dir, "consume", "orders", "--follow", "--group", "g")
	second.expect("zero", "one")
	late := start(t, dir, "consume", "orders", "--follow", "--from", "end")
	require.Equal(t, []string{"zero", "one"}, runs(t, dir, "consume", "orders"))
	writer.types("two")
	first.expect("two")
	second.expect("two")

	require.NoError(t, first.end())
	writer.types("three")
	second.expect("three")
	require.NoError(t, second.end())
	require.Equal(t, []string{"zero", "one", "two", "three"}, runs(t, dir, "consume", "orders"))
	writer.types("four")
	// What came before it had begun is not its; from then on everything is.
	var got []string
	for len(got) == 0 || got[len(got)-1] != "four" {
		select {
		case line := <-late.lines:
			got = append(got, line)
		case <-time.After(patience):
			require.FailNow(t, "nothing comes", got)
		}
	}
	require.Equal(t, []string{"two", "three", "four"}[3-len(got):], got)

	require.NoError(t, writer.in.Close())
	writer.expect("4 records written to orders.")
	require.NoError(t, writer.wait())
	require.NoError(t, late.end())
	require.Equal(t, []string{"zero", "one", "two", "three", "four"}, runs(t, dir, "consume", "orders"))
	require.Equal(t, []string{"four"}, runs(t, dir, "consume", "orders", "--group", "g"), "the group goes on where its member was")
}

// A member of a group that has printed nothing keeps its place, too.
func TestPlaceWithoutRecords(t *testing.T) {
	dir := t.TempDir()
	runs(t, dir, "topic", "create", "orders")
	writes(t, dir, "before")
	require.Empty(t, runs(t, dir, "consume", "orders", "--group", "g", "--from", "end"))
	writes(t, dir, "after")
	require.Equal(t, []string{"after"}, runs(t, dir, "consume", "orders", "--group", "g", "--from", "end"))
}

// leaving is a backend that is gone as soon as somebody wants records.
type leaving struct{ backend }

// OpenConsumer implements consumer.Backend.
func (l leaving) OpenConsumer(ctx context.Context, cfg consumer.Config) (consumer.Session, error) {
	s, err := l.backend.OpenConsumer(ctx, cfg)
	return left{s}, err
}

type left struct{ consumer.Session }

// Fetch implements consumer.Session.
func (left) Fetch(context.Context, time.Duration, []record.Record) (consumer.Fetched, error) {
	return consumer.Fetched{}, fault.Closed
}

// "The end" is where the log ended when the command began, not where it ends when
// another process has taken over.
func TestTheEndStaysWhereItWas(t *testing.T) {
	b, err := runnel.OpenMemory()
	require.NoError(t, err)
	defer b.Close()
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	p, err := producer.New(b)
	require.NoError(t, err)
	defer p.Close()
	send := func(value string) {
		_, err := p.Send(t.Context(), record.Record{Topic: "orders", Value: []byte(value)})
		require.NoError(t, err)
	}
	send("before")
	var out strings.Builder
	r := newReading(&shell{out: &out, errs: io.Discard, table: true}, &consumeFlags{follow: true, value: "text", count: 1}, []string{"orders"}, topic.Latest())
	require.ErrorIs(t, r.consume(t.Context(), leaving{b}), fault.Closed)
	send("meanwhile")
	require.NoError(t, r.consume(t.Context(), b))
	require.Equal(t, "meanwhile\n", out.String())
}

// killed is a backend that dies with the second record on its way.
type killed struct{ backend }

// OpenProducer implements producer.Backend.
func (k killed) OpenProducer(ctx context.Context, cfg producer.Config) (producer.Session, error) {
	s, err := k.backend.OpenProducer(ctx, cfg)
	return dying{s}, err
}

type dying struct{ producer.Session }

// Topic implements producer.Session.
func (d dying) Topic(ctx context.Context, name string) (producer.Writer, error) {
	w, err := d.Session.Topic(ctx, name)
	return &lastWords{Writer: w}, err
}

type lastWords struct {
	producer.Writer
	n int
}

// SendAsync implements producer.Writer.
func (w *lastWords) SendAsync(ctx context.Context, r record.Record, fn producer.Callback) {
	if w.n++; w.n == 1 {
		w.Writer.SendAsync(ctx, r, fn)
		return
	}
	w.Writer.SendAsync(ctx, r, func(record.Position, error) {
		fn(record.Position{}, fault.At(fault.UnknownOutcome, r.Topic, r.Partition, -1))
	})
}

// What was on its way to a process that was killed is sent again, and said to be
// there twice, perhaps.
func TestProduceOutlivesAKilledHolder(t *testing.T) {
	b, err := runnel.OpenMemory()
	require.NoError(t, err)
	defer b.Close()
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	in, keys, err := os.Pipe()
	require.NoError(t, err)
	defer in.Close()
	var out, errs strings.Builder
	s := &shell{in: in, out: &out, errs: &errs, table: true, at: "data"}
	w := newWriting(s, &produceFlags{partition: -1}, "orders", nil, nil)
	_, err = keys.WriteString("one\ntwo\nthree\n")
	require.NoError(t, err)
	require.NoError(t, keys.Close())
	require.ErrorIs(t, w.produce(t.Context(), killed{b}), fault.UnknownOutcome)
	require.NoError(t, w.report(w.produce(t.Context(), b)))
	require.Equal(t, "3 records written to orders.\n", out.String())
	require.Regexp(t, `^The process that held data ended: [12] records? may have been written twice\.\n$`, errs.String())
	out.Reset()
	r := newReading(&shell{out: &out, errs: io.Discard, table: true}, &consumeFlags{value: "text"}, []string{"orders"}, topic.Earliest())
	require.NoError(t, r.consume(t.Context(), b))
	lines := strings.Fields(out.String())
	require.Equal(t, "one", lines[0])
	for _, want := range []string{"two", "three"} {
		require.Contains(t, lines, want)
	}
}
