package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
)

type settings struct {
	records, words, runs int
	only                 string
	dir, profiles        string
	json                 bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var s settings
	flag.IntVar(&s.records, "records", 2_000_000, "records that a fast case does")
	flag.IntVar(&s.words, "words", 4_000_000, "words to count")
	flag.IntVar(&s.runs, "runs", 3, "runs of each case, of which the median counts")
	flag.StringVar(&s.only, "only", "", "only these `groups`, with commas between: "+strings.Join(groupNames(groups()), ", "))
	flag.StringVar(&s.dir, "dir", "", "a `directory` on the disk to measure (default: the system's for temporary files)")
	flag.StringVar(&s.profiles, "profile", "", "a `directory` for CPU profiles of Runnel's cases")
	flag.BoolVar(&s.json, "json", false, "print JSON")
	flag.Parse()
	if err := run(ctx, s, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures what s asks for, prints the results to out, and its progress to
// progress.
func run(ctx context.Context, s settings, out, progress io.Writer) (err error) {
	chosen, err := choose(groups(), s.only)
	if err != nil {
		return err
	}
	if s.records < 1 || s.words < 1 || s.runs < 1 {
		return errors.New("-records, -words and -runs are at least 1")
	}
	if s.profiles != "" {
		if err := os.MkdirAll(s.profiles, 0o755); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp(s.dir, "runnel-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	results, err := runGroups(ctx, chosen, newWork(dir, s.records, s.words), s.runs, s.profiles,
		func(format string, args ...any) { fmt.Fprintf(progress, format+"\n", args...) })
	if err != nil {
		return err
	}
	report := newReport(s, results, check(targets(), results))
	if s.json {
		return report.writeJSON(out)
	}
	return report.writeTables(out, chosen)
}

func groupNames(groups []Group) (names []string) {
	for _, g := range groups {
		names = append(names, g.Name)
	}
	return names
}

// choose returns the groups named in only, or all if it is empty.
func choose(all []Group, only string) ([]Group, error) {
	if only == "" {
		return all, nil
	}
	var chosen []Group
	for name := range strings.SplitSeq(only, ",") {
		at := slices.Index(groupNames(all), name)
		if at < 0 {
			return nil, fmt.Errorf("there is no group %q; there are %s", name, strings.Join(groupNames(all), ", "))
		}
		chosen = append(chosen, all[at])
	}
	return chosen, nil
}
