package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/topic"
)

// consumeFlags are the flags of consume.
type consumeFlags struct {
	from, group     string
	value           string
	partitions      []int32
	follow, verbose bool
	count           int64
}

func newConsume(s *shell) *cobra.Command {
	f := &consumeFlags{}
	cmd := &cobra.Command{
		Use: "consume TOPIC...", Short: "Print records",
		Long: `Print the records of topics, up to the last one that is there when the command
begins; with --follow also those that come later.

With --group, it goes on where the group has committed, and commits what it
printed; --from then counts for partitions in which nothing is committed.

--from is start, end, an offset, a time (2026-05-01T12:00) or how long ago (90m).`,
		Example: `  runnel consume quickstart-events
  runnel consume quickstart-events --from end --follow
  runnel consume orders --from 90m --verbose
  runnel consume orders --group billing --count 100
  runnel consume orders --json | jq .value
  runnel consume word-counts --value int64`,
		Args: atLeast(1, "topics' names"),
		RunE: func(cmd *cobra.Command, names []string) error {
			from, err := parseFrom(f.from, time.Now())
			if err != nil {
				return err
			}
			if _, ok := decoders[f.value]; !ok {
				return usageError{fmt.Errorf("--value is text, int64 or hex, not %q", f.value)}
			}
			if f.group != "" && len(f.partitions) > 0 {
				return usageError{errors.New("--group shares partitions itself: leave --partition out")}
			}
			return s.with(cmd.Context(), false, func(ctx context.Context, b backend) error {
				err := s.consume(ctx, b, names, f, from)
				if f.follow && errors.Is(err, context.Canceled) {
					return nil // Ctrl-C is how following ends
				}
				return err
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.from, "from", "start", "`where` to begin: start, end, an offset, a time, how long ago")
	flags.StringVar(&f.group, "group", "", "read as a member of this `group`")
	flags.StringVar(&f.value, "value", "text", "show values as this `type`: text, int64 or hex")
	flags.Int32SliceVar(&f.partitions, "partition", nil, "only these `partitions`, such as 0,2")
	flags.BoolVarP(&f.follow, "follow", "f", false, "go on with records as they come, until Ctrl-C")
	flags.Int64VarP(&f.count, "count", "n", 0, "stop after this `number` of records")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "print position, time and headers, too")
	return cmd
}

// reading is one run of consume.
type reading struct {
	*shell
	*consumeFlags
	c       *consumer.Consumer
	ends    map[record.TopicPartition]int64           // where partitions ended when the command began
	printed map[record.TopicPartition]consumer.Offset // what comes after the records that were printed
	n       int64                                     // records printed
	wake    context.CancelFunc                        // ends the Poll at hand
}

// consume prints records until there are no more, or enough.
func (s *shell) consume(ctx context.Context, b backend, names []string, f *consumeFlags, from topic.OffsetSpec) error {
	described, err := s.describe(ctx, b, names)
	if err != nil {
		return err
	}
	partitions, err := f.choose(described)
	if err != nil {
		return err
	}
	r := &reading{shell: s, consumeFlags: f, printed: map[record.TopicPartition]consumer.Offset{}, wake: func() {}}
	if err := r.open(b, names, partitions, from); err != nil {
		return err
	}
	defer r.c.Close()
	if r.ends, err = r.c.Offsets(ctx, topic.Latest(), partitions...); err != nil {
		return err
	}
	err = r.run(ctx)
	if f.group != "" && len(r.printed) > 0 {
		err = errors.Join(err, r.c.CommitOffsets(context.WithoutCancel(ctx), r.printed))
	}
	return err
}

func (r *reading) run(ctx context.Context) error {
	for r.count == 0 || r.n < r.count {
		if !r.follow {
			if more, err := r.more(ctx); err != nil || !more {
				return err
			}
		}
		batch, err := r.poll(ctx)
		if errors.Is(err, fault.OffsetOutOfRange) {
			fmt.Fprintln(r.errs, "runnel:", err)
			continue
		}
		if err != nil {
			return err
		}
		for _, rec := range batch {
			if !r.follow && rec.Offset >= r.ends[tpOf(rec)] || r.count > 0 && r.n == r.count {
				break // it came after the command began, or is one too many
			}
			decode := decoders[r.value]
			if err := r.show(rec, r.verbose, decode); err != nil {
				return err
			}
			r.n++
			r.printed[tpOf(rec)] = consumer.Offset{Offset: rec.Offset + 1, LeaderEpoch: rec.LeaderEpoch}
		}
	}
	return nil
}

// poll is the consumer's Poll, which also returns when partitions were assigned:
// there may be nothing to wait for in them.
func (r *reading) poll(ctx context.Context) ([]record.Record, error) {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	r.wake = cancel
	batch, err := r.c.Poll(waiting)
	if err != nil && waiting.Err() != nil && ctx.Err() == nil {
		return nil, nil
	}
	return batch, err
}

func tpOf(r record.Record) record.TopicPartition {
	return record.TopicPartition{Topic: r.Topic, Partition: r.Partition}
}

// choose returns the partitions to read.
func (f *consumeFlags) choose(described []topic.Description) ([]record.TopicPartition, error) {
	var all []record.TopicPartition
	for _, d := range described {
		if len(f.partitions) == 0 {
			all = append(all, d.TopicPartitions()...)
			continue
		}
		for _, n := range f.partitions {
			if n < 0 || int(n) >= len(d.Partitions) {
				return nil, usageError{fmt.Errorf("topic %s has the partitions 0 to %d, not %d", d.Name, len(d.Partitions)-1, n)}
			}
			all = append(all, record.TopicPartition{Topic: d.Name, Partition: n})
		}
	}
	return all, nil
}

// open opens the consumer, which commits nothing by itself.
func (r *reading) open(b backend, names []string, partitions []record.TopicPartition, from topic.OffsetSpec) (err error) {
	opts := []consumer.Option{consumer.ClientID("runnel"), consumer.ManualCommit()}
	switch at, byTime := from.Time(); {
	case byTime:
		opts = append(opts, consumer.FromTime(at))
	case from.IsLatest():
		opts = append(opts, consumer.FromEnd())
	default:
		if offset, ok := from.Offset(); ok {
			opts = append(opts, consumer.FromOffset(offset))
		}
	}
	if r.group == "" {
		opts = append(opts, consumer.Assign(partitions...))
	} else {
		opts = append(opts, consumer.Group(r.group), consumer.Topics(names...),
			consumer.OnAssigned(func([]record.TopicPartition) { r.wake() }))
	}
	r.c, err = consumer.New(b, opts...)
	return err
}

// more reports whether an assigned partition has records before the end it had
// when the command began. A member of a group waits until it is assigned some.
func (r *reading) more(ctx context.Context) (bool, error) {
	owned := r.c.Assignment()
	if len(owned) == 0 {
		return r.group != "", nil
	}
	for _, tp := range owned {
		position, err := r.c.Position(ctx, tp)
		if err != nil && !errors.Is(err, fault.NotAssigned) {
			return false, err
		}
		if err == nil && position < r.ends[tp] {
			return true, nil
		}
	}
	return false, nil
}

// recordLine is a record in JSON.
type recordLine struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	bodyLine
}

// bodyLine is what a record is wherever it stands.
type bodyLine struct {
	Offset    int64        `json:"offset"`
	Timestamp string       `json:"timestamp"`
	Key       jsonText     `json:"key"`
	Value     jsonText     `json:"value"`
	Headers   []headerLine `json:"headers,omitempty"`
}

type headerLine struct {
	Key   string   `json:"key"`
	Value jsonText `json:"value"`
}

// decoders are the ways of showing a value, by the name that --value gives them.
var decoders = map[string]func([]byte) []byte{
	"text": func(b []byte) []byte { return b },
	"hex":  func(b []byte) []byte { return present(b, hex.AppendEncode(nil, b)) },
	"int64": func(b []byte) []byte {
		n, err := serde.Int64.Decode(b)
		if err != nil {
			return b // it is none: shown as it is
		}
		return strconv.AppendInt(nil, n, 10)
	},
}

// present returns shown, or nil where there is nothing to show.
func present(b, shown []byte) []byte {
	if b == nil {
		return nil
	}
	return append([]byte{}, shown...)
}

// show prints one record: its value, after its key and a tab where it has one.
func (s *shell) show(r record.Record, verbose bool, decode func([]byte) []byte) error {
	r.Value = decode(r.Value)
	if !s.tables() {
		return s.line(recordLine{r.Topic, r.Partition, bodyJSON(r)})
	}
	var b strings.Builder
	if verbose {
		fmt.Fprintf(&b, "%s  %s  ", r.Position(), stamp(r.Timestamp))
		for _, h := range r.Headers {
			fmt.Fprintf(&b, "%s=%s  ", h.Key, text(h.Value))
		}
	}
	if r.Key != nil {
		b.WriteString(text(r.Key) + "\t")
	}
	_, err := fmt.Fprintln(s.out, b.String()+text(r.Value))
	return err
}

func bodyJSON(r record.Record) bodyLine {
	line := bodyLine{Offset: r.Offset, Timestamp: stamp(r.Timestamp), Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		line.Headers = append(line.Headers, headerLine{h.Key, h.Value})
	}
	return line
}

// stamp writes a time to the millisecond, which is all that records have.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
