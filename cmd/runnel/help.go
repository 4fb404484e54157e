package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// newHelp returns the help command, which is like --help.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND...]", Short: "Describe a command",
		Long:    "Describe a command, like its --help.",
		Example: "  runnel help\n  runnel help topic create",
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			about, err := commandOf(cmd.Root(), args)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var names []string
			for _, c := range about.Commands() {
				if c.IsAvailableCommand() {
					names = append(names, c.Name()+"\t"+c.Short)
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			about, err := commandOf(cmd.Root(), args)
			if err != nil {
				return err
			}
			return about.Help()
		},
	}
}

// commandOf returns the command that words name.
func commandOf(root *cobra.Command, words []string) (*cobra.Command, error) {
	at := root
	for _, word := range words {
		next := at
		for _, c := range at.Commands() {
			if c.Name() == word {
				next = c
			}
		}
		if next == at {
			return nil, usageError{unknownCommand(at, word)}
		}
		at = next
	}
	at.InitDefaultHelpFlag()
	return at, nil
}

// describeCompletion replaces the description of cobra's completion command.
func describeCompletion(cmd *cobra.Command) {
	cmd.Short = "Complete commands, topics and groups in a shell"
	cmd.Long = `Print what makes a shell complete commands, flags, topics, groups and settings
when Tab is pressed. Topics and groups are those of the directory or cluster that
--at or $RUNNEL_AT names.`
	cmd.Example = `  source <(runnel completion bash)                              # this shell
  runnel completion zsh > "${fpath[1]}/_runnel"                 # each new one
  runnel completion fish > ~/.config/fish/completions/runnel.fish`
	cmd.Args, cmd.RunE, cmd.Run = noSuchCommand, help, nil
	for _, shell := range cmd.Commands() {
		shell.Example = strings.TrimRight(map[string]string{
			"bash":       "  source <(runnel completion bash)",
			"zsh":        "  source <(runnel completion zsh)",
			"fish":       "  runnel completion fish | source",
			"powershell": "  runnel completion powershell | Out-String | Invoke-Expression",
		}[shell.Name()], " ")
	}
}
