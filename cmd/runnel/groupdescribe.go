package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

func newGroupDescribe(s *shell) *cobra.Command {
	var members, state bool
	cmd := &cobra.Command{
		Use: "describe NAME...", Short: "Show how far groups have read, and their members",
		Long: `Show for each partition how far a group has read (CURRENT-OFFSET), where the
log ends, and how far the group is behind: how many offsets lie between (LAG),
and how old the first record is that it has not read (LAG-SECONDS, by the
record's timestamp). A partition in which the group has committed nothing has no
current offset, and counts with all its records. The last columns say which
member reads the partition.

--members shows the members instead, and --state one line for each group.`,
		Example: `  runnel group describe billing
  runnel group describe billing --members
  runnel group describe billing --json | jq .lagSeconds`,
		Args: atLeast(1, "groups' names"),
		RunE: func(cmd *cobra.Command, names []string) error {
			if members && state {
				return usageError{errors.New("--members and --state do not go together")}
			}
			return s.with(cmd.Context(), false, func(ctx context.Context, b backend) error {
				for _, name := range names { // first, so that a typing error is said before anything is printed
					if _, err := b.DescribeGroups(ctx, name); errors.Is(err, fault.GroupNotFound) {
						return s.unknownGroup(ctx, b, name, err)
					}
				}
				switch {
				case members:
					return s.describeMembers(ctx, b, names)
				case state:
					return s.describeStates(ctx, b, names)
				}
				return s.describeLags(ctx, b, names)
			})
		},
	}
	cmd.Flags().BoolVar(&members, "members", false, "show the members and their partitions")
	cmd.Flags().BoolVar(&state, "state", false, "show the groups' states")
	return cmd
}

// groupLine is a group's progress in one partition.
type groupLine struct {
	Group     string   `json:"group"`
	State     string   `json:"state"`
	Topic     string   `json:"topic"`
	Partition int32    `json:"partition"`
	Current   *int64   `json:"currentOffset"`
	End       *int64   `json:"logEndOffset"`
	Lag       *int64   `json:"lag"`
	Seconds   *float64 `json:"lagSeconds"`
	Metadata  string   `json:"metadata,omitempty"`
	Member    string   `json:"member,omitempty"`
	Client    string   `json:"client,omitempty"`
}

func maybe(n *int64) string {
	if n == nil {
		return "-"
	}
	return strconv.FormatInt(*n, 10)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// describeLags prints a line for each partition of the groups.
func (s *shell) describeLags(ctx context.Context, b backend, names []string) error {
	t := newTable("GROUP", "TOPIC", "#PARTITION", "#CURRENT-OFFSET", "#LOG-END-OFFSET", "#LAG", "#LAG-SECONDS", "MEMBER", "CLIENT")
	for _, name := range names {
		lines, err := lagLines(ctx, b, name)
		if err != nil {
			return err
		}
		never := 0
		for _, l := range lines {
			if l.Current == nil {
				never++
			}
			if !s.tables() {
				if err := s.line(l); err != nil {
					return err
				}
			}
			t.row(l.Group, l.Topic, l.Partition, maybe(l.Current), maybe(l.End), maybe(l.Lag), seconds(l.Seconds), dash(l.Member), dash(l.Client))
		}
		if never > 0 && s.tables() {
			fmt.Fprintf(s.errs, "%s has committed nothing in %d of %s.\n", name, never, count(int64(len(lines)), "partition"))
		}
	}
	if !s.tables() {
		return nil
	}
	return t.print(s.out)
}

func seconds(n *float64) string {
	if n == nil {
		return "-"
	}
	return strconv.FormatFloat(*n, 'f', 0, 64)
}

// lagLines returns a group's lines. What is unknown, or no longer there, is nil.
func lagLines(ctx context.Context, b backend, name string) ([]groupLine, error) {
	described, err := b.DescribeGroups(ctx, name)
	if err != nil {
		return nil, err
	}
	lags, err := consumer.Lag(ctx, b, name)
	if err != nil {
		return nil, err
	}
	lines := make([]groupLine, len(lags))
	for i, lag := range lags {
		l := groupLine{
			Group: name, State: string(described[0].State), Topic: lag.Topic, Partition: lag.Partition,
			Metadata: lag.Committed.Metadata, Member: lag.Member.ID, Client: lag.Member.ClientID,
		}
		if lag.Committed.Offset >= 0 {
			l.Current = &lag.Committed.Offset
		}
		if lag.End >= 0 {
			l.End, l.Lag = &lag.End, &lag.Records
			if lag.Age != consumer.UnknownAge {
				age := float64(lag.Age.Milliseconds()) / 1000
				l.Seconds = &age
			}
		}
		lines[i] = l
	}
	return lines, nil
}

// memberLine is a member of a group.
type memberLine struct {
	Group    string   `json:"group"`
	Member   string   `json:"member"`
	Instance string   `json:"instance,omitempty"`
	Client   string   `json:"client"`
	Epoch    int32    `json:"epoch"`
	Topics   []string `json:"topics"`
	Pattern  string   `json:"pattern,omitempty"`
	Assigned []string `json:"assigned"`
	Target   []string `json:"target"`
}

func (s *shell) describeMembers(ctx context.Context, b backend, names []string) error {
	described, err := b.DescribeGroups(ctx, names...)
	if err != nil {
		return err
	}
	t := newTable("GROUP", "MEMBER", "INSTANCE", "CLIENT", "#EPOCH", "#PARTITIONS", "ASSIGNED")
	for _, d := range described {
		for _, m := range d.Members {
			l := memberLine{
				Group: d.Name, Member: m.ID, Instance: m.InstanceID, Client: m.ClientID, Epoch: m.Epoch,
				Topics: m.Topics, Pattern: m.Pattern, Assigned: partitionNames(m.Assigned), Target: partitionNames(m.Target),
			}
			if !s.tables() {
				if err := s.line(l); err != nil {
					return err
				}
			}
			t.row(l.Group, l.Member, dash(l.Instance), dash(l.Client), l.Epoch, len(l.Assigned), dash(strings.Join(l.Assigned, ",")))
		}
	}
	if !s.tables() {
		return nil
	}
	return t.print(s.out)
}

func partitionNames(partitions []record.TopicPartition) []string {
	all := make([]string, len(partitions))
	for i, tp := range partitions {
		all[i] = tp.String()
	}
	return all
}

// stateLine is the state of a group.
type stateLine struct {
	Group    string `json:"group"`
	State    string `json:"state"`
	Epoch    int32  `json:"epoch"`
	Assignor string `json:"assignor"`
	Members  int    `json:"members"`
}

func (s *shell) describeStates(ctx context.Context, b backend, names []string) error {
	described, err := b.DescribeGroups(ctx, names...)
	if err != nil {
		return err
	}
	t := newTable("GROUP", "STATE", "#EPOCH", "ASSIGNOR", "#MEMBERS")
	for _, d := range described {
		l := stateLine{d.Name, string(d.State), d.Epoch, d.Assignor, len(d.Members)}
		if !s.tables() {
			if err := s.line(l); err != nil {
				return err
			}
		}
		t.row(l.Group, l.State, l.Epoch, dash(l.Assignor), l.Members)
	}
	if !s.tables() {
		return nil
	}
	return t.print(s.out)
}
