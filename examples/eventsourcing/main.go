// Command eventsourcing computes the balances of accounts from their events:
//
//	go run ./examples/eventsourcing [--at DIR] [FILE]
//
// It executes the commands of a file, one per line, or built-in ones, and
// prints each with its event or the reason why it was refused. Then it prints
// the balances, as they are and as they were half way, and the whole history of
// one account. It reads all of that from the events and nothing else. With --at
// the events are kept in a directory, and the next run continues with them.
package main

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"text/tabwriter"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/examples/eventsourcing/ledger"
)

//go:embed commands.txt
var commands string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "eventsourcing:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("eventsourcing", flag.ContinueOnError)
	at := flags.String("at", "", "keep the events in this `directory`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var from io.Reader = strings.NewReader(commands)
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
	l, err := ledger.Open(ctx, broker)
	if err != nil {
		return err
	}
	defer l.Close()
	if l.Next() > 0 {
		fmt.Fprintf(out, "%d events are there already.\n\n", l.Next())
	}
	if err := carryOut(ctx, l, from, out); err != nil {
		return err
	}
	return report(ctx, l, out)
}

// carryOut executes commands, one per line.
func carryOut(ctx context.Context, l *ledger.Ledger, from io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(from)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		command, err := ledger.ParseCommand(line)
		if err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		e, err := l.Do(ctx, command)
		var refused ledger.Refused
		switch {
		case errors.As(err, &refused):
			fmt.Fprintf(out, "    %-32s  %v\n", line, refused)
		case err != nil:
			return err
		default:
			fmt.Fprintf(out, "%3d %-32s  %v\n", e.Number, line, e.Event)
		}
	}
	return lines.Err()
}

// report prints the balances now and half way, and the history of the account
// that was opened first.
func report(ctx context.Context, l *ledger.Ledger, out io.Writer) error {
	half := l.Next() / 2
	then, err := l.Before(ctx, half)
	if err != nil {
		return err
	}
	fmt.Fprintln(out)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "balance\tnow\tbefore event %d\t\n", half)
	for _, account := range l.State().Accounts() {
		was := "-"
		if balance, existed := then[account]; existed {
			was = balance.String()
		}
		fmt.Fprintf(table, "%s\t%v\t%s\t\n", account, l.State()[account], was)
	}
	if err := table.Flush(); err != nil {
		return err
	}

	first := ""
	for e, err := range l.History(ctx) {
		if err != nil {
			return err
		}
		if first == "" {
			first = e.Account
			fmt.Fprintf(out, "\nThe history of %s\n", first)
		}
		if e.Account == first || e.To == first {
			fmt.Fprintf(out, "%3d  %s  %v\n", e.Number, e.Time.Format("2006-01-02 15:04"), e.Event)
		}
	}
	return nil
}
