// Command quickstart does what Kafka's quickstart does, in one program:
//
//	go run ./examples/quickstart [--at DIR] [FILE]
//
// It writes the lines of a file, or of a built-in text, as events, reads them
// twice, counts their words, and cleans up. With --at, the topics are kept in a
// directory until then, else in memory.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/examples/quickstart/quickstart"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	at := flags.String("at", "", "keep the topics in this `directory`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	text := io.Reader(strings.NewReader(quickstart.Text))
	if flags.NArg() > 0 {
		f, err := os.Open(flags.Arg(0))
		if err != nil {
			return err
		}
		defer f.Close()
		text = f
	}

	broker, err := runnel.OpenMemory()
	if *at != "" {
		broker, err = runnel.Open(*at)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, broker.Close()) }()
	return quickstart.Run(ctx, broker, text, os.Stdout)
}
