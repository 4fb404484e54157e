package processtest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
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
	group   [partitions]reading
	read    [nodes]bool
	commits commits // of a pipeline
	wrong   []string
}

// reading is what members of the group have said of a partition.
type reading struct {
	got       []span
	commits   int
	committed int64        // the greatest offset
	floor     [nodes]int64 // what had been committed when a node's member was assigned the partition
	begins    [nodes]bool  // the member has got nothing since
	offset    [nodes]int64 // what was committed in the end, as the nodes say
}

// span is records of a partition, from one to another.
type span struct{ first, last int64 }

// assigned takes down that a node's member may read the partition.
func (r *reading) assigned(id int) { r.floor[id], r.begins[id] = r.committed, true }

// heard takes down what a node's member got. It returns false if it begins before what was committed before it was assigned
// the partition: the committed offset went back.
func (r *reading) heard(id int, s span) bool {
	r.got = append(r.got, s)
	first := r.begins[id]
	r.begins[id] = false
	return !first || s.first >= r.floor[id]
}

// lacks returns the first of these offsets that no member got, or -1.
func (r *reading) lacks(offsets map[string]int64) int64 {
	slices.SortFunc(r.got, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	upTo := make([]int64, len(r.got)) // the last offset of all spans so far
	for i, s := range r.got {
		upTo[i] = s.last
		if i > 0 {
			upTo[i] = max(upTo[i], upTo[i-1])
		}
	}
	for _, offset := range offsets {
		i, found := slices.BinarySearchFunc(r.got, offset, func(s span, offset int64) int { return cmp.Compare(s.first, offset) })
		if !found {
			i--
		}
		if i < 0 || upTo[i] < offset {
			return offset
		}
	}
	return -1
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
	case "assigned", "got", "committed", "offset":
		if !l.ofGroup(id, kind, rest) {
			l.wrong = append(l.wrong, fmt.Sprintf("node %d: %s", id+1, line))
		}
	case "end":
		l.read[id] = true
	case "commits":
		if err := l.commits.said(rest); err != nil {
			l.wrong = append(l.wrong, fmt.Sprintf("node %d: %v", id+1, err))
		}
	default:
		l.wrong = append(l.wrong, fmt.Sprintf("node %d: %s", id+1, line))
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// ofGroup takes down a line of a member, and reports whether it may be.
func (l *ledger) ofGroup(id int, kind, rest string) bool {
	var partition int
	var a, b int64
	if n, _ := fmt.Sscan(rest, &partition, &a, &b); n < 1 || partition < 0 || partition >= partitions {
		return false
	}
	r := &l.group[partition]
	switch kind {
	case "assigned":
		r.assigned(id)
	case "got":
		return r.heard(id, span{a, b})
	case "committed":
		r.commits++
		r.committed = max(r.committed, a)
	case "offset":
		r.offset[id] = a
	}
	return true
}

// gotAll reports whether the group got what lies up to these offsets, but for what was left out.
func (l *ledger) gotAll(last [partitions]int64) bool {
	for p, until := range last {
		if !slices.ContainsFunc(l.group[p].got, func(s span) bool { return s.last >= until }) {
			return false
		}
	}
	return true
}

// checkGroup checks that members of the group got what was acknowledged, and that no node knows an older offset than was committed
// by then.
func (l *ledger) checkGroup(t *testing.T, acked [partitions]map[string]int64, committed [partitions]int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range l.group {
		r := &l.group[p]
		require.Equal(t, int64(-1), r.lacks(acked[p]), "the record at this offset of partition %d was acknowledged, and no member got it", p)
		require.Positive(t, committed[p], "what the group has committed of partition %d", p)
		for id, offset := range r.offset {
			require.GreaterOrEqual(t, offset, committed[p], "what the group has committed of partition %d, to node %d", p, id+1)
		}
	}
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

// snapshot returns what is acknowledged by now, the last offsets, and what the group has committed.
func (l *ledger) snapshot() (acked [partitions]map[string]int64, last, committed [partitions]int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range acked {
		acked[p], committed[p] = maps.Clone(l.acked[p]), l.group[p].committed
		for _, offset := range acked[p] {
			last[p] = max(last[p], offset)
		}
	}
	return acked, last, committed
}
