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

// Exit codes other than 0, 1 for a failure, and those that a command defines.
const (
	exitUsage       = 2   // the arguments make no sense
	exitInterrupted = 130 // 128 + SIGINT
	exitPipe        = 141 // 128 + SIGPIPE: the reader of the output has gone
)

// run is the whole program. It returns the exit code. It closes the directory
// first, whatever ends the program, including a closed terminal or pipe.
func run() int {
	ending := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup ignores it
		ending = append(ending, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ending...)
	defer stop()
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // so that a write fails instead
	s := &shell{
		in: os.Stdin, out: os.Stdout, errs: os.Stderr,
		people: isTerminal(os.Stdout), watched: isTerminal(os.Stderr),
	}
	root := newRoot(s)
	root.SetArgs(os.Args[1:])
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, syscall.EPIPE):
		return exitPipe
	case errors.As(err, new(usageError)):
		s.explain(inOurWords(os.Args[1:], err))
		return exitUsage
	}
	s.explain(err)
	if e, ok := errors.AsType[exitError](err); ok {
		return e.code
	}
	return 1
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
