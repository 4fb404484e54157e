// Command quickstart is examples/quickstart of the root module on a Kafka
// cluster: only the constructor of the backend differs.
//
//	go run ./examples/quickstart [kafka://HOST:PORT] [FILE]
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/runnel-go/runnel/examples/quickstart/quickstart"
	"github.com/runnel-go/runnel/kafka"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	seeds := kafka.Scheme + "localhost:9092"
	if len(args) > 0 && strings.HasPrefix(args[0], kafka.Scheme) {
		seeds, args = args[0], args[1:]
	}
	text := io.Reader(strings.NewReader(quickstart.Text))
	if len(args) > 0 {
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		text = f
	}

	cluster, err := kafka.Connect(seeds)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cluster.Close()) }()
	return quickstart.Run(ctx, cluster, text, out)
}
