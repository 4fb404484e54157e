package share

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/topic"
)

// world is a coordinator with its log and its time, and the bounds of one partition.
type world struct {
	t         require.TestingT
	c         *Coordinator
	log       []Record
	now       time.Time
	start     int64 // of the partition
	end       int64
	window    int
	attempts  int
	deadTopic bool
	lock      time.Duration
	unchecked bool // there is no log

	acquisitions int64 // how many there were
}

func newWorld(t require.TestingT) *world {
	return &world{t: t, c: New(), now: time.UnixMilli(1_000_000), window: 100, attempts: 5, lock: 30 * time.Second}
}

var jobs = Key{Group: "workers", Topic: topic.ID{1}, Partition: 0}

// took adds records to the log, and holds that the live state is that of the log.
func (w *world) took(records ...Record) {
	if w.unchecked {
		return
	}
	w.log = append(w.log, records...)
	require.Equal(w.t, w.c.parts, w.replay().parts, "the running state differs from its replay")
}

func (w *world) replay() *Coordinator {
	c := New()
	for _, r := range w.log {
		require.NoError(w.t, c.Apply(r.Key, r.Value))
	}
	return c
}

// snapshot replaces the log by a snapshot.
func (w *world) snapshot() {
	records, err := w.c.Snapshot()
	require.NoError(w.t, err)
	w.log = nil
	w.took(records...)
}

func (w *world) acquire(member string, n int) (Acquired, error) {
	w.acquisitions++
	return w.acquireAs(member, w.acquisitions, n)
}

// acquireAs makes an acquisition with a number.
func (w *world) acquireAs(member string, number int64, n int) (Acquired, error) {
	got, result, err := w.c.Acquire(jobs, Demand{
		Member: member, Acquisition: number, Max: n, Lock: w.lock, Attempts: w.attempts, DeadLetters: w.deadTopic,
		Window: w.window, From: w.start, To: w.end, High: w.end,
	}, w.now)
	w.took(result.Records...)
	return got, err
}

// acquisitionOf returns the number of the acquisition by which an offset is held.
func (w *world) acquisitionOf(offset int64) int64 {
	p := w.c.parts[jobs]
	if i := p.find(offset); i < len(p.runs) && p.runs[i].first <= offset {
		return p.runs[i].acquisition
	}
	return 0
}

// tell runs a command of a story, and returns what there is to compare.
func (w *world) tell(words []string) string {
	number := func(i int) int64 {
		n, err := strconv.ParseInt(words[i], 10, 64)
		require.NoError(w.t, err, words)
		return n
	}
	duration := func(i int) time.Duration {
		d, err := time.ParseDuration(words[i])
		require.NoError(w.t, err, words)
		return d
	}
	again := words[len(words)-1] == "again" // with the number of the latest acquisition
	if again {
		words = words[:len(words)-1]
	}
	switch words[0] {
	case "wait":
		w.now = w.now.Add(duration(1))
	case "records":
		w.start, w.end = number(1), number(2)
	case "attempts":
		w.attempts = int(number(1))
	case "window":
		w.window = int(number(1))
	case "dead-letters":
		w.deadTopic = true
	case "begin":
		r, err := w.c.Initialize(jobs, number(1), w.now)
		w.took(r.Records...)
		return name(err)
	case "acquire":
		if !again {
			w.acquisitions++
		}
		got, err := w.acquireAs(words[1], w.acquisitions, int(number(2)))
		if err != nil {
			return name(err)
		}
		return w.text(got)
	case "restart":
		w.c = w.replay()
		all, err := w.c.Unlock(w.now)
		for _, r := range all {
			w.took(r.Records...)
		}
		return name(err)
	case "move": // to another node
		w.c = w.replay()
	case "leave":
		r, err := w.c.Leave(jobs, words[1], w.now)
		w.took(r.Records...)
		return name(err)
	case "snapshot":
		w.snapshot()
	case "reset":
		r, err := w.c.Reset(jobs, number(1), w.now)
		w.took(r.Records...)
		return name(err)
	case "delete":
		r, err := w.c.Delete(words[1], topic.ID{}, w.now)
		w.took(r.Records...)
		return name(err)
	case "describe":
		all := w.c.Describe("workers", w.now)
		require.Len(w.t, all, 1)
		d := all[0]
		return fmt.Sprintf("%d to %d: %d acquired, %d delayed, %d available", d.Start, d.End, d.Acquired, d.Delayed, d.Available)
	default:
		kinds := map[string]Kind{"gap": Gap, "accept": Accept, "release": Release, "reject": Reject, "renew": Renew, "return": Return}
		kind, ok := kinds[words[0]]
		require.True(w.t, ok, words)
		s := Settlement{First: number(2), Last: number(2), Kind: kind}
		if len(words) > 3 && words[3] != "in" && words[3] != "by" {
			s.Last = number(3)
		}
		if n := len(words); words[n-2] == "in" {
			s.At = w.now.Add(duration(n - 1))
		}
		s.Acquisition = w.acquisitionOf(s.First)
		if n := len(words); words[n-2] == "by" {
			s.Acquisition = number(n - 1)
		}
		errs, r, err := w.c.Settle(jobs, words[1], []Settlement{s}, again, w.now)
		w.took(r.Records...)
		if err == nil {
			err = errs[0]
		}
		return name(err)
	}
	return ""
}

func name(err error) string {
	if err != nil {
		return fault.CodeOf(err).Name()
	}
	return "ok"
}

func (w *world) text(got Acquired) string {
	var all []string
	for _, r := range got.Ranges {
		s := strconv.FormatInt(r.First, 10)
		if r.Last > r.First {
			s += ".." + strconv.FormatInt(r.Last, 10)
		}
		s += fmt.Sprintf(" (attempt %d)", r.Attempt)
		if r.Spent {
			s += " spent"
		}
		all = append(all, s)
	}
	if len(all) > 0 {
		return strings.Join(all, ", ")
	}
	answer := "nothing"
	if got.Full {
		answer += ", full"
	}
	if !got.Next.IsZero() {
		answer += ", next in " + got.Next.Sub(w.now).String()
	}
	return answer
}

// TestStories runs testdata/stories.txt.
func TestStories(t *testing.T) {
	b, err := os.ReadFile("testdata/stories.txt")
	require.NoError(t, err)
	stories := strings.Split(string(b), "\n== ")[1:]
	require.Greater(t, len(stories), 8)
	for _, story := range stories {
		name, lines, _ := strings.Cut(story, "\n")
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			for line := range strings.Lines(lines) {
				command, want, compared := strings.Cut(strings.TrimSpace(line), "->")
				if command == "" {
					continue
				}
				got := w.tell(strings.Fields(command))
				if compared {
					require.Equal(t, strings.TrimSpace(want), got, line)
				}
			}
		})
	}
}
