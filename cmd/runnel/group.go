package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

func newGroup(s *shell) *cobra.Command {
	return group("group", "List, describe, reset and delete consumer groups",
		"A group shares the partitions of topics among its members and remembers\nhow far it has read.",
		`  runnel group list
  runnel group describe billing
  runnel group reset billing --to start --dry-run`,
		newGroupList(s), newGroupDescribe(s), newGroupReset(s), newGroupDelete(s))
}

func newGroupList(s *shell) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List groups",
		Long:    "List groups, their states and how many members they have.",
		Example: `  runnel group list`,
		Args:    exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.with(cmd.Context(), false, func(ctx context.Context, b backend) error {
				groups, err := b.Groups(ctx)
				if err != nil {
					return err
				}
				t := newTable("GROUP", "STATE", "#MEMBERS")
				for _, g := range groups {
					if !s.tables() {
						line := map[string]any{"group": g.Name, "state": g.State, "members": g.Members}
						if err := s.line(line); err != nil {
							return err
						}
					}
					t.row(g.Name, g.State, g.Members)
				}
				switch {
				case !s.tables():
					return nil
				case len(groups) == 0:
					fmt.Fprintf(s.errs, "There are no groups in %s yet: runnel consume TOPIC --group NAME%s\n", s.at, s.atFlag())
					return nil
				}
				return t.print(s.out)
			})
		},
	}
}

func newGroupDescribe(s *shell) *cobra.Command {
	return &cobra.Command{
		Use: "describe NAME...", Short: "Show how far groups have read, and their members",
		Long: `Show for each partition how far a group has read (CURRENT-OFFSET), where the
log ends, how many offsets lie between, and which member reads it.`,
		Example: `  runnel group describe billing
  runnel group describe billing --json | jq .lag`,
		Args: atLeast(1, "groups' names"),
		RunE: func(cmd *cobra.Command, names []string) error {
			return s.with(cmd.Context(), false, func(ctx context.Context, b backend) error {
				t := newTable("GROUP", "TOPIC", "#PARTITION", "#CURRENT-OFFSET", "#LOG-END-OFFSET", "#LAG", "MEMBER", "CLIENT")
				for _, name := range names {
					lines, err := s.describeGroup(ctx, b, name)
					if err != nil {
						return err
					}
					for _, l := range lines {
						if !s.tables() {
							if err := s.line(l); err != nil {
								return err
							}
						}
						t.row(l.Group, l.Topic, l.Partition, maybe(l.Current), maybe(l.End), maybe(l.Lag), dash(l.Member), dash(l.Client))
					}
				}
				if !s.tables() {
					return nil
				}
				return t.print(s.out)
			})
		},
	}
}

// groupLine is a group's progress in one partition.
type groupLine struct {
	Group     string `json:"group"`
	State     string `json:"state"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Current   *int64 `json:"currentOffset"`
	End       *int64 `json:"logEndOffset"`
	Lag       *int64 `json:"lag"`
	Metadata  string `json:"metadata,omitempty"`
	Member    string `json:"member,omitempty"`
	Client    string `json:"client,omitempty"`
}

func maybe(n *int64) string {
	if n == nil {
		return "-"
	}
	return fmt.Sprint(*n)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// describeGroup returns a line for each partition that the group has committed
// for or that a member owns.
func (s *shell) describeGroup(ctx context.Context, b backend, name string) ([]groupLine, error) {
	described, err := b.DescribeGroups(ctx, name)
	if errors.Is(err, fault.GroupNotFound) {
		return nil, s.unknownGroup(ctx, b, name, err)
	}
	if err != nil {
		return nil, err
	}
	offsets, err := b.GroupOffsets(ctx, name)
	if err != nil {
		return nil, err
	}
	owners := map[record.TopicPartition]consumer.Member{}
	for _, m := range described[0].Members {
		for _, tp := range m.Assigned {
			owners[tp] = m
		}
	}
	all := map[record.TopicPartition]bool{}
	for tp := range offsets {
		all[tp] = true
	}
	for tp := range owners {
		all[tp] = true
	}
	var lines []groupLine
	for _, tp := range slices.SortedFunc(maps.Keys(all), record.TopicPartition.Compare) {
		l := groupLine{
			Group: name, State: string(described[0].State), Topic: tp.Topic, Partition: tp.Partition,
			Member: owners[tp].ID, Client: owners[tp].ClientID,
		}
		if o, ok := offsets[tp]; ok {
			l.Current, l.Metadata = &o.Offset, o.Metadata
		}
		end, err := b.ListOffsets(ctx, topic.Latest(), tp)
		switch {
		case errors.Is(err, fault.UnknownTopic): // deleted since then
		case err != nil:
			return nil, err
		default:
			last := end[tp].Offset
			l.End = &last
			if l.Current != nil {
				lag := max(0, last-*l.Current)
				l.Lag = &lag
			}
		}
		lines = append(lines, l)
	}
	return lines, nil
}

func (s *shell) unknownGroup(ctx context.Context, b backend, name string, err error) error {
	groups, listErr := b.Groups(ctx)
	if listErr != nil {
		return err
	}
	names := make([]string, len(groups))
	for i, g := range groups {
		names[i] = g.Name
	}
	hint := "runnel group list" + s.atFlag() + " shows what there is"
	if near := topic.Nearest(name, names); len(near) > 0 {
		hint = "did you mean " + strings.Join(near, ", ") + "?"
	}
	return hinted{fmt.Errorf("there is no group %q in %s", name, s.at), hint}
}
