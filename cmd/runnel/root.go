package main

import (
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// shell is shared by all commands: the streams of the process and the flags
// that every command has.
type shell struct {
	in        *os.File
	out, errs io.Writer
	people    bool // out is a terminal
	watched   bool // errs is a terminal

	at          string
	json, table bool
	hurried     bool // completion is running: the user waits
	again       bool // the command has started again, on another backend
}

// tables reports whether output is for people.
func (s *shell) tables() bool { return s.table || s.people && !s.json }

// usageError is an error in the arguments.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// exitError is an error with the exit code that a command defines for it.
type exitError struct {
	error
	code int
}

func (e exitError) Unwrap() error { return e.error }

const (
	rootHelp = `Topics, records and groups in a directory or on a Kafka cluster; tables for people, JSON lines into a pipe.`

	rootExample = `  runnel consume quickstart-events --at kafka://localhost:9092`

	rootUsage = `{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}

{{end}}Usage: {{if .HasAvailableSubCommands}}{{.CommandPath}} COMMAND{{else}}{{.UseLine}}{{end}}
{{if .HasExample}}
Examples:
{{.Example}}
{{end}}{{if .HasAvailableSubCommands}}
Commands:{{range .Commands}}{{if and .IsAvailableCommand (not .Annotations.kind)}}
  {{rpad .Name .NamePadding}}  {{.Short}}{{end}}{{end}}
{{if not .HasParent}}  For data directories:{{range .Commands}}{{if eq .Annotations.kind "files"}} {{.Name}}{{end}}{{end}}
  For this tool:{{range .Commands}}{{if eq .Annotations.kind "tool"}} {{.Name}}{{end}}{{end}}
{{end}}{{end}}{{if .HasAvailableLocalFlags}}
Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}
{{end}}{{if .HasParent}}{{if .HasAvailableInheritedFlags}}
Flags of every command:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}
{{end}}{{end}}`
)

// newRoot returns the whole tree of commands.
func newRoot(s *shell) *cobra.Command {
	root := &cobra.Command{
		Use: "runnel", Long: rootHelp, Example: rootExample, Version: version(),
		SilenceErrors: true, SilenceUsage: true, Args: noSuchCommand, RunE: help,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if s.json && s.table {
				return usageError{errors.New("--json and --table exclude each other")}
			}
			return nil
		},
	}
	root.SetHelpTemplate(rootUsage)
	root.SetOut(s.out)
	root.SetErr(s.errs)
	root.SetHelpCommand(newHelp())
	root.SetFlagErrorFunc(flagError)
	flags := root.PersistentFlags()
	flags.StringVar(&s.at, "at", defaultAt(), "data `directory`, open or not, or kafka://host:port; default $RUNNEL_AT")
	flags.BoolVar(&s.json, "json", false, "print JSON lines")
	flags.BoolVar(&s.table, "table", false, "print tables, also into a pipe")
	root.AddCommand(newTopic(s), newProduce(s), newConsume(s), newGroup(s), newShare(s), newTransaction(s), newStreams(s), newCluster(s))
	for _, cmd := range []*cobra.Command{newBackup(s), newRestore(s), newImport(s), newVerify(s), newRepair(s), newRecovery(s), newDump(s), newClean(s)} {
		cmd.Annotations = map[string]string{"kind": "files"} // help lists these in one line, to fit on a screen
		root.AddCommand(cmd)
	}
	root.AddCommand(newVersion(s))
	root.InitDefaultVersionFlag()
	root.Flags().Lookup("version").Hidden = true // there is a command, and help fits on a screen
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "completion":
			describeCompletion(cmd)
			fallthrough
		case "version", "help":
			cmd.Annotations = map[string]string{"kind": "tool"}
		}
	}
	complete(s, root)
	return root
}

// defaultAt is the default of --at.
func defaultAt() string {
	if at := os.Getenv("RUNNEL_AT"); at != "" {
		return at
	}
	return "data"
}

// group returns a command that only has subcommands.
func group(name, short, long, example string, commands ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{Use: name, Short: short, Long: long, Example: example, Args: noSuchCommand, RunE: help}
	g.AddCommand(commands...)
	return g
}

func help(cmd *cobra.Command, _ []string) error { return cmd.Help() }

// noSuchCommand rejects arguments where only a subcommand is valid.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usageError{unknownCommand(cmd, args[0])}
}

// exactly and atLeast are cobra's, with errors that say what is missing.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return wrongArguments(cmd, what, len(args))
		}
		return nil
	}
}

func atLeast(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < n {
			return wrongArguments(cmd, what, len(args))
		}
		return nil
	}
}
