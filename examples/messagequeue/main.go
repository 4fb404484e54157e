// Command messagequeue hashes the files of a directory with several workers
// that share a work queue:
//
//	go run ./examples/messagequeue [--workers N] [DIR]
//
// The checksums go to standard output as sha256sum prints them in DIR, sorted
// by name. Which worker did what goes to standard error. A file that cannot be
// read is tried three times and then given up, and makes the command fail.
// Without DIR it uses the current directory; it skips names that begin with a
// dot.
package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"os"
	"os/signal"
	"path"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/examples/messagequeue/queue"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "messagequeue:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	flags := flag.NewFlagSet("messagequeue", flag.ContinueOnError)
	flags.SetOutput(stderr)
	workers := flags.Int("workers", 4, "how many workers share the queue, 1 to 100")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *workers < 1 || *workers > 100 || flags.NArg() > 1 {
		return errors.New("usage: messagequeue [--workers 1..100] [DIR]")
	}
	dir := os.DirFS(cmp.Or(flags.Arg(0), "."))
	broker, err := runnel.OpenMemory()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, broker.Close()) }()
	outcomes, err := hashAll(ctx, broker, dir, *workers)
	if err != nil {
		return err
	}
	return report(outcomes, stdout, stderr)
}

// hashAll lets workers hash all files of a directory and returns the outcome of
// each.
func hashAll(ctx context.Context, backend queue.Backend, dir fs.FS, workers int) (outcomes []queue.Outcome, err error) {
	if err := queue.Create(ctx, backend, workers); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancelCause(ctx)
	var working sync.WaitGroup
	defer func() {
		stop(nil)
		working.Wait()
	}()
	for i := range workers {
		working.Go(func() {
			hash := func(_ context.Context, name string) (string, error) { return hashFile(dir, name) }
			if err := queue.Work(ctx, backend, fmt.Sprintf("worker-%d", i+1), hash); err != nil {
				stop(err)
			}
		})
	}
	n, err := queue.Enqueue(ctx, backend, files(dir))
	if err != nil {
		return nil, err
	}
	for outcome, err := range queue.Outcomes(ctx, backend, n) {
		if err != nil {
			return nil, context.Cause(ctx)
		}
		outcomes = append(outcomes, outcome)
	}
	return outcomes, nil
}

// files yields the names of all files below a directory.
func files(dir fs.FS) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		err := fs.WalkDir(dir, ".", func(name string, d fs.DirEntry, err error) error {
			switch {
			case err != nil && name == ".":
				return err
			case name != "." && strings.HasPrefix(path.Base(name), "."):
				if d.IsDir() {
					return fs.SkipDir
				}
			case d.Type().IsRegular() || d.Type()&fs.ModeSymlink != 0:
				if !yield(name, nil) {
					return fs.SkipAll
				}
			}
			return nil
		})
		if err != nil {
			yield("", err)
		}
	}
}

// hashFile returns the SHA-256 of a file.
func hashFile(dir fs.FS, name string) (string, error) {
	f, err := dir.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// report prints the outcomes.
func report(outcomes []queue.Outcome, stdout, stderr io.Writer) error {
	slices.SortFunc(outcomes, func(a, b queue.Outcome) int { return cmp.Compare(a.Job.Name, b.Job.Name) })
	done, failed := map[string]int{}, 0
	for _, o := range outcomes {
		if o.Error != "" {
			failed++
			fmt.Fprintf(stderr, "gave up after %d attempts: %s\n", o.Attempts, o.Error)
			continue
		}
		done[o.Worker]++
		if _, err := fmt.Fprintf(stdout, "%s  %s\n", o.Result, o.Job.Name); err != nil {
			return err
		}
	}
	table := tabwriter.NewWriter(stderr, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, worker := range slices.Sorted(maps.Keys(done)) {
		fmt.Fprintf(table, "%s\t%d files\t\n", worker, done[worker])
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d files could not be read", failed, len(outcomes))
	}
	return nil
}
