package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel/datadir"
	"github.com/runnel-go/runnel/log"
)

func newRepair(s *shell) *cobra.Command {
	var how datadir.RepairOptions
	yes := false
	cmd := &cobra.Command{
		Use: "repair [DIR]", Short: "Repair a damaged data directory",
		Long: `Repair a data directory, by default the one that --at names. Damaged files are
kept under another name, intact records are rewritten, and lost offsets are
listed. No record changes its offset. The command first prints what it would do
and asks, unless --yes is given.

The exit code is 1 if something remains that it cannot repair.`,
		Example: `  runnel repair data --dry-run
  runnel repair data --yes`,
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
			return s.repair(cmd.Context(), dir, how, yes)
		},
	}
	cmd.Flags().BoolVar(&how.DryRun, "dry-run", false, "print what would be done, and change nothing")
	cmd.Flags().BoolVar(&how.AcceptLoss, "accept-loss", false, "continue partitions that have lost their end, or everything")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func (s *shell) repair(ctx context.Context, dir string, how datadir.RepairOptions, yes bool) error {
	if err := s.thereIs(dir); err != nil {
		return exitError{err, 2}
	}
	meter := s.newMeter()
	plan := how
	plan.DryRun, plan.Progress = true, meter.show
	steps, err := datadir.Repair(ctx, dir, plan)
	meter.end()
	if err != nil {
		return exitError{err, 2}
	}
	if how.DryRun || len(steps) == 0 {
		return s.showSteps(dir, true, steps)
	}
	if !yes {
		if err := s.showSteps(dir, true, steps); err != nil && !errors.Is(err, errLeft) {
			return err
		}
		if err := s.ask("Do it?"); err != nil {
			return err
		}
	}
	meter = s.newMeter() // the wait for the answer does not count
	how.Progress = meter.show
	steps, err = datadir.Repair(ctx, dir, how)
	meter.end()
	return errors.Join(s.showSteps(dir, false, steps), err)
}

var errLeft = errors.New("not everything can be repaired")

// showSteps prints what a repair does or did, and how much that is.
func (s *shell) showSteps(dir string, dryRun bool, steps []log.Step) error {
	when := "done"
	if dryRun {
		when = "would be done"
	}
	for _, step := range steps {
		if err := s.showStep(s.out, dir, step); err != nil {
			return err
		}
	}
	refused := 0
	for _, step := range steps {
		if step.Refused {
			refused++
		}
	}
	sum := fmt.Sprintf("%s %s", count(int64(len(steps)-refused), "step"), when)
	switch {
	case len(steps) == 0:
		sum = "There is nothing to repair"
	case refused > 0:
		sum += fmt.Sprintf(", %d refused", refused)
	}
	if err := s.say(map[string]any{"steps": len(steps) - refused, "refused": refused, "dryRun": dryRun}, "%s.\n", sum); err != nil {
		return err
	}
	if refused > 0 {
		return hinted{errLeft, "what is refused stays as it is; runnel verify " + dir + " shows it"}
	}
	return nil
}

// stepLine is a step in JSON.
type stepLine struct {
	File     string `json:"file"`
	What     string `json:"what"`
	LostFrom *int64 `json:"lostFrom,omitempty"`
	LostTo   *int64 `json:"lostBefore,omitempty"`
	Refused  bool   `json:"refused,omitempty"`
}

func (s *shell) showStep(w io.Writer, dir string, step log.Step) error {
	lost := step.Lost[1] > step.Lost[0]
	if !s.tables() {
		line := stepLine{File: step.File, What: step.What, Refused: step.Refused}
		if lost {
			line.LostFrom, line.LostTo = &step.Lost[0], &step.Lost[1]
		}
		return s.line(line)
	}
	file := step.File
	if rel, err := filepath.Rel(dir, file); err == nil {
		file = rel
	}
	refused := ""
	if step.Refused {
		refused = "REFUSED: "
	}
	_, err := fmt.Fprintf(w, "%s\n    %s%s\n", file, refused, step.What)
	if err == nil && lost {
		_, err = fmt.Fprintf(w, "    lost: the offsets %d to %d\n", step.Lost[0], step.Lost[1]-1)
	}
	return err
}
