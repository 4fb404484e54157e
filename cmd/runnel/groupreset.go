package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// resetFlags are the flags of group reset.
type resetFlags struct {
	to, shift string
	topics    []string
	dryRun    bool
}

func newGroupReset(s *shell) *cobra.Command {
	f := &resetFlags{}
	cmd := &cobra.Command{
		Use: "reset NAME --to WHERE", Short: "Change the offsets of a group",
		Long: `Set the offsets of a group that has no members, so that it continues from there.
The command first prints them; with --dry-run it does nothing else. It applies to
all topics that the group has offsets for, or to those that --topic names, which
may be new to the group.

--to is start, end, an offset, a time (2026-05-01T12:00) or how long ago (90m).
--shift moves each offset by a number of records: -10 repeats ten, +10 skips ten.
Both stay between the first record and the end.`,
		Example: `  runnel group reset billing --to start --dry-run
  runnel group reset billing --to 2026-05-01T12:00 --topic orders
  runnel group reset billing --to 1000 --topic orders:0,2
  runnel group reset billing --shift -10`,
		Args: exactly(1, "a group's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			by, to, err := f.parse(cmd)
			if err != nil {
				return err
			}
			return s.with(cmd.Context(), false, func(ctx context.Context, b backend) error {
				return s.reset(ctx, b, args[0], f, by, to)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.to, "to", "", "`where` to continue: start, end, an offset, a time, how long ago")
	flags.StringVar(&f.shift, "shift", "", "move by so many `records`, forward or back: +10, -10")
	flags.StringArrayVar(&f.topics, "topic", nil, "only this `topic`, or these partitions of it (orders:0,2); may be repeated")
	flags.BoolVar(&f.dryRun, "dry-run", false, "only print the offsets")
	return cmd
}

// parse returns the new position, or by how much to shift; then to is the zero
// value.
func (f *resetFlags) parse(cmd *cobra.Command) (by *int64, to topic.OffsetSpec, err error) {
	given := cmd.Flags().Changed
	switch {
	case given("to") == given("shift"):
		return nil, to, usageError{hinted{errors.New("reset needs --to or --shift"), "--to is start, end, an offset, a time or how long ago; --shift is a number of records, such as -10"}}
	case given("to") && f.to == "":
		return nil, to, usageError{errors.New("--to is empty")}
	case given("to"):
		to, err = parseFrom(f.to, time.Now())
		return nil, to, err
	}
	n, err := strconv.ParseInt(f.shift, 10, 64)
	if err != nil {
		return nil, to, usageError{hinted{fmt.Errorf("--shift %s: it must be a number of records", shellQuoted(f.shift)), "-10 repeats ten, +10 skips ten"}}
	}
	return &n, to, nil
}

// resetLine is the change of one offset.
type resetLine struct {
	Group     string `json:"group"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Was       *int64 `json:"was"`
	New       int64  `json:"newOffset"`
	Start     int64  `json:"logStartOffset"`
	End       int64  `json:"logEndOffset"`
}

func (s *shell) reset(ctx context.Context, b backend, name string, f *resetFlags, by *int64, to topic.OffsetSpec) error {
	committed, err := b.GroupOffsets(ctx, name)
	if errors.Is(err, fault.GroupNotFound) && len(f.topics) > 0 {
		err = nil // the group gets its first offsets
	}
	if errors.Is(err, fault.GroupNotFound) {
		return s.unknownGroup(ctx, b, name, err)
	}
	if err != nil {
		return err
	}
	tps, err := s.resetScope(ctx, b, name, f.topics, committed)
	if err != nil {
		return err
	}
	if err := s.withoutMembers(ctx, b, name); err != nil && !f.dryRun {
		return err
	}
	lines, err := resetLines(ctx, b, name, tps, committed, by, to)
	if err != nil {
		return err
	}
	if !f.dryRun { // before printing, because a command that has printed is not restarted elsewhere
		offsets := make(map[record.TopicPartition]consumer.Offset, len(lines))
		for _, l := range lines {
			offsets[record.TopicPartition{Topic: l.Topic, Partition: l.Partition}] = consumer.Offset{Offset: l.New, LeaderEpoch: -1}
		}
		if err := b.SetGroupOffsets(ctx, name, offsets); err != nil {
			return s.busy(name, err)
		}
	}
	if err := s.printReset(lines); err != nil {
		return err
	}
	if f.dryRun {
		fmt.Fprintln(s.errs, "Nothing was changed, because of --dry-run.")
	}
	return nil
}

// resetScope returns the partitions that a reset applies to.
func (s *shell) resetScope(ctx context.Context, b backend, group string, topics []string, committed map[record.TopicPartition]consumer.Offset) ([]record.TopicPartition, error) {
	var tps []record.TopicPartition
	if len(topics) == 0 {
		tps = slices.SortedFunc(maps.Keys(committed), record.TopicPartition.Compare)
		if len(tps) == 0 {
			return nil, hinted{fmt.Errorf("group %s has no offsets yet", group), "name the topics with --topic"}
		}
		return tps, nil
	}
	for _, entry := range topics {
		name, list, some := strings.Cut(entry, ":")
		var chosen partitionList
		if some {
			if err := chosen.Set(list); err != nil {
				return nil, usageError{hinted{fmt.Errorf("--topic %s: %w", shellQuoted(entry), err), "write a topic's name, or name:0,2"}}
			}
		}
		described, err := s.describe(ctx, b, []string{name})
		if err != nil {
			return nil, err
		}
		of, err := chosen.of(described[0])
		if err != nil {
			return nil, err
		}
		tps = append(tps, of...)
	}
	slices.SortFunc(tps, record.TopicPartition.Compare)
	return slices.Compact(tps), nil
}

// resetLines returns the new offsets, in order. Offsets of deleted topics do
// not change.
func resetLines(ctx context.Context, b backend, group string, tps []record.TopicPartition, committed map[record.TopicPartition]consumer.Offset, by *int64, to topic.OffsetSpec) ([]resetLine, error) {
	var lines []resetLine
	for _, tp := range tps {
		start, err := b.ListOffsets(ctx, topic.Earliest(), tp)
		if errors.Is(err, fault.UnknownTopic) {
			continue
		}
		if err != nil {
			return nil, err
		}
		end, err := b.ListOffsets(ctx, topic.Latest(), tp)
		if err != nil {
			return nil, err
		}
		l := resetLine{Group: group, Topic: tp.Topic, Partition: tp.Partition, Start: start[tp].Offset, End: end[tp].Offset}
		if was, ok := committed[tp]; ok {
			l.Was = &was.Offset
		}
		switch {
		case by == nil:
			found, err := resolve(ctx, b, to, []record.TopicPartition{tp})
			if err != nil {
				return nil, err
			}
			l.New = found[tp]
		case l.Was == nil:
			return nil, hinted{fmt.Errorf("group %s has no offset in %s to shift", group, tp), "--to gives it one"}
		default:
			l.New = shifted(*l.Was, *by, l.Start, l.End)
		}
		lines = append(lines, l)
	}
	return lines, nil
}

// shifted returns a shifted offset, limited to the log.
func shifted(offset, by, start, end int64) int64 {
	offset = min(max(offset, start), end)
	if by > end-offset {
		return end
	}
	return max(offset+by, start)
}

func (s *shell) printReset(lines []resetLine) error {
	t := newTable("GROUP", "TOPIC", "#PARTITION", "#WAS", "#NEW-OFFSET", "#LOG-START-OFFSET", "#LOG-END-OFFSET")
	for _, l := range lines {
		if !s.tables() {
			if err := s.line(l); err != nil {
				return err
			}
		}
		t.row(l.Group, l.Topic, l.Partition, maybe(l.Was), l.New, l.Start, l.End)
	}
	if !s.tables() {
		return nil
	}
	return t.print(s.out)
}

// withoutMembers returns an error if a group has members.
func (s *shell) withoutMembers(ctx context.Context, b backend, name string) error {
	described, err := b.DescribeGroups(ctx, name)
	if errors.Is(err, fault.GroupNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if n := len(described[0].Members); n > 0 {
		return s.busy(name, fault.Newf(fault.NonEmptyGroup, "%s has %s", name, count(int64(n), "member")))
	}
	return nil
}

// busy adds a hint about the members of a group.
func (s *shell) busy(name string, err error) error {
	if !errors.Is(err, fault.NonEmptyGroup) {
		return err
	}
	return hinted{err, "end them first; runnel group describe " + name + s.atFlag() + " shows them"}
}

func newGroupDelete(s *shell) *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME...", Short: "Delete groups with their offsets",
		Long:    `Delete groups that have no members, with all that they have committed.`,
		Example: `  runnel group delete billing`,
		Args:    atLeast(1, "groups' names"),
		RunE: func(cmd *cobra.Command, names []string) error {
			return s.with(cmd.Context(), false, func(ctx context.Context, b backend) error {
				for _, name := range names { // check first, so that a typing error deletes nothing
					_, err := b.DescribeGroups(ctx, name)
					if errors.Is(err, fault.GroupNotFound) && !s.again {
						return s.unknownGroup(ctx, b, name, err)
					}
					if err := s.withoutMembers(ctx, b, name); err != nil {
						return err
					}
				}
				if err := s.done(b.DeleteGroups(ctx, names...), fault.GroupNotFound); err != nil {
					return s.busy(strings.Join(names, " "), err)
				}
				return s.deleted("group", names)
			})
		},
	}
}

// deleted prints what was deleted.
func (s *shell) deleted(what string, names []string) error {
	for _, name := range names {
		if !s.tables() {
			if err := s.line(map[string]string{"deleted": name}); err != nil {
				return err
			}
			continue
		}
		if _, err := fmt.Fprintf(s.out, "Deleted %s %s.\n", what, name); err != nil {
			return err
		}
	}
	return nil
}
