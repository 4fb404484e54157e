// Command wordcount is examples/wordcount of the root module on a Kafka cluster:
// only the constructor of the backend differs.
//
//	go run ./examples/wordcount kafka://HOST:PORT [FILE]
//
// The counts go to standard output, sorted by word. Stopped with Ctrl-C and
// started again with the same text, it goes on where it was.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/runnel-go/runnel/examples/wordcount/wordcount"
	"github.com/runnel-go/runnel/kafka"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "wordcount:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, text io.Reader, counts, progress io.Writer) (err error) {
	if len(args) == 0 || !strings.HasPrefix(args[0], kafka.Scheme) {
		return errors.New("usage: wordcount kafka://HOST:PORT [FILE]")
	}
	if len(args) > 1 {
		f, err := os.Open(args[1])
		if err != nil {
			return err
		}
		defer f.Close()
		text = f
	}

	cluster, err := kafka.Connect(args[0])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cluster.Close()) }()
	return wordcount.Run(ctx, cluster, wordcount.Job{Text: text, Counts: counts, Progress: progress})
}
