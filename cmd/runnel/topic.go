package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/topic"
)

func newTopic(s *shell) *cobra.Command {
	return group("topic", "Create, describe, list, alter and delete topics",
		"A topic is a named, partitioned log of records.",
		`  runnel topic create orders --partitions 6 --config cleanup.policy=compact
  runnel topic describe orders
  runnel topic list`,
		newTopicCreate(s), newTopicDescribe(s), newTopicList(s), newTopicAlter(s),
		newAddPartitions(s), newDeleteRecords(s), newTopicDelete(s))
}

func newTopicCreate(s *shell) *cobra.Command {
	var spec topic.Spec
	var configs []string
	var ifMissing bool
	cmd := &cobra.Command{
		Use: "create NAME...", Short: "Create topics, all or none",
		Long: `Create topics. In a directory either all of them are created or none.

With --if-not-exists, those that are there stay: they get more partitions where
more are asked for, and what else is not as asked for is said.

The settings are Kafka's; beside them runnel.durability (memory, os or fsync)
says what a record must survive before it is acknowledged.`,
		Example: `  runnel topic create quickstart-events
  runnel topic create orders payments --partitions 6
  runnel topic create users --config cleanup.policy=compact --config retention.ms=-1`,
		Args: atLeast(1, "the topics' names"),
		RunE: func(cmd *cobra.Command, names []string) error {
			for _, c := range configs {
				if err := setConfig(&spec.Config, c); err != nil {
					return err
				}
			}
			specs := make([]topic.Spec, len(names))
			for i, name := range names {
				specs[i] = spec
				specs[i].Name = name
				if err := specs[i].Validate(); err != nil {
					return err
				}
			}
			return s.with(cmd.Context(), true, func(ctx context.Context, b backend) error {
				if ifMissing {
					return s.ensure(ctx, b, specs)
				}
				return s.create(ctx, b, specs)
			})
		},
	}
	cmd.Flags().IntVarP(&spec.Partitions, "partitions", "p", 0, "`number` of partitions; 0 is the backend's default")
	cmd.Flags().IntVar(&spec.Replicas, "replicas", 0, "`number` of copies of each; 0 is the backend's default")
	cmd.Flags().BoolVar(&ifMissing, "if-not-exists", false, "do not fail for topics that exist")
	cmd.Flags().StringArrayVarP(&configs, "config", "c", nil, "a setting, `name=value`; may be repeated")
	return cmd
}

// setConfig sets one name=value.
func setConfig(cfg *topic.Config, entry string) error {
	name, value, ok := strings.Cut(entry, "=")
	if !ok {
		return usageError{hinted{fmt.Errorf("%q is not a setting", entry), "write it as name=value, such as retention.ms=86400000"}}
	}
	return cfg.Set(name, value)
}

