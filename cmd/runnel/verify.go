package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel/datadir"
	"github.com/runnel-go/runnel/kafka"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/topic"
)

func newVerify(s *shell) *cobra.Command {
	notes := false
	cmd := &cobra.Command{
		Use: "verify [DIR]", Short: "Check a data directory and report what is wrong",
		Long: `Read every batch, record and index entry of a data directory, the one that --at
names by default, and compare them with their checksums and with each other.
Nothing is changed. In a directory that a program has open, only what the
partitions' checkpoints call durable is read.

The exit code is 0 if the directory is sound or will be once it is opened, 1 if
something in it is damaged, 2 if it could not be read.`,
		Example: `  runnel verify data
  runnel verify /var/lib/app/data --json | jq 'select(.grade == "damage")'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return wrongArguments(cmd, "one directory", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := s.at
			if len(args) == 1 {
				dir = args[0]
			}
			if strings.HasPrefix(dir, kafka.Scheme) {
				return usageError{errors.New("verify reads a directory, not what a Kafka cluster holds")}
			}
			return s.verify(cmd.Context(), dir, notes)
		},
	}
	cmd.Flags().BoolVar(&notes, "notes", false, "also show findings that are merely worth knowing")
	return cmd
}

// verify inspects a directory and prints what was found.
func (s *shell) verify(ctx context.Context, dir string, notes bool) error {
	if err := s.thereIs(dir); err != nil {
		return exitError{err, 2}
	}
	meter := s.newMeter()
	found, err := datadir.Inspect(ctx, dir, meter.show)
	meter.end()
	if err != nil {
		return exitError{err, 2}
	}
	held, incomplete := s.askHolder(ctx, dir, &found)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if s.tables() {
		err = s.verifyTable(dir, &found, held, notes)
	} else {
		err = s.verifyLines(&found, held)
	}
	switch {
	case err != nil:
		return err
	case found.Worst() == log.Damage:
		hint := "runnel repair " + dir + " --dry-run says what can be done about it"
		if held.name != "" {
			hint = "close it in " + held.name + "; then " + hint
		}
		return errors.Join(hinted{errors.New("there is damage in " + dir), hint}, incomplete)
	case incomplete != nil:
		return exitError{incomplete, 2}
	}
	return nil
}

// verifyTable prints a table of partitions, followed by the findings.
func (s *shell) verifyTable(dir string, found *datadir.Inspection, held holding, notes bool) error {
	t := newTable("PARTITION", "#SEGMENTS", "#BATCHES", "#RECORDS", "#BYTES", "STATE")
	all := found.Findings
	for _, p := range found.Partitions {
		row := []any{p.TopicPartition, p.Segments, p.Batches, p.Records, p.Bytes, state(&p.Inspection, held)}
		if held.name != "" && p.Batches == 0 && (p.Segments == 0 || len(p.Findings) == 0) {
			row[1], row[2] = "-", "-" // no checkpoint says yet what is durable
			if !held.compared || p.Topic == topic.ClusterMetadata {
				row[3], row[4] = "-", "-" // and the process does not say
			}
		}
		t.row(row...)
		all = append(all, p.Findings...)
	}
	if err := t.print(s.out); err != nil {
		return err
	}
	gap := ""
	for _, f := range all {
		if f.Grade == log.Note && !notes {
			continue
		}
		if err := showFinding(s.out, dir, f); err != nil {
			return err
		}
		gap = "\n"
	}
	_, err := fmt.Fprintln(s.out, gap+verdict(found, held))
	return err
}

// state describes a partition's state in a few words.
func state(i *log.Inspection, held holding) string {
	n := 0
	for _, f := range i.Findings {
		if f.Grade == i.Worst() {
			n++
		}
	}
	switch i.Worst() {
	case log.Damage:
		places := "damaged: " + count(int64(n+i.Unlisted), "place")
		if held.name != "" {
			return places + " or more" // a process reports only its first
		}
		return places
	case log.Recoverable:
		return "recoverable: " + count(int64(n), "place")
	}
	switch {
	case held.compared:
		return "open, compared by " + held.name
	case held.name != "" && i.Batches == 0:
		return "open, nothing could be read"
	case held.name != "":
		return "open, sound where it is durable"
	case i.Closed:
		return "sound"
	}
	return "sound, not closed"
}

// verdict returns a summary in one line.
func verdict(found *datadir.Inspection, held holding) string {
	var bytes, records int64
	for _, p := range found.Partitions {
		bytes += p.Bytes
		records += p.Records
	}
	what := fmt.Sprintf("%s, %s, %s", count(int64(len(found.Partitions)), "partition"), count(records, "record"), size(bytes))
	switch found.Worst() {
	case log.Damage:
		return what + ": DAMAGED."
	case log.Recoverable:
		return what + ": sound; opening it or runnel repair fixes the recoverable findings."
	}
	if held.name != "" && !held.compared {
		return what + ": nothing wrong in what could be read; " + held.name + " has the rest."
	}
	return what + ": sound."
}

// showFinding prints a finding: what and where, what was expected and what was
// found, and what to do.
func showFinding(w io.Writer, dir string, f log.Finding) error {
	file := f.File
	if rel, err := filepath.Rel(dir, file); err == nil {
		file = rel
	}
	where := fmt.Sprintf("%s at byte %d", file, f.Pos)
	if f.Offset >= 0 {
		where += fmt.Sprintf(", offset %d", f.Offset)
	}
	if (f.Grade == log.Damage || f.Grade == log.Opaque) && f.Next > f.Offset+1 && f.Offset >= 0 {
		where += fmt.Sprintf(" to %d", f.Next-1)
	}
	_, err := fmt.Fprintf(w, "\n%-6s %s\n       expected %s\n       found    %s\n       %s\n", f.Grade, where, f.Expected, f.Found, f.Hint)
	return err
}

// findingLine is a finding in JSON.
type findingLine struct {
	Grade     string `json:"grade"`
	Topic     string `json:"topic,omitempty"`
	Partition *int32 `json:"partition,omitempty"`
	File      string `json:"file"`
	Position  int64  `json:"position"`
	Offset    *int64 `json:"offset,omitempty"`
	Next      *int64 `json:"nextOffset,omitempty"`
	Expected  string `json:"expected"`
	Found     string `json:"found"`
	Hint      string `json:"hint"`
}

func findingJSON(f log.Finding) findingLine {
	line := findingLine{Grade: f.Grade.String(), Topic: f.Topic, File: f.File, Position: f.Pos, Expected: f.Expected, Found: f.Found, Hint: f.Hint}
	if f.Topic != "" {
		line.Partition = &f.Partition
	}
	if f.Offset >= 0 {
		line.Offset = &f.Offset
	}
	if f.Next >= 0 {
		line.Next = &f.Next
	}
	return line
}

// inspectedLine is an inspected partition in JSON.
type inspectedLine struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Closed    bool   `json:"closed"`
	Segments  int    `json:"segments"`
	Batches   int64  `json:"batches"`
	Records   int64  `json:"records"`
	Bytes     int64  `json:"bytes"`
	Start     int64  `json:"startOffset"`
	End       int64  `json:"endOffset"`
	State     string `json:"state"`
	Open      string `json:"openIn,omitempty"`
}

// verifyLines prints a line for each partition and each finding.
func (s *shell) verifyLines(found *datadir.Inspection, held holding) error {
	all := found.Findings
	for _, p := range found.Partitions {
		line := inspectedLine{p.Topic, p.Partition, p.Closed, p.Segments, p.Batches, p.Records, p.Bytes, p.Start, p.End, [...]string{"sound", "sound", "recoverable", "damage"}[p.Worst()], held.name}
		if held.name != "" && !held.compared && p.Worst() == log.Note {
			line.State = "open" // what is not durable was not read
		}
		if err := s.line(line); err != nil {
			return err
		}
		all = append(all, p.Findings...)
	}
	for _, f := range all {
		if err := s.line(findingJSON(f)); err != nil {
			return err
		}
	}
	return nil
}
