package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel/fault"
)

func newGroupDeleteOffsets(s *shell) *cobra.Command {
	var topics []string
	var dryRun bool
	cmd := &cobra.Command{
		Use: "delete-offsets NAME --topic TOPIC", Short: "Make a group forget its offsets of a topic",
		Long: `Delete the offsets that a group has committed for topics, or for some of their
partitions. No member may subscribe to them at the moment. A consumer of the
group that reads them again begins as one of a new group does. The command
prints what was committed; with --dry-run it does nothing else.`,
		Example: `  runnel group delete-offsets billing --topic orders
  runnel group delete-offsets billing --topic orders:0,2 --dry-run`,
		Args: exactly(1, "a group's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(topics) == 0 {
				return usageError{hinted{errors.New("delete-offsets needs --topic"), "runnel group delete deletes a group with all its offsets"}}
			}
			return s.with(cmd.Context(), false, func(ctx context.Context, b backend) error {
				return s.deleteOffsets(ctx, b, args[0], topics, dryRun)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&topics, "topic", nil, "of this `topic`, or of these partitions of it (orders:0,2); may be repeated")
	flags.BoolVar(&dryRun, "dry-run", false, "only print the offsets")
	return cmd
}

// forgottenLine is an offset that a group forgets.
type forgottenLine struct {
	Group     string `json:"group"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Was       int64  `json:"was"`
}

func (s *shell) deleteOffsets(ctx context.Context, b backend, name string, topics []string, dryRun bool) error {
	committed, err := b.GroupOffsets(ctx, name)
	if errors.Is(err, fault.GroupNotFound) {
		return s.unknownGroup(ctx, b, name, err)
	}
	if err != nil {
		return err
	}
	tps, err := s.resetScope(ctx, b, name, topics, committed)
	if err != nil {
		return err
	}
	if !dryRun { // before printing, because a command that has printed is not restarted elsewhere
		err := s.done(b.DeleteGroupOffsets(ctx, name, tps...), fault.GroupNotFound)
		if errors.Is(err, fault.GroupSubscribedToTopic) {
			return hinted{err, "end its members first; runnel group describe " + name + " --members" + s.atFlag() + " shows them"}
		}
		if err != nil {
			return err
		}
	}
	t := newTable("GROUP", "TOPIC", "#PARTITION", "#WAS")
	for _, tp := range tps {
		was, ok := committed[tp]
		if !ok {
			continue
		}
		if !s.tables() {
			if err := s.line(forgottenLine{name, tp.Topic, tp.Partition, was.Offset}); err != nil {
				return err
			}
		}
		t.row(name, tp.Topic, tp.Partition, was.Offset)
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
