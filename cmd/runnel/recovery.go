package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// recovered returns what opening a backend found, whether in this process or
// another.
func recovered(ctx context.Context, b backend) (runnel.Recovery, error) {
	switch b := b.(type) {
	case *runnel.Broker:
		return b.Recovery(), nil
	case *runnel.Remote:
		return b.Recovery(ctx)
	}
	return runnel.Recovery{}, usageError{errors.New("recovery opens a data directory, not a Kafka cluster")}
}

func newRecovery(s *shell) *cobra.Command {
	return &cobra.Command{
		Use: "recovery", Short: "Open a data directory and report what that found",
		Long: `Open the data directory that --at names, with all partitions, and report what
opening found and did: which were closed cleanly, how much was verified, what was
cut off and why, which indexes were rebuilt, and how long it took.

The exit code is 1 if a topic or a partition did not open.`,
		Example: `  runnel recovery --at ./data
  runnel recovery --json | jq 'select(.cut > 0)'`,
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.with(cmd.Context(), false, func(ctx context.Context, b backend) error {
				if _, err := recovered(ctx, b); err != nil {
					return err
				}
				failed, err := openAll(ctx, b, s.at)
				if err != nil {
					return err
				}
				r, err := recovered(ctx, b)
				if err != nil {
					return err
				}
				return s.showRecovery(withFailed(r, failed))
			})
		},
	}
}

// openAll makes a backend open all topics, and returns those that do not open.
func openAll(ctx context.Context, b topic.Admin, dir string) (failed []runnel.PartitionRecovery, err error) {
	there, err := partitionsIn(dir)
	if err != nil {
		return nil, err
	}
	for i, tp := range there {
		if tp.Topic == topic.ClusterMetadata || slices.ContainsFunc(there[:i], func(other record.TopicPartition) bool { return other.Topic == tp.Topic }) {
			continue
		}
		_, err := b.DescribeTopics(ctx, tp.Topic)
		switch {
		case ctx.Err() != nil || errors.Is(err, fault.Closed):
			return nil, err
		case err != nil && !errors.Is(err, fault.UnknownTopic): // deleted in the meantime, or an orphan
			failed = append(failed, runnel.PartitionRecovery{TopicPartition: record.TopicPartition{Topic: tp.Topic, Partition: -1}, Err: err})
		}
	}
	return failed, nil
}

// withFailed adds the topics that did not open to a recovery, except those that
// it has already: after an unclean shutdown, opening notes them itself.
func withFailed(r runnel.Recovery, failed []runnel.PartitionRecovery) runnel.Recovery {
	for _, f := range failed {
		if !slices.ContainsFunc(r.Partitions, func(p runnel.PartitionRecovery) bool { return p.Err != nil && p.Topic == f.Topic }) {
			r.Partitions = append(r.Partitions, f)
		}
	}
	return r
}

// unopened returns an error if anything did not open.
func unopened(r runnel.Recovery, dir string) error {
	topics, partitions := int64(0), int64(0)
	for _, p := range r.Partitions {
		switch {
		case p.Err != nil && p.Partition < 0:
			topics++
		case p.Err != nil:
			partitions++
		}
	}
	var what []string
	if topics > 0 {
		what = append(what, count(topics, "topic"))
	}
	if partitions > 0 {
		what = append(what, count(partitions, "partition"))
	}
	if what == nil {
		return nil
	}
	return hinted{errors.New(strings.Join(what, " and ") + " did not open"), "runnel verify " + dir + " says what is wrong"}
}

// placeOf returns a partition's name, or that of the topic if all of it is
// meant.
func placeOf(tp record.TopicPartition) string {
	if tp.Partition < 0 {
		return tp.Topic
	}
	return tp.String()
}

// recoveryLine is the result of opening a partition, in JSON.
type recoveryLine struct {
	Topic     string   `json:"topic"`
	Partition *int32   `json:"partition,omitempty"` // none: the topic did not open
	Clean     bool     `json:"clean"`
	Segments  int      `json:"segments"`
	Batches   int64    `json:"verifiedBatches"`
	Bytes     int64    `json:"verifiedBytes"`
	Cut       int64    `json:"cut"`
	Reason    string   `json:"reason,omitempty"`
	Indexes   int      `json:"rebuiltIndexes"`
	Restored  []string `json:"restored,omitempty"`
	Damage    []string `json:"damage,omitempty"`
	Error     string   `json:"error,omitempty"`
	Millis    float64  `json:"ms"`
}

func (s *shell) showRecovery(r runnel.Recovery) error {
	if !s.tables() {
		return s.recoveryLines(r)
	}
	t := newTable("PARTITION", "CLOSED", "#SEGMENTS", "#VERIFIED", "#BYTES", "#CUT", "#INDEXES", "#TIME")
	for _, p := range r.Partitions {
		if p.Err != nil {
			t.row(placeOf(p.TopicPartition), "-", "-", "-", "-", "-", "-", "-")
			continue
		}
		closed := "no"
		if p.Clean {
			closed = "yes"
		}
		t.row(p.TopicPartition, closed, p.Segments, p.Batches, p.Bytes, p.Cut, p.Indexes, p.Duration.Round(10*time.Microsecond))
	}
	if err := t.print(s.out); err != nil {
		return err
	}
	say := func(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }
	for _, p := range r.Partitions {
		if p.Cut > 0 {
			say("%s: %d bytes cut off: %s", p.TopicPartition, p.Cut, p.Reason)
		}
		for _, d := range slices.Concat(p.Restored, p.Damage) {
			say("%v", d)
		}
		if p.Err != nil {
			say("%s did not open: %v", placeOf(p.TopicPartition), p.Err)
		}
	}
	for _, tp := range r.Missing {
		if r.Clean {
			say("%s: its directory is missing", tp)
			continue
		}
		say("%s: its directory was missing; it was recreated, empty", tp)
	}
	for _, dir := range r.Removed {
		say("%s: the removal of a deleted topic was finished", dir)
	}
	for _, dir := range r.Orphans {
		say("%s: it belongs to no topic, and was not touched", dir)
	}
	closed := "was not closed by its last user"
	if r.Clean {
		closed = "was closed by its last user, or is new"
	}
	say("The directory %s; opening took %s.", closed, r.Duration.Round(10*time.Microsecond))
	return unopened(r, s.at)
}

func (s *shell) recoveryLines(r runnel.Recovery) error {
	for _, p := range r.Partitions {
		line := recoveryLine{
			Topic: p.Topic, Clean: p.Clean, Segments: p.Segments, Batches: p.Batches, Bytes: p.Bytes,
			Cut: p.Cut, Reason: p.Reason, Indexes: p.Indexes, Millis: float64(p.Duration.Microseconds()) / 1000,
		}
		if p.Partition >= 0 {
			line.Partition = &p.Partition
		}
		for _, d := range p.Restored {
			line.Restored = append(line.Restored, d.Error())
		}
		for _, d := range p.Damage {
			line.Damage = append(line.Damage, d.Error())
		}
		if p.Err != nil {
			line.Error = p.Err.Error()
		}
		if err := s.line(line); err != nil {
			return err
		}
	}
	err := s.line(map[string]any{
		"clean": r.Clean, "ms": float64(r.Duration.Microseconds()) / 1000,
		"missing": len(r.Missing), "removed": len(r.Removed), "orphans": len(r.Orphans),
	})
	if err != nil {
		return err
	}
	return unopened(r, s.at)
}
