package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/share"
	"github.com/runnel-go/runnel/topic"
)

func newShare(s *shell) *cobra.Command {
	return group("share", "List, describe, reset and delete share groups",
		"The members of a share group share the records of topics one by one, each of\nwhich is locked for one of them until it is acknowledged.",
		`  runnel share list
  runnel share describe workers
  runnel share reset workers --to start --dry-run`,
		newShareList(s), newShareDescribe(s), newShareReset(s), newShareDelete(s), newShareDeleteOffsets(s))
}

// withShares runs a command on the share groups of what --at names.
func (s *shell) withShares(ctx context.Context, do func(context.Context, backend, share.Admin) error) error {
	return s.with(ctx, false, func(ctx context.Context, b backend) error {
		admin, ok := b.(share.Admin)
		if !ok {
			return hinted{fmt.Errorf("share groups in %s: this program has none of a Kafka cluster", s.at), "kafka-share-groups.sh comes with Kafka"}
		}
		return do(ctx, b, admin)
	})
}

func newShareList(s *shell) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List share groups",
		Long:    "List the names of the share groups.",
		Example: `  runnel share list`,
		Args:    exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.withShares(cmd.Context(), func(ctx context.Context, _ backend, admin share.Admin) error {
				names, err := admin.ShareGroups(ctx)
				if err != nil {
					return err
				}
				t := newTable("GROUP")
				for _, name := range names {
					if !s.tables() {
						if err := s.line(map[string]any{"group": name}); err != nil {
							return err
						}
					}
					t.row(name)
				}
				switch {
				case !s.tables():
					return nil
				case len(names) == 0:
					fmt.Fprintf(s.errs, "There are no share groups in %s yet: share.New opens a member of one\n", s.at)
					return nil
				}
				return t.print(s.out)
			})
		},
	}
}

// shareLine is what a share group has of a partition.
type shareLine struct {
	Group     string   `json:"group"`
	Topic     string   `json:"topic"`
	Partition int32    `json:"partition"`
	Start     int64    `json:"startOffset"`
	End       int64    `json:"logEndOffset"`
	Lag       int64    `json:"lag"`
	Acquired  int64    `json:"acquired"`
	Delayed   int64    `json:"delayed"`
	Available int64    `json:"available"`
	Members   []string `json:"members"`
}

func newShareDescribe(s *shell) *cobra.Command {
	return &cobra.Command{
		Use: "describe NAME...", Short: "Show what share groups have of each partition",
		Long: `Show for each partition where a share group is: the first offset that is not
finished (START-OFFSET), where the log ends, and how many records lie between that
are not finished (LAG). Of these, members have some (ACQUIRED), some wait for their
time (DELAYED), and some were delivered and wait for a member (AVAILABLE).
The last column says how many members have records.`,
		Example: `  runnel share describe workers
  runnel share describe workers --json | jq .lag`,
		Args: atLeast(1, "share groups' names"),
		RunE: func(cmd *cobra.Command, names []string) error {
			return s.withShares(cmd.Context(), func(ctx context.Context, _ backend, admin share.Admin) error {
				var lines []shareLine
				for _, name := range names {
					d, err := s.describeShare(ctx, admin, name)
					if err != nil {
						return err
					}
					for _, p := range d.Partitions {
						l := shareLine{
							name, p.Topic, p.Partition, p.Start, p.End + p.New, p.Acquired + p.Delayed + p.Available + p.New, p.Acquired, p.Delayed, p.Available,
							append([]string{}, p.Members...),
						}
						lines = append(lines, l)
					}
				}
				t := newTable("GROUP", "TOPIC", "#PARTITION", "#START-OFFSET", "#LOG-END-OFFSET", "#LAG", "#ACQUIRED", "#DELAYED", "#AVAILABLE", "#MEMBERS")
				for _, l := range lines {
					if !s.tables() {
						if err := s.line(l); err != nil {
							return err
						}
					}
					t.row(l.Group, l.Topic, l.Partition, l.Start, l.End, l.Lag, l.Acquired, l.Delayed, l.Available, len(l.Members))
				}
				if !s.tables() {
					return nil
				}
				return t.print(s.out)
			})
		},
	}
}

// describeShare describes a share group, or says which ones there are.
func (s *shell) describeShare(ctx context.Context, admin share.Admin, name string) (share.GroupDescription, error) {
	d, err := admin.DescribeShareGroup(ctx, name)
	if !errors.Is(err, fault.GroupNotFound) {
		return d, err
	}
	names, listErr := admin.ShareGroups(ctx)
	if listErr != nil {
		return d, err
	}
	hint := "runnel share list" + s.atFlag() + " shows what there is"
	if near := topic.Nearest(name, names); len(near) > 0 {
		hint = "did you mean " + strings.Join(near, ", ") + "?"
	}
	return d, hinted{fmt.Errorf("there is no share group %q in %s", name, s.at), hint}
}

