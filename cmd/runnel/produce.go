package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// produceFlags are the flags of produce.
type produceFlags struct {
	keySep, null string
	fromJSON     bool
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
when the command ends; in a directory that means on disk.

With --from-json a line is a record as runnel consume prints it into a pipe, with
key, value, headers, time and partition; only "value" must be there.`,
		Example: `  echo "这是第一条消息" | runnel produce quickstart-events
  runnel produce users --key-sep : < users.txt          # alice:{"age":42}
  runnel produce users --key-sep : --null NULL          # alice:NULL deletes alice
  runnel produce orders --header source=shop < orders.ndjson
  runnel consume orders | runnel produce copies --from-json`,
		Args: exactly(1, "a topic's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts, headers, err := f.options(cmd)
			if err != nil {
				return err
			}
			w := newWriting(s, f, args[0], headers, opts)
			return w.report(s.lasting(cmd.Context(), w.produce))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.keySep, "key-sep", "", "a line is a key, this `separator` and a value; \\t is a tab")
	flags.StringVar(&f.null, "null", "", "the `word` that means a null key or value")
	flags.StringArrayVar(&f.headers, "header", nil, "a header for every record, `key=value`; may be repeated")
	flags.Int32Var(&f.partition, "partition", -1, "write to this `partition`, whatever the keys")
	flags.BoolVar(&f.fromJSON, "from-json", false, "a line is a record, as consume prints it into a pipe")
	flags.StringVar(&f.acks, "acks", "all", "whose word is awaited: all, 1 or 0")
	flags.StringVar(&f.compression, "compression", "none", "none, gzip, snappy, lz4 or zstd")
	return cmd
}

// options converts the flags to a producer's options, and the headers.
func (f *produceFlags) options(cmd *cobra.Command) ([]producer.Option, []record.Header, error) {
	if cmd.Flags().Changed("key-sep") && f.keySep == "" {
		return nil, nil, usageError{errors.New("--key-sep needs at least one character")}
	}
	if f.fromJSON && (f.keySep != "" || f.null != "") {
		return nil, nil, usageError{errors.New("--from-json says itself what is a key and what is null: leave out --key-sep and --null")}
	}
	if cmd.Flags().Changed("partition") && f.partition < 0 {
		return nil, nil, usageError{fmt.Errorf("there is no partition %d", f.partition)}
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
	opts := []producer.Option{
		producer.ClientID("runnel"), producer.Compression(compression), producer.RequireAcks(acks), producer.Partitioner(wherePossible),
	}
	headers, err := parseHeaders(f.headers)
	return opts, headers, err
}

// wherePossible uses the record's own partition, or the one of its key if that
// is negative.
func wherePossible(name string, batchBytes int) func(record.Record, int32) int32 {
	byKey := topic.DefaultPartitioner(name, batchBytes)
	return func(r record.Record, partitions int32) int32 {
		if r.Partition >= 0 {
			return r.Partition
		}
		return byKey(r, partitions)
	}
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

// parse makes a record from a line. Its partition is -1 if its key decides.
func (f *produceFlags) parse(line []byte) (r record.Record, err error) {
	switch {
	case f.fromJSON:
		if r, err = parseRecord(line); err != nil {
			return r, err
		}
	case f.keySep != "":
		k, v, ok := bytes.Cut(line, []byte(f.keySep))
		if !ok {
			return r, fmt.Errorf("there is no %q in it", f.keySep)
		}
		r = record.Record{Partition: -1, Key: f.nullable(k), Value: f.nullable(v)}
	default:
		r = record.Record{Partition: -1, Value: f.nullable(line)}
	}
	if f.partition >= 0 {
		r.Partition = f.partition
	}
	return r, nil
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
