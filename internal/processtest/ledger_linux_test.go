package processtest

import (
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ledger is what the processes have said: what is acknowledged, and what their copies have.
type ledger struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced with every line
	acked   [partitions]map[string]int64
	sent    [nodes][partitions]time.Time // when the latest acknowledged record of a node was sent
	acks    [nodes][partitions]time.Time // and when it was acknowledged
	open    [nodes]int                   // the latest incarnation that is open
	copies  [nodes][partitions][]stored
	read    [nodes]bool
	wrong   []string
}

type stored struct {
	offset int64
	value  string
}

func newLedger() *ledger {
	l := &ledger{changed: make(chan struct{})}
	for p := range l.acked {
		l.acked[p] = map[string]int64{}
	}
	return l
}

// heard takes down a line of a process.
func (l *ledger) heard(id, incarnation int, line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var partition, number int
	var offset, sent int64
	switch kind, rest, _ := strings.Cut(line, " "); kind {
	case "open":
		l.open[id] = incarnation
	case "acked":
		if _, err := fmt.Sscan(rest, &partition, &number, &offset, &sent); err != nil {
			l.wrong = append(l.wrong, line)
			break
		}
		l.acked[partition][fmt.Sprintf("node %d.%d %d", id+1, incarnation, number)] = offset
		l.sent[id][partition], l.acks[id][partition] = time.Unix(0, sent), time.Now()
	case "record":
		fields := strings.SplitN(rest, " ", 3)
		if _, err := fmt.Sscan(rest, &partition, &offset); err != nil || len(fields) < 3 {
			l.wrong = append(l.wrong, line)
			break
		}
		l.copies[id][partition] = append(l.copies[id][partition], stored{offset, fields[2]})
	case "end":
		l.read[id] = true
	default:
		l.wrong = append(l.wrong, fmt.Sprintf("node %d: %s", id+1, line))
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// until waits for a condition on what was said. The ledger's lock is held while it is evaluated.
func (l *ledger) until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		l.mu.Lock()
		ok, changed, wrong := holds(), l.changed, l.wrong
		l.mu.Unlock()
		require.Empty(t, wrong)
		if ok {
			return
		}
		select {
		case <-changed:
		case <-late.C:
			require.FailNow(t, "it takes too long until "+what)
		}
	}
}

// resumed waits until one of the nodes has had a record acknowledged in each partition that was
// sent after a time, and returns how long after it that was.
func (l *ledger) resumed(t *testing.T, after time.Time, among ...int) time.Duration {
	t.Helper()
	var first [partitions]time.Time
	l.until(t, "writes resume", func() bool {
		missing := 0
		for p := range first {
			for _, id := range among {
				if first[p].IsZero() && l.sent[id][p].After(after) {
					first[p] = l.acks[id][p]
				}
			}
			if first[p].IsZero() {
				missing++
			}
		}
		return missing == 0
	})
	longest := time.Duration(0)
	for _, at := range first {
		longest = max(longest, at.Sub(after))
	}
	return longest
}

// check compares what the copies have with what was acknowledged before they were read.
func (l *ledger) check(t *testing.T, acked [partitions]map[string]int64) {
	for p := range partitions {
		shortest := len(l.copies[0][p])
		for id := range nodes {
			shortest = min(shortest, len(l.copies[id][p]))
		}
		for id := range nodes {
			rows := l.copies[id][p]
			require.Equal(t, l.copies[0][p][:shortest], rows[:shortest], "node %d and node 1 have the same in partition %d", id+1, p)
			at := make(map[string]int64, len(rows))
			latest := map[string]int{} // the last number of each process
			for i, r := range rows {
				require.True(t, i == 0 || rows[i-1].offset < r.offset, "offsets of partition %d rise", p)
				_, double := at[r.value]
				require.False(t, double, "%q is twice in partition %d", r.value, p)
				at[r.value] = r.offset
				var process string
				var number int
				_, err := fmt.Sscanf(r.value, "node %s %d", &process, &number)
				require.NoError(t, err)
				if before, known := latest[process]; known {
					require.Equal(t, before+1, number, "the order of %s in partition %d", process, p)
				}
				latest[process] = number
			}
			for value, offset := range acked[p] {
				where, there := at[value]
				require.True(t, there, "%q was acknowledged at offset %d of partition %d, and node %d does not have it", value, offset, p, id+1)
				require.Equal(t, offset, where, "where %q is in partition %d", value, p)
			}
		}
	}
}

// snapshot returns what is acknowledged by now, and the last offsets.
func (l *ledger) snapshot() (acked [partitions]map[string]int64, last [partitions]int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range acked {
		acked[p] = maps.Clone(l.acked[p])
		for _, offset := range acked[p] {
			last[p] = max(last[p], offset)
		}
	}
	return acked, last
}