func (s *shell) create(ctx context.Context, b backend, specs []topic.Spec) error {
	err := s.done(b.CreateTopics(ctx, specs...), fault.TopicExists)
	if errors.Is(err, fault.TopicExists) {
		return hinted{err, "runnel topic describe" + s.atFlag() + " shows what there is; --if-not-exists leaves it"}
	}
	if err != nil {
		return err
	}
	names := make([]string, len(specs))
	for i, spec := range specs {
		names[i] = spec.Name
	}
	described, err := b.DescribeTopics(ctx, names...)
	if err != nil {
		return err
	}
	for _, d := range described {
		if !s.tables() {
			if err := s.line(topicJSON(d)); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(s.out, "Created topic %s with %s.\n", d.Name, count(int64(len(d.Partitions)), "partition"))
	}
	return nil
}

// ensureLine is the result of topic ensure for one topic, in JSON.
type ensureLine struct {
	Topic      string            `json:"topic"`
	Created    bool              `json:"created"`
	Partitions int               `json:"partitions"`
	Added      int               `json:"added"`
	Differs    map[string]string `json:"differs,omitempty"` // what is, by setting
}

func (s *shell) ensure(ctx context.Context, b backend, specs []topic.Spec) error {
	found, err := topic.Ensure(ctx, b, specs...)
	for _, f := range found {
		if s.tables() {
			fmt.Fprintf(s.out, "Topic %v.\n", f)
			continue
		}
		line := ensureLine{f.Name, f.Created, f.Partitions, f.Added, map[string]string{}}
		for _, d := range f.Differs {
			line.Differs[d.Setting] = d.Have
		}
		if err := s.line(line); err != nil {
			return err
		}
	}
	return err
}

func newTopicDescribe(s *shell) *cobra.Command {
	var offsets, replicas, under, unavailable bool
	cmd := &cobra.Command{
		Use: "describe [NAME...]", Short: "Show topics as kafka-topics.sh --describe does",
		Long: `Show topics and their partitions, all topics by default, in the words of
kafka-topics.sh --describe.

With --under-replicated-partitions, only partitions are shown of which a replica
is not in sync, and with --unavailable-partitions those without a leader.`,
		Example: `  runnel topic describe quickstart-events
  runnel topic describe quickstart-events --offsets
  runnel topic describe --replicas --under-replicated-partitions
  runnel topic describe --json | jq .name`,
		RunE: func(cmd *cobra.Command, names []string) error {
			return s.with(cmd.Context(), false, func(ctx context.Context, b backend) error {
				described, err := s.describe(ctx, b, names)
				if err != nil {
					return err
				}
				if under || unavailable {
					described = only(described, func(p topic.PartitionDescription) bool {
						return under && p.UnderReplicated() || unavailable && p.Leader < 0
					})
				}
				switch {
				case !s.tables():
					return s.describeJSON(described)
				case offsets:
					return describeOffsets(s.out, described)
				case replicas:
					return describeReplicas(s.out, described)
				}
				return describeTopics(s.out, described)
			})
		},
	}
	cmd.Flags().BoolVar(&offsets, "offsets", false, "show a table of each partition's offsets instead")
	cmd.Flags().BoolVar(&replicas, "replicas", false, "show a table of each partition's replicas instead")
	cmd.Flags().BoolVar(&under, "under-replicated-partitions", false, "only partitions with a replica that is not in sync")
	cmd.Flags().BoolVar(&unavailable, "unavailable-partitions", false, "only partitions without a leader")
	cmd.MarkFlagsMutuallyExclusive("offsets", "replicas")
	return cmd
}

// describe describes topics. The error for an unknown one has suggestions.
func (s *shell) describe(ctx context.Context, b backend, names []string) ([]topic.Description, error) {
	described, err := b.DescribeTopics(ctx, names...)
	if !errors.Is(err, fault.UnknownTopic) {
		return described, err
	}
	for _, name := range names {
		if _, one := b.DescribeTopics(ctx, name); one != nil {
			return nil, s.unknownTopic(ctx, b, name, one)
		}
	}
	return nil, err
}

// describeTopics prints what kafka-topics.sh --describe prints.
func describeTopics(w io.Writer, described []topic.Description) error {
	for _, d := range described {
		replicas := 0
		if len(d.Partitions) > 0 {
			replicas = len(d.Partitions[0].Replicas)
		}
		entries := make([]string, 0, 8)
		for _, e := range d.Config.Entries() {
			entries = append(entries, e.String())
		}
		_, err := fmt.Fprintf(w, "Topic: %s\tTopicId: %s\tPartitionCount: %d\tReplicationFactor: %d\tConfigs: %s\n",
			d.Name, d.ID, len(d.Partitions), replicas, strings.Join(entries, ","))
		if err != nil {
			return err
		}
		for _, p := range d.Partitions {
			_, err := fmt.Fprintf(w, "\tTopic: %s\tPartition: %d\tLeader: %s\tReplicas: %s\tIsr: %s\n",
				d.Name, p.Number, leaderOf(p), numbers(p.Replicas), numbers(p.ISR))
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// numbers joins numbers with commas.
func numbers(list []int32) string {
	return strings.Join(strings.Fields(strings.Trim(fmt.Sprint(list), "[]")), ",")
}

// only keeps the partitions that fit, and the topics that have some.
func only(described []topic.Description, fits func(topic.PartitionDescription) bool) []topic.Description {
	for i := range described {
		described[i].Partitions = slices.DeleteFunc(described[i].Partitions, func(p topic.PartitionDescription) bool { return !fits(p) })
	}
	return slices.DeleteFunc(described, func(d topic.Description) bool { return len(d.Partitions) == 0 })
}

// describeReplicas prints who leads, who is in sync, and how many records each follower
// lacks: 2:0,3:15.
func describeReplicas(w io.Writer, described []topic.Description) error {
	t := newTable("TOPIC", "#PARTITION", "LEADER", "#EPOCH", "REPLICAS", "ISR", "LAG")
	for _, d := range described {
		for _, p := range d.Partitions {
			lags := make([]string, len(p.Lag))
			for i, l := range p.Lag {
				lags[i] = fmt.Sprintf("%d:%s", l.Node, known(l.Records))
			}
			t.row(d.Name, p.Number, leaderOf(p), p.LeaderEpoch, numbers(p.Replicas), orDash(numbers(p.ISR)), orDash(strings.Join(lags, ",")))
		}
	}
	return t.print(w)
}

// leaderOf is a partition's leader for people.
func leaderOf(p topic.PartitionDescription) string {
	if p.Leader < 0 {
		return "none"
	}
	return fmt.Sprint(p.Leader)
}

// orDash is what a table shows where there is nothing.
func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func describeOffsets(w io.Writer, described []topic.Description) error {
	t := newTable("TOPIC", "#PARTITION", "#START", "#HIGH-WATERMARK", "#END", "#DURABLE", "#EPOCH", "#BYTES")
	for _, d := range described {
		for _, p := range d.Partitions {
			t.row(d.Name, p.Number, p.StartOffset, p.HighWatermark, p.EndOffset, known(p.DurableOffset), p.LeaderEpoch, known(p.Size))
		}
	}
	return t.print(w)
}

// known formats a number for which -1 means unknown.
func known(n int64) string {
	if n < 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

func newTopicList(s *shell) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List topics",
		Long: `List topics, their partitions, and how many offsets they span (RECORDS): the markers
that end transactions count, and so do records that compaction has removed.`,
		Example: `  runnel topic list
  runnel topic list --at kafka://localhost:9092 --json`,
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.with(cmd.Context(), false, func(ctx context.Context, b backend) error {
				described, err := b.DescribeTopics(ctx)
				if err != nil {
					return err
				}
				if !s.tables() {
					return s.describeJSON(described)
				}
				if len(described) == 0 {
					fmt.Fprintf(s.errs, "There are no topics in %s yet: runnel topic create NAME%s\n", s.at, s.atFlag())
					return nil
				}
				t := newTable("TOPIC", "#PARTITIONS", "#RECORDS")
				for _, d := range described {
					t.row(d.Name, len(d.Partitions), span(d))
				}
				return t.print(s.out)
			})
		},
	}
}

// span is how many offsets a topic holds: its number of records, unless some
// were compacted or transactions ended there.
func span(d topic.Description) int64 {
	n := int64(0)
	for _, p := range d.Partitions {
		n += p.HighWatermark - p.StartOffset
	}
	return n
}

func newTopicDelete(s *shell) *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME...", Short: "Delete topics with their records",
		Long:    `Delete topics with all their records. This cannot be undone.`,
		Example: `  runnel topic delete quickstart-events`,
		Args:    atLeast(1, "the topics' names"),
		RunE: func(cmd *cobra.Command, names []string) error {
			return s.with(cmd.Context(), false, func(ctx context.Context, b backend) error {
				// Check first, so that a typing error deletes nothing.
				if _, err := s.describe(ctx, b, names); err != nil && !s.again {
					return err
				}
				if err := s.done(b.DeleteTopics(ctx, names...), fault.UnknownTopic); err != nil {
					return err
				}
				return s.deleted("topic", names)
			})
		},
	}
}

