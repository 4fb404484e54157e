package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"time"
)

// Group is one job that several cases do.
type Group struct {
	Name  string
	Title string
	Cases []Case
}

// Case is one way of doing a group's job.
type Case struct {
	Name string
	Ack  string // what an acknowledgement guarantees
	Run  func(ctx context.Context, w *Work) (Sample, error)
}

// ours reports whether the case is Runnel's, and so worth a profile.
func (c Case) ours() bool { return strings.HasPrefix(c.Name, "runnel") }

// Sample is the measurement of one run of a case. Cases use a meter to fill it.
type Sample struct {
	Records int64
	Bytes   int64 // of keys and values, or of text
	Elapsed time.Duration
	Mallocs uint64
	Heap    uint64  // bytes allocated in total, so more than were in use at any time
	Latency Latency // of single operations, if the case measures them
}

// Latency is a distribution of durations.
type Latency struct {
	P50, P99, P999, Max time.Duration
}

// latencyOf sorts d.
func latencyOf(d []time.Duration) Latency {
	if len(d) == 0 {
		return Latency{}
	}
	slices.Sort(d)
	at := func(q float64) time.Duration { return d[min(len(d)-1, int(q*float64(len(d))))] }
	return Latency{P50: at(0.5), P99: at(0.99), P999: at(0.999), Max: d[len(d)-1]}
}

// RecordsPerSecond returns the sample's rate.
func (s Sample) RecordsPerSecond() float64 { return float64(s.Records) / s.Elapsed.Seconds() }

// MBPerSecond returns the sample's rate in millions of bytes.
func (s Sample) MBPerSecond() float64 { return float64(s.Bytes) / s.Elapsed.Seconds() / 1e6 }

// AllocsPerRecord returns how many objects the process allocated per record.
func (s Sample) AllocsPerRecord() float64 { return float64(s.Mallocs) / float64(s.Records) }

// meter measures the relevant part of a case, between start and done, and
// records a profile of it if requested.
type meter struct {
	began   time.Time
	before  runtime.MemStats
	profile bool
}

func (w *Work) start() meter {
	m := meter{profile: w.profile != nil}
	runtime.GC()
	if m.profile {
		// Fails only while another profile is taken.
		_ = pprof.StartCPUProfile(w.profile)
	}
	runtime.ReadMemStats(&m.before)
	m.began = time.Now()
	return m
}

func (m meter) done(records, bytes int64) Sample {
	elapsed := time.Since(m.began)
	if m.profile {
		pprof.StopCPUProfile()
	}
	var after runtime.MemStats
	runtime.ReadMemStats(&after)
	return Sample{
		Records: records, Bytes: bytes, Elapsed: elapsed,
		Mallocs: after.Mallocs - m.before.Mallocs, Heap: after.TotalAlloc - m.before.TotalAlloc,
	}
}

// once is done for a single operation, whose latency is the only measurement.
func (m meter) once(bytes int64) Sample {
	s := m.done(1, bytes)
	s.Latency = latencyOf([]time.Duration{s.Elapsed})
	return s
}

// Result is the measurements of all runs of a case.
type Result struct {
	Group, Case, Ack string
	Samples          []Sample
}

// Median returns the sample of the median rate.
func (r Result) Median() Sample {
	sorted := slices.Clone(r.Samples)
	slices.SortFunc(sorted, func(a, b Sample) int {
		return int(math.Copysign(1, a.RecordsPerSecond()-b.RecordsPerSecond()))
	})
	return sorted[len(sorted)/2]
}

// MedianLatency returns the median of the runs' median latencies, and the same
// for the other quantiles.
func (r Result) MedianLatency() Latency {
	of := func(pick func(Latency) time.Duration) time.Duration {
		var all []time.Duration
		for _, s := range r.Samples {
			all = append(all, pick(s.Latency))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	return Latency{
		P50:  of(func(l Latency) time.Duration { return l.P50 }),
		P99:  of(func(l Latency) time.Duration { return l.P99 }),
		P999: of(func(l Latency) time.Duration { return l.P999 }),
		Max:  of(func(l Latency) time.Duration { return l.Max }),
	}
}

// foreignTries is how often a case of another system is tried: on a slow machine its nodes
// may lose their leader, or its calls take longer than they may.
const foreignTries = 3

// runGroups runs every case of every group runs times, the cases of a group in
// turns.
func runGroups(ctx context.Context, groups []Group, w *Work, runs int, profiles string, progress func(format string, args ...any)) ([]Result, error) {
	var results []Result
	for _, g := range groups {
		first := len(results)
		for _, c := range g.Cases {
			results = append(results, Result{Group: g.Name, Case: c.Name, Ack: c.Ack})
		}
		for run := range runs {
			for i, c := range g.Cases {
				progress("%s: %s (%d of %d)", g.Name, c.Name, run+1, runs)
				sample, err := runCase(ctx, g, c, w, profiles)
				for left := foreignTries - 1; err != nil && !c.ours() && left > 0 && ctx.Err() == nil; left-- {
					progress("%s: %s: once more, after %v", g.Name, c.Name, err)
					sample, err = runCase(ctx, g, c, w, profiles)
				}
				if err != nil {
					return nil, fmt.Errorf("%s: %s: %w", g.Name, c.Name, err)
				}
				results[first+i].Samples = append(results[first+i].Samples, sample)
			}
		}
	}
	return results, nil
}

// runCase runs a case once, in a directory of its own.
func runCase(ctx context.Context, g Group, c Case, w *Work, profiles string) (sample Sample, err error) {
	own := *w
	if own.dir, err = os.MkdirTemp(w.dir, "case-"); err != nil {
		return Sample{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(own.dir)) }()
	if profiles != "" && c.ours() {
		f, err := os.Create(filepath.Join(profiles, fileName(g.Name+" "+c.Name)+".prof"))
		if err != nil {
			return Sample{}, err
		}
		own.profile = f
		defer func() { err = errors.Join(err, f.Close()) }()
	}
	return c.Run(ctx, &own)
}

func fileName(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(s))
}