func newShareReset(s *shell) *cobra.Command {
	var where string
	var topics []string
	var dryRun bool
	cmd := &cobra.Command{
		Use: "reset NAME --to WHERE", Short: "Change where a share group continues",
		Long: `Have a share group continue from an offset, with no memory of deliveries. Its
members must have no records of the partitions at the moment. The command prints
the offsets; with --dry-run it does nothing else. It applies to all partitions that
the group has, or to those that --topic names, which may be new to the group.

--to is start, end, an offset, a time (2026-05-01T12:00) or how long ago (90m).`,
		Example: `  runnel share reset workers --to start --dry-run
  runnel share reset workers --to 2026-05-01T12:00 --topic jobs
  runnel share reset workers --to 1000 --topic jobs:0,2`,
		Args: exactly(1, "a share group's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if where == "" {
				return usageError{hinted{errors.New("reset needs --to"), "--to is start, end, an offset, a time or how long ago"}}
			}
			to, err := parseFrom(where, time.Now())
			if err != nil {
				return err
			}
			return s.withShares(cmd.Context(), func(ctx context.Context, b backend, admin share.Admin) error {
				return s.resetShare(ctx, b, admin, args[0], to, topics, dryRun)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&where, "to", "", "`where` to continue: start, end, an offset, a time, how long ago")
	flags.StringArrayVar(&topics, "topic", nil, "only this `topic`, or these partitions of it (jobs:0,2); may be repeated")
	flags.BoolVar(&dryRun, "dry-run", false, "only print the offsets")
	return cmd
}

// shareResetLine is where a share group continues in a partition.
type shareResetLine struct {
	Group     string `json:"group"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Was       *int64 `json:"was"`
	New       int64  `json:"newOffset"`
}

func (s *shell) resetShare(ctx context.Context, b backend, admin share.Admin, name string, to topic.OffsetSpec, topics []string, dryRun bool) error {
	d, err := admin.DescribeShareGroup(ctx, name)
	if errors.Is(err, fault.GroupNotFound) && len(topics) == 0 {
		_, err = s.describeShare(ctx, admin, name)
	}
	if err != nil && !errors.Is(err, fault.GroupNotFound) { // else --topic makes it
		return err
	}
	was := map[record.TopicPartition]*int64{}
	var tps []record.TopicPartition
	for _, p := range d.Partitions {
		was[p.TopicPartition] = &p.Start
		tps = append(tps, p.TopicPartition)
	}
	if len(topics) > 0 {
		if tps, err = s.resetScope(ctx, b, name, topics, nil); err != nil {
			return err
		}
	}
	found, err := resolve(ctx, b, to, tps)
	if err != nil {
		return err
	}
	if !dryRun { // before printing, because a command that has printed is not restarted elsewhere
		for _, tp := range tps {
			if err := admin.ResetShareGroup(ctx, name, topic.AtOffset(found[tp]), tp); err != nil {
				return s.sharesBusy(name, err)
			}
		}
	}
	t := newTable("GROUP", "TOPIC", "#PARTITION", "#WAS", "#NEW-OFFSET")
	for _, tp := range tps {
		if !s.tables() {
			if err := s.line(shareResetLine{name, tp.Topic, tp.Partition, was[tp], found[tp]}); err != nil {
				return err
			}
		}
		t.row(name, tp.Topic, tp.Partition, maybe(was[tp]), found[tp])
	}
	if s.tables() {
		if err := t.print(s.out); err != nil {
			return err
		}
	}
	if dryRun {
		fmt.Fprintln(s.errs, "Nothing was changed, because of --dry-run.")
	}
	return nil
}

// sharesBusy adds a hint about members that have records.
func (s *shell) sharesBusy(name string, err error) error {
	if !errors.Is(err, fault.NonEmptyGroup) {
		return err
	}
	return hinted{err, "end them first, or wait for the end of their locks; runnel share describe " + name + s.atFlag() + " shows how many"}
}

func newShareDelete(s *shell) *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME...", Short: "Delete share groups",
		Long: `Delete share groups whose members have no records at the moment, with all that
they know of records.`,
		Example: `  runnel share delete workers`,
		Args:    atLeast(1, "share groups' names"),
		RunE: func(cmd *cobra.Command, names []string) error {
			return s.withShares(cmd.Context(), func(ctx context.Context, _ backend, admin share.Admin) error {
				for _, name := range names { // check first, so that a typing error deletes nothing
					if _, err := s.describeShare(ctx, admin, name); err != nil && !s.again {
						return err
					}
				}
				for _, name := range names {
					if err := s.done(admin.DeleteShareGroup(ctx, name), fault.GroupNotFound); err != nil {
						return s.sharesBusy(name, err)
					}
				}
				return s.deleted("share group", names)
			})
		},
	}
}

func newShareDeleteOffsets(s *shell) *cobra.Command {
	var topics []string
	cmd := &cobra.Command{
		Use: "delete-offsets NAME --topic TOPIC", Short: "Make a share group forget what it knows of a topic",
		Long: `Make a share group forget what it knows of the records of topics, of which its
members must have none at the moment. Members that are there begin the topics as
those of a new group do. With its last topic the group itself is gone.`,
		Example: `  runnel share delete-offsets workers --topic jobs`,
		Args:    exactly(1, "a share group's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(topics) == 0 {
				return usageError{hinted{errors.New("delete-offsets needs --topic"), "runnel share delete deletes a share group with all that it knows"}}
			}
			return s.withShares(cmd.Context(), func(ctx context.Context, b backend, admin share.Admin) error {
				if _, err := s.describe(ctx, b, topics); err != nil {
					return err
				}
				if _, err := s.describeShare(ctx, admin, args[0]); err != nil && !s.again {
					return err
				}
				if err := s.done(admin.DeleteShareGroupOffsets(ctx, args[0], topics...), fault.GroupNotFound); err != nil {
					return s.sharesBusy(args[0], err)
				}
				for _, name := range topics {
					if !s.tables() {
						if err := s.line(map[string]any{"group": args[0], "forgotten": name}); err != nil {
							return err
						}
						continue
					}
					if _, err := fmt.Fprintf(s.out, "Share group %s has forgotten what it knew of %s.\n", args[0], name); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	cmd.Flags().StringArrayVar(&topics, "topic", nil, "of this `topic`; may be repeated")
	return cmd
}

func (s *shell) shareGroupNames(ctx context.Context) (names []string, err error) {
	err = s.withShares(ctx, func(ctx context.Context, _ backend, admin share.Admin) error {
		names, err = admin.ShareGroups(ctx)
		return err
	})
	return names, err
}