// topicLine is a topic in JSON.
type topicLine struct {
	Name       string            `json:"name"`
	ID         string            `json:"id"`
	Configs    map[string]string `json:"configs"`
	Partitions []partitionLine   `json:"partitions"`
}

type partitionLine struct {
	Partition     int32   `json:"partition"`
	Leader        int32   `json:"leader"`
	LeaderEpoch   int32   `json:"leaderEpoch"`
	Replicas      []int32 `json:"replicas"`
	ISR           []int32 `json:"isr"`
	Lag           []lag   `json:"lag,omitempty"`
	StartOffset   int64   `json:"startOffset"`
	HighWatermark int64   `json:"highWatermark"`
	EndOffset     int64   `json:"endOffset"`
	DurableOffset *int64  `json:"durableOffset,omitempty"`
	Bytes         *int64  `json:"bytes,omitempty"`
}

// lag is how many records a follower lacks; none while its leader does not know.
type lag struct {
	Node    int32  `json:"node"`
	Records *int64 `json:"records,omitempty"`
}

func (s *shell) describeJSON(described []topic.Description) error {
	for _, d := range described {
		if err := s.line(topicJSON(d)); err != nil {
			return err
		}
	}
	return nil
}

func topicJSON(d topic.Description) topicLine {
	line := topicLine{Name: d.Name, ID: d.ID.String(), Configs: map[string]string{}}
	for _, e := range d.Config.Entries() {
		line.Configs[e.Name] = e.Value
	}
	for _, p := range d.Partitions {
		part := partitionLine{
			Partition: p.Number, Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, Replicas: p.Replicas, ISR: p.ISR,
			StartOffset: p.StartOffset, HighWatermark: p.HighWatermark, EndOffset: p.EndOffset,
		}
		for _, l := range p.Lag {
			of := lag{Node: l.Node}
			if l.Records >= 0 {
				of.Records = &l.Records
			}
			part.Lag = append(part.Lag, of)
		}
		if p.DurableOffset >= 0 {
			part.DurableOffset = &p.DurableOffset
		}
		if p.Size >= 0 {
			part.Bytes = &p.Size
		}
		line.Partitions = append(line.Partitions, part)
	}
	return line
}
