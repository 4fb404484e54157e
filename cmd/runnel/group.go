package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel/topic"
)

func newGroup(s *shell) *cobra.Command {
	return group("group", "List, describe, reset and delete consumer groups",
		"A group shares the partitions of topics among its members and remembers\nhow far it has read.",
		`  runnel group list
  runnel group describe billing
  runnel group reset billing --to start --dry-run`,
		newGroupList(s), newGroupDescribe(s), newGroupReset(s), newGroupDelete(s), newGroupDeleteOffsets(s))
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
