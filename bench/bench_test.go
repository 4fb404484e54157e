package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestEveryCaseCounts runs everything once, small: each case checks what it wrote
// and read.
func TestEveryCaseCounts(t *testing.T) {
	var out bytes.Buffer
	s := settings{records: 3000, words: 3000, runs: 1, dir: t.TempDir(), profiles: t.TempDir(), json: true}
	require.NoError(t, run(t.Context(), s, &out, io.Discard))

	var r report
	require.NoError(t, json.Unmarshal(out.Bytes(), &r))
	cases := 0
	for _, g := range groups() {
		cases += len(g.Cases)
	}
	require.Len(t, r.Results, cases)
	for _, l := range r.Results {
		require.Positive(t, l.Records, l.Case)
		require.Positive(t, l.RecordsPerSec, l.Case)
		require.Len(t, l.Rates, 1, l.Case)
	}
	require.Len(t, r.Targets, len(targets()), "a target names a case that there is not")

	left, err := os.ReadDir(s.dir)
	require.NoError(t, err)
	require.Empty(t, left)
	profiles, err := os.ReadDir(s.profiles)
	require.NoError(t, err)
	require.NotEmpty(t, profiles)
}

func TestTables(t *testing.T) {
	g := Group{Name: "g", Title: "a job", Cases: []Case{{Name: "runnel"}, {Name: "other"}}}
	results := []Result{
		{Group: "g", Case: "runnel", Ack: "written", Samples: []Sample{
			{Records: 1000, Bytes: 116_000, Elapsed: time.Millisecond, Mallocs: 10, Latency: Latency{P50: 800, P99: 2000, P999: 3000, Max: 20 * time.Millisecond}},
		}},
		{Group: "g", Case: "other", Ack: "written", Samples: []Sample{
			{Records: 100, Bytes: 11_600, Elapsed: 4 * time.Millisecond},
			{Records: 100, Bytes: 11_600, Elapsed: 1 * time.Millisecond},
			{Records: 100, Bytes: 11_600, Elapsed: 2 * time.Millisecond},
		}},
	}
	verdicts := check([]Target{
		{Group: "g", Case: "runnel", Versus: "other", Of: rate, AtLeast: 20},
		{Group: "g", Case: "runnel", Versus: "other", Of: rate, AtLeast: 21},
		{Group: "g", Case: "runnel", Of: allocs, AtMost: 0.05},
		{Group: "g", Case: "runnel", Versus: "missing", Of: rate, AtLeast: 1},
	}, results)
	var out bytes.Buffer
	r := newReport(settings{runs: 3}, results, verdicts)
	r.Machine = machine{"go", "linux", "amd64", 2}
	require.NoError(t, r.writeTables(&out, []Group{g}))
	require.Equal(t, `go linux/amd64, 2 processors; medians of 3 runs; keys of 16 bytes, values of 100

a job
  case                               done  records  elapsed  records/s  MB/s  allocs/record  runnel is    p50  p99  p99.9   max
  runnel                          written     1000      1ms     1.00 M   116          0.010      1.00x  800ns  2µs    3µs  20ms
  other                           written      100      2ms     50.0 k     6          0.000     20.00x                         

targets
  g: records/s of runnel to other      at least 20   20    met
  g: records/s of runnel to other      at least 21   20    MISSED
  g: allocations per record of runnel  at most 0.05  0.01  met
`, out.String())
}

func TestMedianOfRuns(t *testing.T) {
	var r Result
	for _, ms := range []time.Duration{5, 1, 3} {
		r.Samples = append(r.Samples, Sample{Records: 1, Elapsed: ms * time.Millisecond, Latency: Latency{P50: ms, P99: 10 - ms}})
	}
	require.Equal(t, 3*time.Millisecond, r.Median().Elapsed)
	require.Equal(t, Latency{P50: 3, P99: 7}, r.MedianLatency())
}

func TestLatencyOf(t *testing.T) {
	var d []time.Duration
	for i := range 1000 {
		d = append(d, time.Duration(999-i))
	}
	require.Equal(t, Latency{P50: 500, P99: 990, P999: 999, Max: 999}, latencyOf(d))
	require.Equal(t, Latency{}, latencyOf(nil))
}

func TestChoose(t *testing.T) {
	all := groups()
	chosen, err := choose(all, "")
	require.NoError(t, err)
	require.Len(t, chosen, len(all))
	chosen, err = choose(all, "reopen,produce")
	require.NoError(t, err)
	require.Equal(t, []string{"reopen", "produce"}, groupNames(chosen))
	_, err = choose(all, "nothing")
	require.ErrorContains(t, err, "there are produce, replay")
}

func TestNothingToDoIsAnError(t *testing.T) {
	require.Error(t, run(t.Context(), settings{runs: 1, words: 1}, io.Discard, io.Discard))
}

// TestWrongCountsFail shows that the checks can fail.
func TestWrongCountsFail(t *testing.T) {
	w := newWork(t.TempDir(), 10, 10)
	var read tally
	require.Error(t, read.check(1))
	read.add(w.key(5), w.value(5))
	require.NoError(t, read.check(1))
	read.add(w.key(5), w.value(5)[1:])
	require.Error(t, read.check(2))
	require.Error(t, checkCount(int64(3), 4))

	f, err := os.Create(w.path("raw"))
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteString("ababab\x00\x00")
	require.NoError(t, err)
	require.NoError(t, holds(f, []byte("ab"), 3))
	require.Error(t, holds(f, []byte("ab"), 2))
	require.Error(t, holds(f, []byte("ab"), 4))
}

// TestSharedSync appends from many goroutines: each append is there, whole.
func TestSharedSync(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "raw"))
	require.NoError(t, err)
	defer f.Close()
	s := newSharedFile(f)
	require.NoError(t, spread(300, writers, func(from, to int) error {
		for range to - from {
			if err := s.append([]byte("whole")); err != nil {
				return err
			}
		}
		return nil
	}))
	require.Equal(t, s.end, s.durable)
	require.NoError(t, holds(f, []byte("whole"), 300))
	require.NoError(t, f.Close())
	require.Error(t, s.append([]byte("whole")))
}

func TestText(t *testing.T) {
	w := newWork(t.TempDir(), 1, 10_001)
	require.Len(t, w.text, 1001)
	counts, total, _ := countWords(w.text)
	require.Equal(t, int64(10_001), total)
	require.Greater(t, len(counts), 500, "many words are rare")
	most := int64(0)
	for _, n := range counts {
		most = max(most, n)
	}
	require.Greater(t, most, int64(300), "few are frequent")
}
