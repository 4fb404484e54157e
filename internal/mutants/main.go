// Package main plants bugs, one at a time, runs the tests that should catch each,
// and prints what survived: `make mutants`.
//
// The bugs are in table/, one file per package that they are planted in. Each has
// a name, a file, the text that it changes there, and the command that fails then:
//
//	=== read-one-record-too-many
//	file: log/read.go
//	test: go test -run '^TestRead$' ./log
//	< 	if n >= limit {
//	> 	if n > limit {
//
// Lines that begin with # are for the reader. The work tree is never changed: the
// go command is given the changed file as an overlay. A bug that cannot be
// planted, because the text is not there exactly once or because what comes of it
// does not compile, is an error, and so is a command that runs no test. A test of
// this package holds the table to the sources.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

func main() {
	only := flag.String("only", "", "plant the bugs whose names or files this regular expression matches")
	parallel := flag.Int("parallel", max(1, runtime.NumCPU()/2), "how many at once")
	output := flag.Bool("v", false, "print what the commands printed where they did not catch the bug")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ok, err := run(ctx, *only, *parallel, *output)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// run plants the bugs of the tree in the working directory and reports whether
// all were caught.
func run(ctx context.Context, only string, parallel int, output bool) (bool, error) {
	match, err := regexp.Compile(only)
	if err != nil {
		return false, err
	}
	root, err := os.Getwd()
	if err != nil {
		return false, err
	}
	all, err := readTable(filepath.Join(root, "internal", "mutants", "table"))
	if err != nil {
		return false, err
	}
	var chosen []mutant
	for _, m := range all {
		if match.MatchString(m.name) || match.MatchString(m.file) {
			chosen = append(chosen, m)
		}
	}
	scratch, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(scratch)

	results := make([]result, len(chosen))
	slots := make(chan struct{}, max(1, parallel))
	var running sync.WaitGroup
	for i, m := range chosen {
		slots <- struct{}{}
		running.Go(func() {
			results[i] = plant(ctx, root, scratch, m)
			fmt.Fprintf(os.Stderr, "%s: %s\n", m.name, results[i].verdict)
			<-slots
		})
	}
	running.Wait()
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	return report(chosen, results, output), nil
}

// report prints the table, the caught ones first, and reports whether there are
// no others.
func report(chosen []mutant, results []result, output bool) bool {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	counts := make(map[verdict]int)
	for v := caught; v <= broken; v++ {
		for i, m := range chosen {
			if r := results[i]; r.verdict == v {
				counts[v]++
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", v, m.name, m.file, r.took.Round(100*time.Millisecond), r.why)
			}
		}
	}
	w.Flush()
	for i, m := range chosen {
		if r := results[i]; output && r.verdict != caught {
			fmt.Printf("\n--- %s: %s\n%s\n", m.name, m.test, strings.TrimSpace(r.output))
		}
	}
	fmt.Printf("\n%d planted, %d caught, %d survived, %d could not be planted\n", len(chosen), counts[caught], counts[survived], counts[broken])
	return counts[caught] == len(chosen)
}
