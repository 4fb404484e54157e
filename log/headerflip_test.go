package log

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// every makes the tests go through all flips of the headers' bits, instead of some
// that are different each time.
var every = flag.Bool("every", false, "invert every bit of every header, and not only some")

// headers is a log of which headers are damaged: its segments' files, and where
// their batches stand.
type headers struct {
	cfg     Config
	want    map[int64]string
	synced  int64 // the offset from which on nothing was durable, or the end
	batches []headerAt
}

// headerAt is where a batch stands.
type headerAt struct {
	record.BatchHeader
	path string
	pos  int
	last bool // of the log
}

// uncovered are the bits of a header that the checksum does not cover.
const uncovered = 8 * crcFrom

// fortySends is a partition into which records were sent one by one, or three at
// a time, in segments of 2 KiB. It was closed, or its process was killed.
func fortySends(t testing.TB, count int, closed bool) *headers {
	t.Helper()
	cfg := memoryConfig()
	cfg.SegmentBytes, cfg.IndexInterval, cfg.TailBytes = 2<<10, 512, -1
	l, _ := open(t, cfg)
	for i := range int64(40) {
		require.NoError(t, l.Append(batchOf(i*int64(count), 3, count, 90), nil))
		if i == 37 {
			require.NoError(t, l.Sync())
			require.NoError(t, l.writeCheckpoint(false))
		}
	}
	if closed {
		require.NoError(t, l.Close())
	}
	h := &headers{cfg: copyDir(t, cfg, "left"), synced: l.SyncedOffset()}
	if !closed {
		h.synced = 38 * int64(count)
		require.NoError(t, l.Close())
	}
	h.want = everything(t, copyDir(t, h.cfg, "whole"))
	require.Len(t, h.want, 40*count)
	for _, s := range l.list() {
		path := logFile(h.cfg, s.base)
		b := readFile(t, h.cfg.FS, path)
		for pos := 0; pos < len(b) && b[pos+16] == 2; pos += headerOf(b[pos:]).Size() {
			h.batches = append(h.batches, headerAt{BatchHeader: headerOf(b[pos:]), path: path, pos: pos})
		}
	}
	require.Len(t, h.batches, 40)
	h.batches[39].last = true
	return h
}

// flipped returns a copy of the log in which bits of batches' headers are
// inverted.
func (h *headers) flipped(t testing.TB, flips map[int]int) Config {
	cfg := copyDir(t, h.cfg, "flipped")
	for batch, bit := range flips {
		at := h.batches[batch]
		path := logFile(cfg, segmentBase(at.path))
		b := readFile(t, cfg.FS, path)
		b[at.pos+bit/8] ^= 0x80 >> (bit % 8)
		writeFile(t, cfg.FS, path, b)
	}
	return cfg
}

func segmentBase(path string) (base int64) {
	_, _ = fmt.Sscanf(path[len(path)-24:], "%d.log", &base)
	return base
}

// TestFlippedHeader inverts each bit of each batch's header that no checksum
// covers. What it was is known from the checksum and from what stands around it,
// so a repair loses nothing and moves nothing, and until then everything else is
// read.
func TestFlippedHeader(t *testing.T) {
	for _, count := range []int{1, 3} {
		for _, closed := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d records closed=%v", count, closed), func(t *testing.T) {
				h := fortySends(t, count, closed)
				step, from := 1, 0
				if !*every {
					step = unlessRaced(23, 101)
					from = rand.IntN(step)
				}
				for n := from; n < 40*uncovered; n += step {
					h.try(t, map[int]int{n / uncovered: n % uncovered})
				}
			})
		}
	}
}

// TestTwoFlippedHeaders inverts a bit in each of two headers, often neighbours.
// Nothing but their records may be lost.
func TestTwoFlippedHeaders(t *testing.T) {
	for _, closed := range []bool{true, false} {
		h := fortySends(t, 2, closed)
		tries := unlessRaced(150, 20)
		if *every {
			tries = 20_000
		}
		for bit := 0; bit < uncovered; bit += unlessRaced(9, 50) { // two that agree with each other
			h.try(t, map[int]int{23: bit, 24: bit})
		}
		for range tries {
			first := rand.IntN(40)
			second := min(39, first+1+rand.IntN(2)*rand.IntN(5))
			h.try(t, map[int]int{first: rand.IntN(uncovered), second: rand.IntN(uncovered)})
		}
	}
}

