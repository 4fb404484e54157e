// Command runnel works with topics, records and groups from a shell: in a data
// directory, which it opens itself or whose program it attaches to, or on a
// Kafka cluster.
//
//	runnel topic create quickstart-events --partitions 3
//	echo "这是第一条消息" | runnel produce quickstart-events
//	runnel consume quickstart-events
//
// Run runnel --help for the rest.
package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

func main() { os.Exit(run()) }

// run is the whole program; it returns the exit code: 0, 1 for a failure, 2 for
// arguments that make no sense, 130 when it was interrupted.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s := &shell{
		in: os.Stdin, out: os.Stdout, errs: os.Stderr,
		people: isTerminal(os.Stdout), watched: isTerminal(os.Stderr),
	}
	root := newRoot(s)
	root.SetArgs(os.Args[1:])
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return 130
	}
	s.explain(err)
	if errors.As(err, new(usageError)) {
		return 2
	}
	if e, ok := errors.AsType[exitError](err); ok {
		return e.code
	}
	return 1
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
