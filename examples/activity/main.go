// Command activity tracks what the visitors of a site do:
//
//	go run ./examples/activity [--at DIR] [FILE]
//
// It reads a web server's access log, or a built-in one, publishes each line to
// the topic of its kind, and prints the results of three independent readers: a
// dashboard, the trending searches, and a monitor. With --at the topics are
// kept in a directory; every run adds to them, and the readers see only what is
// new.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/examples/activity/activity"
)

//go:embed access.log
var sample string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "activity:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("activity", flag.ContinueOnError)
	at := flags.String("at", "", "keep the topics in this `directory`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var from io.Reader = strings.NewReader(sample)
	if flags.NArg() > 0 {
		f, err := os.Open(flags.Arg(0))
		if err != nil {
			return err
		}
		defer f.Close()
		from = f
	}
	broker, err := runnel.OpenMemory()
	if *at != "" {
		broker, err = runnel.Open(*at)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, broker.Close()) }()
	return activity.Run(ctx, broker, from, out)
}
