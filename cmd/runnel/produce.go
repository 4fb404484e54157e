package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// maxLine is the longest line that is read, in bytes.
const maxLine = 16 << 20

// produceFlags are the flags of produce.
type produceFlags struct {
	keySep, null string
	headers      []string
	partition    int32
	acks         string
	compression  string
}

func newProduce(s *shell) *cobra.Command {
	f := &produceFlags{}
	cmd := &cobra.Command{
		Use: "produce TOPIC", Short: "Write lines of standard input as records",
		Long: `Write each line of standard input as a record. All records are acknowledged
when the command ends; in a directory that means on disk.`,
		Example: `  echo "这是第一条消息" | runnel produce quickstart-events
  runnel produce users --key-sep : < users.txt          # alice:{"age":42}
  runnel produce users --key-sep : --null NULL          # alice:NULL deletes alice
  runnel produce orders --header source=shop < orders.ndjson`,
		Args: exactly(1, "a topic's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts, headers, err := f.options(cmd)
			if err != nil {
				return err
			}
			return s.with(cmd.Context(), false, func(ctx context.Context, b backend) error {
				if _, err := b.DescribeTopics(ctx, args[0]); err != nil {
					return s.unknownTopic(ctx, b, args[0], err)
				}
				if isTerminal(s.in) {
					fmt.Fprintln(s.errs, "A line is a record. Ctrl-D ends.")
				}
				return s.produce(ctx, b, args[0], f, headers, opts)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.keySep, "key-sep", "", "a line is a key, this `separator` and a value; \\t is a tab")
	flags.StringVar(&f.null, "null", "", "the `word` that stands for a null key or value")
	flags.StringArrayVar(&f.headers, "header", nil, "a header for every record, `key=value`; may be repeated")
	flags.Int32Var(&f.partition, "partition", -1, "write to this partition, whatever the keys")
	flags.StringVar(&f.acks, "acks", "all", "whose word is awaited: all, 1 or 0")
	flags.StringVar(&f.compression, "compression", "none", "none, gzip, snappy, lz4 or zstd")
	return cmd
}

// options returns what the flags mean for a producer, and the headers.
func (f *produceFlags) options(cmd *cobra.Command) ([]producer.Option, []record.Header, error) {
	if cmd.Flags().Changed("key-sep") && f.keySep == "" {
		return nil, nil, usageError{errors.New("--key-sep needs at least one character")}
	}
	f.keySep = strings.ReplaceAll(f.keySep, `\t`, "\t")
	compression, err := record.ParseCompression(f.compression)
	if err != nil {
		return nil, nil, usageError{err}
	}
	acks, ok := map[string]producer.Acks{"all": producer.AcksAll, "-1": producer.AcksAll, "1": producer.AcksLeader, "0": producer.AcksNone}[f.acks]
	if !ok {
		return nil, nil, usageError{fmt.Errorf("--acks is all, 1 or 0, not %q", f.acks)}
	}
	opts := []producer.Option{producer.ClientID("runnel"), producer.Compression(compression), producer.RequireAcks(acks)}
	if f.partition >= 0 {
		opts = append(opts, producer.Partitioner(topic.ManualPartitioner))
	}
	headers, err := parseHeaders(f.headers)
	return opts, headers, err
}

// parseHeaders reads key=value.
func parseHeaders(entries []string) ([]record.Header, error) {
	var headers []record.Header
	for _, e := range entries {
		key, value, ok := strings.Cut(e, "=")
		if !ok {
			return nil, usageError{hinted{fmt.Errorf("%q is not a header", e), "write it as key=value"}}
		}
		headers = append(headers, record.Header{Key: key, Value: []byte(value)})
	}
	return headers, nil
}

// parse makes a record of a line.
func (f *produceFlags) parse(line []byte) (key, value []byte, err error) {
	value = line
	if f.keySep != "" {
		k, v, ok := bytes.Cut(line, []byte(f.keySep))
		if !ok {
			return nil, nil, fmt.Errorf("there is no %q in it", f.keySep)
		}
		key, value = f.nullable(k), v
	}
	return key, f.nullable(value), nil
}

func (f *produceFlags) nullable(b []byte) []byte {
	if f.null != "" && string(b) == f.null {
		return nil
	}
	if b == nil {
		return []byte{}
	}
	return b
}

// pipeLinger is how long a batch of what comes from a pipe waits for more. (Kafka's
// own tool waits a second.)
const pipeLinger = 100 * time.Millisecond

// produced counts what was acknowledged.
type produced struct {
	mu      sync.Mutex
	records int64
	last    map[int32]int64 // offsets, by partition
	err     error           // the first failure
}

func (p *produced) callback(at record.Position, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		if p.err == nil {
			p.err = err
		}
		return
	}
	p.records++
	p.last[at.Partition] = max(p.last[at.Partition], at.Offset)
}

func (p *produced) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// produce sends the lines. What was read before an error stays sent.
func (s *shell) produce(ctx context.Context, b backend, name string, f *produceFlags, headers []record.Header, opts []producer.Option) error {
	if !isTerminal(s.in) { // what comes from a pipe comes in numbers, and its end sends the rest
		opts = append(opts, producer.Linger(pipeLinger))
	}
	p, err := producer.New(b, opts...)
	if err != nil {
		return err
	}
	defer p.Close()
	done := &produced{last: map[int32]int64{}}
	readErr := eachLine(ctx, s.in, func(n int, line []byte) error {
		key, value, err := f.parse(line)
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		r := record.Record{Topic: name, Partition: max(0, f.partition), Key: key, Value: value, Headers: headers}
		p.SendAsync(ctx, r, done.callback)
		return done.failure()
	})
	flushErr := p.Flush(context.WithoutCancel(ctx))
	if err := errors.Join(readErr, flushErr, done.failure()); err != nil {
		fmt.Fprintf(s.errs, "%s written before the failure.\n", count(done.records, "record"))
		return errors.Join(readErr, flushErr, firstOther(readErr, done.failure()))
	}
	if s.tables() {
		fmt.Fprintf(s.out, "%s written to %s.\n", count(done.records, "record"), name)
		return nil
	}
	return s.line(struct {
		Topic   string          `json:"topic"`
		Records int64           `json:"records"`
		Last    map[int32]int64 `json:"lastOffsets"`
	}{name, done.records, done.last})
}

// firstOther returns err unless it is part of known already.
func firstOther(known, err error) error {
	if errors.Is(known, err) {
		return nil
	}
	return err
}

// eachLine calls do for every line, without its end, from 1 on. It reads on a
// goroutine of its own, so that ctx ends the waiting for a line; that goroutine
// is left to the end of the program.
func eachLine(ctx context.Context, r io.Reader, do func(n int, line []byte) error) error {
	lines := make(chan []byte, 64)
	ended := make(chan error, 1)
	go func() {
		scanner := bufio.NewScanner(r)
		scanner.Buffer(nil, maxLine)
		for scanner.Scan() {
			select {
			case lines <- bytes.Clone(scanner.Bytes()):
			case <-ctx.Done():
				return
			}
		}
		close(lines)
		ended <- scanner.Err()
	}()
	for n := 1; ; n++ {
		select {
		case line, ok := <-lines:
			if !ok {
				err := <-ended
				if errors.Is(err, bufio.ErrTooLong) {
					return fmt.Errorf("line %d is longer than %d MiB", n, maxLine>>20)
				}
				return err
			}
			if err := do(n, line); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
