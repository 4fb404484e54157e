// Command wordcount counts the words of a file, or of its standard input:
//
//	go run ./examples/wordcount [--at DIR] [FILE]
//
// The counts go to standard output, sorted by word; the progress goes to
// standard error. With --at, topics and state are kept in a directory. Stopped
// with Ctrl-C and started again with the same text and directory, it continues
// where it stopped, and counts nothing twice. Killed, it counts twice what it
// had counted but not yet committed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/examples/wordcount/wordcount"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := command(ctx, os.Args[1:])
	stop()
	os.Exit(status)
}

// command runs the program and returns its exit code.
func command(ctx context.Context, args []string) int {
	err := run(ctx, args)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return 0
	}
	fmt.Fprintln(os.Stderr, "wordcount:", err)
	if ctx.Err() != nil {
		return 130 // the exit code of a shell for an interrupted program
	}
	return 1
}

func run(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("wordcount", flag.ContinueOnError)
	at := flags.String("at", "", "keep topics and state in this `directory`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	text, err := open(ctx, flags.Args())
	if err != nil {
		return err
	}
	defer text.Close()

	broker, err := runnel.OpenMemory()
	if *at != "" {
		broker, err = runnel.Open(*at)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, broker.Close()) }()
	err = wordcount.Run(ctx, broker, wordcount.Job{
		Text: text, Counts: os.Stdout, Progress: os.Stderr, Live: isTerminal(os.Stderr),
	})
	if err != nil && ctx.Err() != nil && *at != "" {
		err = fmt.Errorf("stopped; run it again with --at %s and the same text to go on", *at)
	}
	return err
}

// open opens the file that is named, or standard input.
func open(ctx context.Context, args []string) (io.ReadCloser, error) {
	switch len(args) {
	case 0:
		return interruptible(ctx, os.Stdin), nil
	case 1:
		return os.Open(args[0])
	}
	return nil, errors.New("one file, or none for standard input")
}

// interruptible returns a reader of from that ends with ctx. A read from a
// terminal cannot be ended: its goroutine runs until the program ends.
func interruptible(ctx context.Context, from io.Reader) io.ReadCloser {
	r, w := io.Pipe()
	context.AfterFunc(ctx, func() { r.CloseWithError(ctx.Err()) })
	go func() {
		_, err := io.Copy(w, from)
		w.CloseWithError(err)
	}()
	return r
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
