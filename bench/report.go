package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"
)

// report is the output, and the form of the JSON.
type report struct {
	Machine machine      `json:"machine"`
	Records int          `json:"records"`
	Runs    int          `json:"runs"`
	Results []resultLine `json:"results"`
	Targets []verdict    `json:"targets"`
}

type machine struct {
	Go         string `json:"go"`
	OS         string `json:"os"`
	Arch       string `json:"arch"`
	Processors int    `json:"processors"`
}

// resultLine is the median of a case's runs. Latencies are in nanoseconds, and
// absent if single operations are not measured.
type resultLine struct {
	Group           string        `json:"group"`
	Case            string        `json:"case"`
	Acknowledged    string        `json:"acknowledged"`
	Records         int64         `json:"records"`
	Elapsed         time.Duration `json:"elapsed_ns"`
	RecordsPerSec   float64       `json:"records_per_second"`
	MBPerSec        float64       `json:"mb_per_second"`
	AllocsPerRecord float64       `json:"allocs_per_record"`
	AllocatedBytes  uint64        `json:"allocated_bytes"`
	Ratio           float64       `json:"ratio"` // of the group's first case's rate to this one's
	Latency         *latencyLine  `json:"latency_ns,omitempty"`
	Rates           []float64     `json:"runs_records_per_second"`
}

type latencyLine struct {
	P50  time.Duration `json:"p50"`
	P99  time.Duration `json:"p99"`
	P999 time.Duration `json:"p999"`
	Max  time.Duration `json:"max"`
}

// verdict is a target and its measured value.
type verdict struct {
	Target string  `json:"target"`
	Wanted string  `json:"wanted"`
	Got    float64 `json:"got"`
	Met    bool    `json:"met"`
}

func newReport(s settings, results []Result, verdicts []verdict) report {
	r := report{
		Machine: machine{runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU()},
		Records: s.records, Runs: s.runs, Targets: verdicts,
	}
	first := map[string]float64{}
	for _, result := range results {
		m := result.Median()
		if _, ok := first[result.Group]; !ok {
			first[result.Group] = m.RecordsPerSecond()
		}
		line := resultLine{
			Group: result.Group, Case: result.Case, Acknowledged: result.Ack, Records: m.Records, Elapsed: m.Elapsed,
			RecordsPerSec: m.RecordsPerSecond(), MBPerSec: m.MBPerSecond(), AllocsPerRecord: m.AllocsPerRecord(), AllocatedBytes: m.Heap,
			Ratio: first[result.Group] / m.RecordsPerSecond(),
		}
		for _, sample := range result.Samples {
			line.Rates = append(line.Rates, sample.RecordsPerSecond())
		}
		if l := result.MedianLatency(); l.Max > 0 {
			line.Latency = &latencyLine{l.P50, l.P99, l.P999, l.Max}
		}
		r.Results = append(r.Results, line)
	}
	return r
}

// check compares results with the targets whose cases were run.
func check(targets []Target, results []Result) (verdicts []verdict) {
	find := func(group, name string) (Result, bool) {
		for _, r := range results {
			if r.Group == group && r.Case == name {
				return r, true
			}
		}
		return Result{}, false
	}
	figure := func(r Result, of measure) float64 {
		switch of {
		case median:
			return float64(r.MedianLatency().P50)
		case allocs:
			return r.Median().AllocsPerRecord()
		case millis:
			return float64(r.MedianLatency().P50) / float64(time.Millisecond)
		case heap:
			return float64(r.Median().Heap) / (1 << 20)
		}
		return r.Median().RecordsPerSecond()
	}
	for _, t := range targets {
		ours, ok := find(t.Group, t.Case)
		if !ok {
			continue
		}
		v := verdict{Target: fmt.Sprintf("%s: %s of %s", t.Group, t.Of, t.Case), Got: figure(ours, t.Of)}
		if t.Versus != "" {
			theirs, ok := find(t.Group, t.Versus)
			if !ok {
				continue
			}
			v.Target += " to " + t.Versus
			v.Got /= figure(theirs, t.Of)
		}
		if t.AtLeast > 0 {
			v.Wanted, v.Met = fmt.Sprintf("at least %g", t.AtLeast), v.Got >= t.AtLeast
		} else {
			v.Wanted, v.Met = fmt.Sprintf("at most %g", t.AtMost), v.Got <= t.AtMost
		}
		verdicts = append(verdicts, v)
	}
	return verdicts
}

func (r report) writeJSON(out io.Writer) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// writeTables prints a table for each group and one of the targets. The column
// "runnel is" compares rates with the group's first line.
func (r report) writeTables(out io.Writer, groups []Group) error {
	fmt.Fprintf(out, "%s %s/%s, %d processors; medians of %d runs; keys of %d bytes, values of %d\n",
		r.Machine.Go, r.Machine.OS, r.Machine.Arch, r.Machine.Processors, r.Runs, keyLen, valueLen)
	for _, g := range groups {
		fmt.Fprintf(out, "\n%s\n", g.Title)
		t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(t, padded("case")+"\tdone\trecords\telapsed\trecords/s\tMB/s\tallocs/record\trunnel is\tp50\tp99\tp99.9\tmax\t")
		for _, l := range r.Results {
			if l.Group == g.Name {
				fmt.Fprintln(t, l.cells())
			}
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	if len(r.Targets) == 0 {
		return nil
	}
	fmt.Fprintln(out, "\ntargets")
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, v := range r.Targets {
		met := "met"
		if !v.Met {
			met = "MISSED"
		}
		fmt.Fprintf(t, "  %s\t%s\t%.3g\t%s\n", v.Target, v.Wanted, v.Got, met)
	}
	return t.Flush()
}

// padded pads a name to a width that all names fit into, so that columns are
// aligned across all tables.
func padded(name string) string { return fmt.Sprintf("%-30s", name) }

func (l resultLine) cells() string {
	latency := "\t\t\t"
	if l.Latency != nil {
		latency = strings.Join([]string{short(l.Latency.P50), short(l.Latency.P99), short(l.Latency.P999), short(l.Latency.Max)}, "\t")
	}
	return fmt.Sprintf("%s\t%s\t%d\t%s\t%s\t%.0f\t%.3f\t%.2fx\t%s\t", padded(l.Case), l.Acknowledged, l.Records,
		short(l.Elapsed), count(l.RecordsPerSec), l.MBPerSec, l.AllocsPerRecord, l.Ratio, latency)
}

// short prints a duration with three digits.
func short(d time.Duration) string {
	switch {
	case d < 10*time.Microsecond:
		return d.String()
	case d < 10*time.Millisecond:
		return d.Round(100 * time.Nanosecond).String()
	}
	return d.Round(100 * time.Microsecond).String()
}

// count prints a rate in thousands or millions.
func count(n float64) string {
	switch {
	case n >= 1e6:
		return fmt.Sprintf("%.2f M", n/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.1f k", n/1e3)
	}
	return fmt.Sprintf("%.1f", n)
}
