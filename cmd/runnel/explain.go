package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/topic"
)

// hinted is an error with a hint about what to do.
type hinted struct {
	error
	hint string
}

func (e hinted) Unwrap() error { return e.error }

// explain prints an error for people, whatever the output format: the error in
// one line, and the hint in the next.
func (s *shell) explain(err error) {
	text, hint := err.Error(), ""
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Hint != "" {
		text = strings.Replace(text, " ("+f.Hint+")", "", 1)
		hint = f.Hint
	}
	if h, ok := errors.AsType[hinted](err); ok {
		hint = h.hint
	}
	fmt.Fprintf(s.errs, "runnel: %s\n", text)
	if hint != "" {
		fmt.Fprintf(s.errs, "        %s\n", strings.ReplaceAll(hint, "\n", "\n        "))
	}
}

func wrongArguments(cmd *cobra.Command, what string, n int) error {
	return usageError{hinted{
		fmt.Errorf("%s takes %s, not %s", cmd.CommandPath(), what, count(int64(n), "argument")),
		"usage: " + cmd.UseLine(),
	}}
}

func unknownCommand(cmd *cobra.Command, name string) error {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	hint := cmd.CommandPath() + " has the commands " + strings.Join(names, ", ")
	if near := topic.Nearest(name, names); len(near) > 0 {
		hint = "did you mean " + cmd.CommandPath() + " " + near[0] + "?"
	}
	return hinted{fmt.Errorf("there is no command %q", cmd.CommandPath()+" "+name), hint}
}

// unknownTopic turns fault.UnknownTopic for a missing topic into an error that
// names similar ones and the command that creates it.
func (s *shell) unknownTopic(ctx context.Context, admin topic.Admin, name string, err error) error {
	if !errors.Is(err, fault.UnknownTopic) {
		return err
	}
	names, listErr := admin.Topics(ctx)
	if listErr != nil {
		return err
	}
	for _, known := range names {
		if known == name {
			return err // the topic exists, but a partition does not
		}
	}
	hint := ""
	if near := topic.Nearest(name, names); len(near) > 0 {
		hint = "did you mean " + strings.Join(near, ", ") + "?\n"
	}
	hint += "create it with: runnel topic create " + name + s.atFlag()
	return hinted{fmt.Errorf("there is no topic %q in %s", name, s.at), hint}
}

// atFlag returns the --at flag to repeat in a recommended command.
func (s *shell) atFlag() string {
	if s.at == defaultAt() {
		return ""
	}
	return " --at " + s.at
}