// try damages headers and checks everything that is promised of that.
func (h *headers) try(t *testing.T, flips map[int]int) {
	what := fmt.Sprint("flips of batch: bit ", flips)
	cfg := h.flipped(t, flips)
	defer func() { require.NoError(t, cfg.FS.RemoveAll(cfg.Dir)) }()

	// What may be lost: damaged records and, behind the synced position, all behind
	// one that nothing sound follows.
	may := map[int64]bool{}
	certain := true // what it was is decided by the batch alone
	for batch := range flips {
		at := h.batches[batch]
		for o := at.BaseOffset; o < at.NextOffset(); o++ {
			may[o] = len(flips) > 1
		}
		if behind := at.BaseOffset >= h.synced; behind && (at.last || len(flips) > 1) {
			certain = false
			for o := at.BaseOffset; o <= h.batches[39].LastOffset(); o++ {
				may[o] = true
			}
		}
	}
	found := inspected(t, cfg)
	if certain {
		require.NotEqual(t, Note, found.Worst(), "%s: found", what)
	}

	reading := copyDir(t, cfg, "reading")
	h.readAround(t, reading, flips, may, what)
	require.NoError(t, cfg.FS.RemoveAll(reading.Dir))

	steps := repaired(t, cfg, false)
	require.False(t, refused(steps), "%s: %v", what, steps)
	after := inspected(t, cfg)
	require.Equal(t, Note, after.Worst(), "%s: %v", what, after.Findings)
	got := everything(t, cfg)
	for o, v := range got {
		if h.want[o] != v {
			t.Fatalf("%s: the record of offset %d was moved", what, o)
		}
	}
	for o := range h.want {
		if _, ok := got[o]; !ok && !may[o] {
			t.Fatalf("%s: the record of offset %d is lost: %v", what, o, steps)
		}
	}
}

// readAround opens a log with damage and reads it record by record: what is not
// damaged is there, and damage is named, with the offset at which reading goes on.
func (h *headers) readAround(t *testing.T, cfg Config, flips map[int]int, may map[int64]bool, what string) {
	l, r, err := Open(cfg)
	require.NoError(t, err, what)
	defer func() { require.NoError(t, l.Close()) }()
	damaged := map[int64]bool{}
	for batch := range flips {
		at := h.batches[batch]
		for o := at.BaseOffset; o < at.NextOffset(); o++ {
			damaged[o] = true
		}
	}
	restored := len(r.Restored) > 0
	read := func(from int64) {
		s, err := l.Read(from, l.EndOffset(), 1, nil)
		if err != nil {
			var damage *fault.Corruption
			require.ErrorAs(t, err, &damage, what)
			require.True(t, damaged[from], "%s: offset %d cannot be read: %v", what, from, err)
			require.LessOrEqual(t, damage.Offset, from)
			if damage.Next > 0 {
				require.Greater(t, damage.Next, from, what)
			}
			return
		}
		if damaged[from] && !restored && from < h.synced && len(flips) == 1 {
			t.Fatalf("%s: offset %d was read", what, from)
		}
		if b, err := record.Parse(s.Bytes); err != nil || b.BaseOffset > from || b.LastOffset() < from {
			t.Fatalf("%s: offset %d: %v, %v", what, from, b.BatchHeader, err)
		}
	}
	for from := l.StartOffset(); from < l.EndOffset(); from++ { // one behind the other, as a consumer does
		read(from)
	}
	for from := l.EndOffset() - 1; from >= l.StartOffset(); from-- { // each sought, without a hint
		for i := range l.list() {
			for j := range l.list()[i].hints {
				l.list()[i].hints[j].Store(0)
			}
		}
		read(from)
	}
}
