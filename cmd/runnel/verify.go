package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/kafka"
	"github.com/runnel-go/runnel/log"
)

func newVerify(s *shell) *cobra.Command {
	notes := false
	cmd := &cobra.Command{
		Use: "verify [DIR]", Short: "Read a data directory through and say what is wrong",
		Long: `Read every batch, record and index entry of a data directory, the one that --at
names by default, and compare them with their checksums and with each other.
Nothing is changed. Of a directory that a program has open, what is durable by
the partitions' checkpoints is read.

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
	cmd.Flags().BoolVar(&notes, "notes", false, "show what is merely worth knowing, too")
	return cmd
}

// verify inspects a directory and prints what was found.
func (s *shell) verify(ctx context.Context, dir string, notes bool) error {
	meter := s.newMeter()
	found, err := runnel.Inspect(ctx, dir, meter.show)
	meter.end()
	if err != nil {
		return exitError{err, 2}
	}
	if s.tables() {
		err = s.verifyTable(dir, &found, notes)
	} else {
		err = s.verifyLines(&found)
	}
	if err == nil && found.Holder != "" {
		err = s.verifyThere(ctx, dir, found.Holder)
	}
	if err == nil && found.Worst() == log.Damage {
		err = hinted{errors.New("there is damage in " + dir), "runnel repair " + dir + " --dry-run says what can be done about it"}
	}
	return err
}

// verifyThere lets the process that has a directory open compare what it alone
// can: everything that may be read, durable or not.
func (s *shell) verifyThere(ctx context.Context, dir, holder string) error {
	r, err := runnel.Attach(dir)
	if err != nil {
		fmt.Fprintf(s.errs, "%s has %s open and lets nobody look in: what its checkpoints call durable was read.\n", holder, dir)
		return nil
	}
	defer r.Close()
	fmt.Fprintf(s.errs, "%s has %s open: what its checkpoints call durable was read, and it compares every batch itself.\n", holder, dir)
	if err := r.Verify(ctx); errors.Is(err, fault.CorruptMessage) {
		return err
	} else if err != nil {
		return exitError{err, 2} // it has closed the directory meanwhile, say
	}
	return nil
}

// verifyTable prints a table of partitions, and what was found below it.
func (s *shell) verifyTable(dir string, found *runnel.Inspection, notes bool) error {
	t := newTable("PARTITION", "#SEGMENTS", "#BATCHES", "#RECORDS", "#BYTES", "STATE")
	all := found.Findings
	for _, p := range found.Partitions {
		t.row(p.TopicPartition, p.Segments, p.Batches, p.Records, p.Bytes, state(&p.Inspection))
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
	_, err := fmt.Fprintln(s.out, gap+verdict(found))
	return err
}

// state is a partition's state in a word or two.
func state(i *log.Inspection) string {
	n := 0
	for _, f := range i.Findings {
		if f.Grade == i.Worst() {
			n++
		}
	}
	switch i.Worst() {
	case log.Damage:
		return "damaged: " + count(int64(n+i.Unlisted), "place")
	case log.Mend:
		return "to mend: " + count(int64(n), "place")
	}
	if i.Closed {
		return "sound"
	}
	return "sound, not closed"
}

// verdict sums up in a line.
func verdict(found *runnel.Inspection) string {
	var bytes, records int64
	for _, p := range found.Partitions {
		bytes += p.Bytes
		records += p.Records
	}
	what := fmt.Sprintf("%s, %s, %s", count(int64(len(found.Partitions)), "partition"), count(records, "record"), size(bytes))
	switch found.Worst() {
	case log.Damage:
		return what + ": DAMAGED."
	case log.Mend:
		return what + ": sound; what is to mend, opening or runnel repair mends."
	}
	return what + ": sound."
}

// showFinding prints a finding in three lines: what and where, what should be
// there and what is, what to do.
func showFinding(w io.Writer, dir string, f log.Finding) error {
	file := f.File
	if rel, err := filepath.Rel(dir, file); err == nil {
		file = rel
	}
	where := fmt.Sprintf("%s at byte %d", file, f.Pos)
	if f.Offset >= 0 {
		where += fmt.Sprintf(", offset %d", f.Offset)
	}
	if f.Grade == log.Damage && f.Next > f.Offset && f.Offset >= 0 {
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
}

// verifyLines prints a line for each partition and each finding.
func (s *shell) verifyLines(found *runnel.Inspection) error {
	all := found.Findings
	for _, p := range found.Partitions {
		line := inspectedLine{p.Topic, p.Partition, p.Closed, p.Segments, p.Batches, p.Records, p.Bytes, p.Start, p.End, [...]string{"sound", "mend", "damage"}[p.Worst()]}
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

// meter shows on a terminal how far a long reading is.
type meter struct {
	w     io.Writer // nil: nobody looks
	began time.Time
	shown time.Time
}

func (s *shell) newMeter() *meter {
	m := &meter{began: time.Now()}
	if s.watched {
		m.w = s.errs
	}
	return m
}

// show replaces the line on the terminal, a few times a second.
func (m *meter) show(done, total int64) {
	now := time.Now()
	if m.w == nil || now.Sub(m.shown) < 200*time.Millisecond {
		return
	}
	m.shown = now
	fmt.Fprintf(m.w, "\r\x1b[K%s", progressLine(done, total, now.Sub(m.began)))
}

// end clears the line.
func (m *meter) end() {
	if m.w != nil && !m.shown.IsZero() {
		fmt.Fprint(m.w, "\r\x1b[K")
	}
}

// progressLine says how far something is that has done some of total bytes in a
// time; a total below 0 is not known.
func progressLine(done, total int64, took time.Duration) string {
	rate := float64(done) / max(took.Seconds(), 1e-3)
	line := fmt.Sprintf("%s, %s/s", size(done), size(int64(rate)))
	if total <= 0 {
		return line
	}
	left := time.Duration(float64(total-done) / max(rate, 1) * float64(time.Second))
	return fmt.Sprintf("%3d%% of %s, %s/s, %s left", 100*done/total, size(total), size(int64(rate)), left.Round(time.Second))
}

// size is a number of bytes for people.
func size(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n), "B"
	for _, next := range []string{"kB", "MB", "GB", "TB"} {
		if f < 1000 {
			break
		}
		f, unit = f/1000, next
	}
	return fmt.Sprintf("%.1f %s", f, unit)
}
