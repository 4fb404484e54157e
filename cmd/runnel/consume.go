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

	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
)

// consumeFlags are the flags of consume.
type consumeFlags struct {
	from, group     string
	value           string
	isolation       string
	partitions      partitionList
	follow, verbose bool
	count           counter
}

func newConsume(s *shell) *cobra.Command {
	f := &consumeFlags{}
	cmd := &cobra.Command{
		Use: "consume TOPIC...", Short: "Print records",
		Long: `Print the records of topics, up to the last one that exists when the command
starts; with --follow also those that are written later.

With --group, it continues at the group's committed offsets, and commits what it
printed; --from then applies to partitions without a committed offset.

Into a pipe it prints a JSON object per record, which runnel produce --from-json
reads. The commands of several terminals may work on one directory at once.

With --isolation read_committed it leaves out the records of aborted transactions,
and reads up to the first transaction that is open.

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
			if f.isolation != readCommitted && f.isolation != readUncommitted {
				return usageError{fmt.Errorf("--isolation is %s or %s, not %q", readUncommitted, readCommitted, f.isolation)}
			}
			if f.group != "" && len(f.partitions) > 0 {
				return usageError{errors.New("--group shares partitions itself: leave --partition out")}
			}
			r := newReading(s, f, names, from)
			err = s.lasting(cmd.Context(), r.consume)
			if f.follow && errors.Is(err, context.Canceled) {
				return nil // following ends with Ctrl-C
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.from, "from", "start", "`where` to begin: start, end, an offset, a time, how long ago")
	flags.StringVar(&f.group, "group", "", "read as a member of this `group`")
	flags.StringVar(&f.value, "value", "text", "show values as this `type`: text, int64 or hex")
	flags.StringVar(&f.isolation, "isolation", readUncommitted, "the `level`: read_uncommitted or read_committed")
	flags.Var(&f.partitions, "partition", "only these `partitions`, such as 0,2")
	flags.BoolVarP(&f.follow, "follow", "f", false, "wait for new records, until Ctrl-C")
	flags.VarP(&f.count, "count", "n", "stop after this `number` of records")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "print position, time and headers, too")
	return cmd
}

// The values of --isolation, those of Kafka's isolation.level.
const (
	readCommitted   = "read_committed"
	readUncommitted = "read_uncommitted"
)

// decoders maps the values of --value to conversions for printing.
var decoders = map[string]func([]byte) []byte{
	"text": func(b []byte) []byte { return b },
	"hex":  func(b []byte) []byte { return present(b, hex.AppendEncode(nil, b)) },
	"int64": func(b []byte) []byte {
		n, err := serde.Int64.Decode(b)
		if err != nil {
			return b // not an int64: printed unchanged
		}
		return strconv.AppendInt(nil, n, 10)
	},
}

// present returns shown, or nil if b is null.
func present(b, shown []byte) []byte {
	if b == nil {
		return nil
	}
	return append([]byte{}, shown...)
}

// show prints one record: its value, preceded by its key and a tab if it has
// one.
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
