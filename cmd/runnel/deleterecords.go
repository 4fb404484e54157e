package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// deletion holds the flags of delete-records.
type deletion struct {
	before     string
	partitions partitionList
	dryRun     bool
}

func newDeleteRecords(s *shell) *cobra.Command {
	var d deletion
	cmd := &cobra.Command{
		Use: "delete-records NAME --before WHERE", Short: "Delete the oldest records of a topic",
		Long: `Delete the records of a topic that lie before an offset or a time; with
--before end, all. This cannot be undone. The topic remains, and offsets continue.

--before is end, an offset, a time (2026-05-01T12:00) or how long ago (90m). For
a time, records before the first one with that timestamp or a later one are
deleted. A partition that ends before an offset loses all its records.`,
		Example: `  runnel topic delete-records orders --before 24h --dry-run
  runnel topic delete-records orders --before 1000 --partition 0
  runnel topic delete-records orders --before end`,
		Args: exactly(1, "a topic's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if d.before == "" {
				return usageError{hinted{errors.New("delete-records needs --before"), "write end, an offset such as 42, a time such as 2026-05-01T12:00, or how long ago, such as 90m"}}
			}
			before, err := parseFrom(d.before, time.Now())
			if err != nil {
				return err
			}
			return s.with(cmd.Context(), false, func(ctx context.Context, b backend) error {
				return s.deleteRecords(ctx, b, args[0], before, d)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&d.before, "before", "", "delete records before this `place`: end, an offset, a time, how long ago")
	flags.Var(&d.partitions, "partition", "only in these `partitions`, such as 0,2")
	flags.BoolVar(&d.dryRun, "dry-run", false, "only say what would be deleted")
	return cmd
}

// cutLine is the change that delete-records makes to a partition.
type cutLine struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Was       int64  `json:"startWas"`
	Start     int64  `json:"start"`
	Deleted   int64  `json:"deletedOffsets"`
	End       int64  `json:"highWatermark"`
}

func (s *shell) deleteRecords(ctx context.Context, b backend, name string, before topic.OffsetSpec, d deletion) error {
	described, err := s.describe(ctx, b, []string{name})
	if err != nil {
		return err
	}
	tps, err := d.partitions.of(described[0])
	if err != nil {
		return err
	}
	cuts, err := resolve(ctx, b, before, tps)
	if err != nil {
		return err
	}
	starts := cuts
	if !d.dryRun {
		if starts, err = b.DeleteRecords(ctx, cuts); err != nil {
			return err
		}
	}
	t := newTable("TOPIC", "#PARTITION", "#START-WAS", "#START", "#DELETED", "#HIGH-WATERMARK")
	for _, tp := range tps {
		p := described[0].Partitions[tp.Partition]
		l := cutLine{name, tp.Partition, p.StartOffset, max(starts[tp], p.StartOffset), 0, p.HighWatermark}
		l.Deleted = l.Start - l.Was
		if !s.tables() {
			if err := s.line(l); err != nil {
				return err
			}
		}
		t.row(l.Topic, l.Partition, l.Was, l.Start, l.Deleted, l.End)
	}
	if s.tables() {
		if err := t.print(s.out); err != nil {
			return err
		}
	}
	if d.dryRun {
		fmt.Fprintln(s.errs, "Nothing was deleted, because of --dry-run.")
	}
	return nil
}

// resolve returns the offset that spec names in each of the partitions, between
// their first offset and their high watermark.
func resolve(ctx context.Context, b topic.Admin, spec topic.OffsetSpec, tps []record.TopicPartition) (map[record.TopicPartition]int64, error) {
	starts, err := b.ListOffsets(ctx, topic.Earliest(), tps...)
	if err != nil {
		return nil, err
	}
	ends, err := b.ListOffsets(ctx, topic.Latest(), tps...)
	if err != nil {
		return nil, err
	}
	found := make(map[record.TopicPartition]int64, len(tps))
	offset, fixed := spec.Offset()
	if !fixed {
		listed, err := b.ListOffsets(ctx, spec, tps...)
		if err != nil {
			return nil, err
		}
		for tp, l := range listed {
			found[tp] = l.Offset
		}
	}
	for _, tp := range tps {
		if fixed {
			found[tp] = offset
		}
		if starts[tp].Offset > ends[tp].Offset {
			return nil, fault.At(fault.OffsetOutOfRange, tp.Topic, tp.Partition, starts[tp].Offset)
		}
		found[tp] = min(max(found[tp], starts[tp].Offset), ends[tp].Offset)
	}
	return found, nil
}
