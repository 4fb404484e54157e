package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
)

func newStreams(s *shell) *cobra.Command {
	run := group("run", "Run a streams application",
		"Run one of the streams applications that come with the tool.",
		"  runnel streams run wordcount --from quickstart-events --to word-counts",
		newWordCount(s))
	return group("streams", "Run a streams application",
		"A streams application reads topics, keeps state and writes topics.",
		"  runnel streams run wordcount --from quickstart-events --to word-counts", run)
}

// wordCountFlags are the flags of streams run wordcount.
type wordCountFlags struct {
	from, to, app string
	follow        bool
}

func newWordCount(s *shell) *cobra.Command {
	f := &wordCountFlags{}
	cmd := &cobra.Command{
		Use: "wordcount --from TOPIC --to TOPIC", Short: "Count the words of a topic's values",
		Long: `Count how often each word occurs in the values of a topic. The counts go to
another topic: the word is the key, the value its count as 8 bytes.

It ends when it has counted everything; with --follow it goes on until Ctrl-C.
Run again, it goes on where it stopped: --app is the name under which it
remembers.`,
		Example: `  runnel topic create word-counts
  runnel streams run wordcount --from quickstart-events --to word-counts
  runnel consume word-counts --value int64`,
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.from == "" || f.to == "" {
				return usageError{errors.New("wordcount needs --from TOPIC and --to TOPIC")}
			}
			return s.with(cmd.Context(), false, func(ctx context.Context, b backend) error {
				if _, err := s.describe(ctx, b, []string{f.from, f.to}); err != nil {
					return err
				}
				return s.wordCount(ctx, b, f)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.from, "from", "", "read the text from this `topic`")
	flags.StringVar(&f.to, "to", "", "write the counts to this `topic`")
	flags.StringVar(&f.app, "app", "wordcount", "the application's `name`")
	flags.BoolVarP(&f.follow, "follow", "f", false, "keep running, until Ctrl-C")
	return cmd
}

// wordCount runs the application.
func (s *shell) wordCount(ctx context.Context, b backend, f *wordCountFlags) error {
	lines := serde.For(f.from, serde.String, serde.String)
	totals := serde.For(f.to, serde.String, serde.Int64)
	app, err := streams.New(b, f.app, func(t *streams.Topology) {
		words := streams.FlatMapValues(streams.Stream(t, lines), func(line string) []string {
			return strings.Fields(strings.ToLower(line))
		})
		byWord := streams.GroupBy(words, func(_, word string) string { return word })
		streams.Count(byWord, "counts").ToStream().To(totals)
	})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- app.Run(running) }()
	if !f.follow {
		caught := app.CaughtUp(running)
		stop()
		if err := errors.Join(<-ended, caught); err != nil {
			return err
		}
		fmt.Fprintf(s.errs, "Counted all of %s into %s: runnel consume %s --value int64%s\n", f.from, f.to, f.to, s.atFlag())
		return nil
	}
	return <-ended
}
