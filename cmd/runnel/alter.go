package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/topic"
)

func newTopicAlter(s *shell) *cobra.Command {
	var set, unset []string
	cmd := &cobra.Command{
		Use: "alter NAME... --config NAME=VALUE", Short: "Change topics' settings",
		Long: `Change settings of topics; the others stay. --unset resets a setting to its
default. The old and the new values are printed.`,
		Example: `  runnel topic alter orders --config retention.ms=86400000
  runnel topic alter users logins --config cleanup.policy=compact --unset retention.ms`,
		Args: atLeast(1, "the topics' names"),
		RunE: func(cmd *cobra.Command, names []string) error {
			if len(set)+len(unset) == 0 {
				return usageError{hinted{errors.New("there is nothing to change"), "say --config NAME=VALUE or --unset NAME; runnel topic describe NAME shows what is set"}}
			}
			change := func(c *topic.Config) error {
				for _, entry := range set {
					if err := setConfig(c, entry); err != nil {
						return err
					}
				}
				for _, name := range unset {
					if err := c.Unset(name); err != nil {
						return err
					}
				}
				return nil
			}
			if err := change(&topic.Config{}); err != nil {
				return err // before anything is opened
			}
			return s.with(cmd.Context(), false, func(ctx context.Context, b backend) error {
				return s.alter(ctx, b, names, change)
			})
		},
	}
	cmd.Flags().StringArrayVarP(&set, "config", "c", nil, "a setting, `name=value`; may be repeated")
	cmd.Flags().StringArrayVar(&unset, "unset", nil, "the `name` of a setting that gets its default; may be repeated")
	return cmd
}

// alter changes topics' configurations. Everything is checked before anything is
// changed.
func (s *shell) alter(ctx context.Context, b backend, names []string, change func(*topic.Config) error) error {
	described, err := s.describe(ctx, b, names)
	if err != nil {
		return err
	}
	changed := make([]topic.Config, len(described))
	for i, d := range described {
		changed[i] = d.Config
		err := change(&changed[i])
		if err == nil {
			err = changed[i].Validate()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", d.Name, err)
		}
	}
	t := newTable("TOPIC", "SETTING", "WAS", "IS")
	for i, d := range described {
		if err := b.ConfigureTopic(ctx, d.Name, changed[i]); err != nil {
			return err
		}
		for _, name := range topic.SettingNames() {
			was, is := valueOf(d.Config, name), valueOf(changed[i], name)
			if was == is {
				continue
			}
			if !s.tables() {
				if err := s.line(map[string]string{"topic": d.Name, "setting": name, "was": was, "is": is}); err != nil {
					return err
				}
			}
			t.row(d.Name, name, was, is)
		}
	}
	switch {
	case len(t.rows) == 0:
		fmt.Fprintln(s.errs, "Nothing has changed: that is what it was.")
		return nil
	case !s.tables():
		return nil
	}
	return t.print(s.out)
}

// valueOf formats a setting for people.
func valueOf(c topic.Config, name string) string {
	for _, e := range c.Entries() {
		if e.Name == name {
			return e.Value
		}
	}
	for _, e := range c.WithDefaults().Entries() {
		if e.Name == name {
			return e.Value + " (default)"
		}
	}
	return "default"
}

func newAddPartitions(s *shell) *cobra.Command {
	var total counter
	cmd := &cobra.Command{
		Use: "add-partitions NAME --total N", Short: "Raise a topic's number of partitions",
		Long: `Raise the number of a topic's partitions to a total. It cannot be lowered. Records
stay where they are, and keys map to other partitions than before.`,
		Example: `  runnel topic add-partitions orders --total 6`,
		Args:    exactly(1, "a topic's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if total == 0 {
				return usageError{hinted{errors.New("add-partitions needs --total"), "it is the new number of partitions, including the existing ones"}}
			}
			return s.with(cmd.Context(), false, func(ctx context.Context, b backend) error {
				return s.addPartitions(ctx, b, args[0], int(total))
			})
		},
	}
	cmd.Flags().Var(&total, "total", "the new `number` of partitions")
	return cmd
}

func (s *shell) addPartitions(ctx context.Context, b backend, name string, total int) error {
	described, err := s.describe(ctx, b, []string{name})
	if err != nil {
		return err
	}
	was := len(described[0].Partitions)
	if total <= was && !(s.again && total == was) {
		return hinted{
			fmt.Errorf("topic %s has %s already, and cannot have fewer", name, count(int64(was), "partition")),
			"--total is how many there are to be, with those that are there",
		}
	}
	if err := s.done(b.AddPartitions(ctx, name, total), fault.InvalidPartitions); err != nil {
		return err
	}
	if !s.tables() {
		return s.line(map[string]any{"topic": name, "partitions": total, "added": total - was})
	}
	_, err = fmt.Fprintf(s.out, "Topic %s has %s now, %d of them new.\n", name, count(int64(total), "partition"), total-was)
	return err
}
