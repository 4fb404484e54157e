package runnel_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
)

var (
	tortureSeed = flag.Uint64("torture.seed", 0, "run the torture test with this seed alone")
	tortureOn   = flag.Bool("torture.on", false, "go on with the torture test, from a random seed, until it fails or is stopped")
)

const (
	tortureSeeds = 250
	tortureSteps = 400
)

// TestTorture does what it likes with a log on a disk that fails, fills up and
// loses its power, and holds it against a list of batches: what was synced is
// there, once and in order, and nothing else but what was appended. Every other log
// is compacted, too: of it, the last record of each key is there.
func TestTorture(t *testing.T) {
	if *tortureSeed != 0 {
		torture(t, *tortureSeed)
		return
	}
	seeds := rand.New(rand.NewPCG(rand.Uint64(), 0))
	began := time.Now()
	for n := 1; (n <= tortureSeeds || *tortureOn) && !t.Failed(); n++ {
		seed := uint64(n)
		if n > tortureSeeds/2 { // half of them are new each time
			seed = seeds.Uint64()&^1 | uint64(n&1)
		}
		torture(t, seed)
		if *tortureOn && n%1000 == 0 {
			fmt.Fprintf(os.Stderr, "%d seeds, %d steps, %s\n", n, n*tortureSteps, time.Since(began).Round(time.Second))
		}
	}
}

func torture(t *testing.T, seed uint64) {
	if story, err := torment(seed, nil); err != nil {
		t.Errorf("seed %d: %v\n%v", seed, err, story)
		t.Logf("again: go test -run TestTorture -torture.seed=%d .", seed)
	}
}

// torment does what a seed says to a log, on a disk that lies as lie does, or not
// at all. It returns what it found wrong, and the last things that happened.
func torment(seed uint64, lie func(vfs.FS) vfs.FS) (story []string, err error) {
	m := &victim{rand: rand.New(rand.NewPCG(seed, 7)), disk: vfs.NewCrashable(), epoch: 1, lie: lie}
	if seed%2 == 0 {
		m.compacts = &compacts{records: map[int64]compactable{}, met: map[int64]int64{}}
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
		story = m.story
	}()
	err = m.open(false)
	for step := 0; step < tortureSteps && err == nil; step++ {
		if err = m.step(); err == nil {
			err = m.check()
		}
	}
	if err == nil {
		err = m.crash() // whatever it was, it must be there
	}
	if m.log != nil {
		_ = m.log.Close()
	}
	return m.story, err
}

// victim is a log with what must be true of it.
type victim struct {
	rand  *rand.Rand
	disk  *vfs.Crashable
	fsys  *vfs.Faulty
	lie   func(vfs.FS) vfs.FS // of the disk, or nil
	log   *log.Log
	epoch int32
	story []string // the last things that happened

	// batches follow on from each other; those before start are kept here until
	// they are gone for certain. The log has exactly those that end at or before
	// end; unsure ones may follow after a crash.
	batches []kept
	unsure  []kept

	start, startMax int64 // the log start offset lies in this range
	end, endMin     int64 // the log ends at end now; after a crash not before endMin
	failed          bool  // it accepts nothing more until it is opened again
	marks           bool  // closing it marks it as closed: it is not marked so already

	compacts *compacts // nil for a log that is not compacted
}

type kept struct {
	base, next int64
	bytes      []byte
}

func (m *victim) note(format string, args ...any) {
	m.story = append(m.story, "\n"+fmt.Sprintf(format, args...))
	if len(m.story) > 40 {
		m.story = m.story[1:]
	}
}

func (m *victim) chance(percent int) bool { return m.rand.IntN(100) < percent }

func (m *victim) step() error {
	switch n := m.rand.IntN(100); {
	case n < 45:
		return m.append()
	case n < 62:
		return m.sync()
	case n < 78:
		return m.read()
	case n < 82:
		return m.truncate()
	case n < 86:
		return m.setStart()
	case n < 87 && m.compacts != nil:
		return m.compact()
	case n < 88:
		return m.retain()
	case n < 89:
		m.log.SetSegments(m.rand.Int64N(6000)+200, time.Duration(m.rand.IntN(500)+1)*time.Second)
		return nil
	case n < 90:
		return m.reopen()
	case n < 94:
		return m.crash()
	default:
		m.trouble()
		return nil
	}
}

// trouble puts a fault in force, or ends those that are.
func (m *victim) trouble() {
	if m.chance(40) {
		m.fsys.Clear()
		m.note("no faults")
		return
	}
	if m.chance(30) {
		free := m.rand.Int64N(3000)
		m.fsys.SetFree(free)
		m.note("%d bytes are free", free)
		return
	}
	r := vfs.Rule{
		On:    vfs.OpChange & (1 << m.rand.IntN(11)),
		Skip:  m.rand.IntN(6),
		Times: 1 + m.rand.IntN(2),
		Err:   []error{syscall.EIO, syscall.ENOSPC, syscall.EMFILE}[m.rand.IntN(3)],
		Torn:  m.rand.IntN(400),
	}
	if m.chance(60) {
		r.Match = vfs.Named([]string{".log", ".index", "runnel-checkpoint", "-checkpoint.tmp"}[m.rand.IntN(4)])
	}
	m.fsys.Add(r)
	m.note("operation %b fails with %v after %d, %d times, torn at %d", r.On, r.Err, r.Skip, r.Times, r.Torn)
}

// batch makes a batch that begins at an offset.
func (m *victim) batch(base int64) kept {
	b := record.NewBuilder(1 << 20)
	count := 1 + m.rand.IntN(4)
	for i := range count {
		value := make([]byte, m.rand.IntN(300))
		for j := range value {
			value[j] = byte(m.rand.Uint32())
		}
		var key []byte
		if m.compacts != nil {
			key, value = m.compacts.record(m.rand, value)
		}
		b.Add((base+int64(i))*1000, key, value, nil)
	}
	batch, err := b.Batch(nil, record.None, 0)
	if err != nil {
		panic(err)
	}
	raw := slices.Clone(batch.Bytes)
	record.Stamp(raw, base, m.epoch)
	return kept{base, base + int64(count), raw}
}

func (m *victim) append() error {
	var all []byte
	var batches []kept
	next := m.end
	for range 1 + m.rand.IntN(3) {
		b := m.batch(next)
		all = append(all, b.bytes...)
		batches = append(batches, b)
		next = b.next
	}
	err := m.log.Append(slices.Clone(all), nil)
	m.note("append %d to %d, %d bytes: %v", m.end, next, len(all), err)
	switch {
	case m.failed && err == nil:
		return errors.New("a log that had failed accepted an append")
	case err == nil:
		m.batches = append(m.batches, batches...)
		m.end, m.marks = next, true
		if m.compacts != nil {
			m.compacts.note(batches)
		}
	case m.log.EndOffset() != m.end:
		return fmt.Errorf("an append was refused, and the log ends at %d", m.log.EndOffset())
	case !errors.Is(err, fault.DiskFull) && !errors.Is(err, fault.Storage):
		return fmt.Errorf("an append was refused for %w", err)
	case m.dead():
		if !m.failed {
			m.unsure = batches // the outcome is unknown
			if m.compacts != nil {
				m.compacts.note(batches)
			}
		}
		m.failed = true
	}
	m.settled()
	return nil
}

// dead reports whether the log has failed for good.
func (m *victim) dead() bool { return m.failed || errors.Is(m.log.Sync(), fault.Storage) }

// settled notes what the log says that it has synced.
func (m *victim) settled() {
	if synced := m.log.SyncedOffset(); synced > m.endMin && synced <= m.end {
		m.endMin = synced
	}
}

func (m *victim) sync() error {
	err := m.log.Sync()
	m.note("sync at %d: %v", m.end, err)
	switch {
	case err == nil && m.failed:
		return errors.New("a log that had failed claims to be synced")
	case err == nil && m.log.SyncedOffset() != m.end:
		return fmt.Errorf("synced to %d of %d", m.log.SyncedOffset(), m.end)
	}
	if err != nil {
		m.failed = true
	}
	m.settled()
	return nil
}

// read reads somewhere, sometimes from a disk that errs.
func (m *victim) read() error {
	start := m.log.StartOffset()
	if start == m.end {
		return nil
	}
	remove := func() {}
	if m.chance(20) {
		r := vfs.Rule{On: vfs.OpRead, Skip: m.rand.IntN(3), Times: 1}
		if m.chance(50) {
			r.Err = syscall.EIO
		} else {
			bit := m.rand.IntN(4000)
			m.note("a read inverts bit %d", bit)
			r.Spoil = func(p []byte) {
				if bit/8 < len(p) {
					p[bit/8] ^= 1 << (bit % 8)
				}
			}
		}
		remove = m.fsys.Add(r)
	}
	defer remove()
	from := start + m.rand.Int64N(m.end-start)
	s, err := m.log.Read(from, m.end, m.rand.IntN(3000), make([]byte, m.rand.IntN(3000)))
	if err != nil {
		if errors.Is(err, fault.CorruptMessage) || errors.Is(err, syscall.EIO) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENOSPC) {
			return nil
		}
		return fmt.Errorf("read at %d: %w", from, err)
	}
	defer s.Release()
	if _, err = m.compare(from, s.Bytes); err != nil {
		return fmt.Errorf("read at %d: %w", from, err)
	}
	return nil
}

// compare holds batches that were read, from the one that holds from on, against
// those that were appended, and returns the offset after them.
func (m *victim) compare(from int64, b []byte) (next int64, err error) {
	if len(b) == 0 {
		return from, fmt.Errorf("nothing at %d", from)
	}
	if m.compacts != nil {
		if b, from, err = m.compacts.compare(from, b); err != nil || len(b) == 0 {
			return from, err
		}
	}
	i := slices.IndexFunc(m.batches, func(k kept) bool { return k.next > from })
	for ; len(b) > 0; i++ {
		if i < 0 || i >= len(m.batches) {
			return from, errors.New("a batch that nobody appended")
		}
		k := m.batches[i]
		if len(b) < len(k.bytes) || string(b[:len(k.bytes)]) != string(k.bytes) {
			return from, fmt.Errorf("the batch at %d is not what was appended: %x instead of %x", k.base, b, k.bytes)
		}
		b, from = b[len(k.bytes):], k.next
	}
	return from, nil
}

func (m *victim) truncate() error {
	start := m.log.StartOffset()
	if m.compacts != nil { // nothing is truncated below the high watermark
		start = max(start, m.compacts.limit)
	}
	to := start + m.rand.Int64N(m.end-start+1)
	err := m.log.Truncate(to)
	m.note("truncate %d to %d: %v", m.end, to, err)
	if err == nil && m.failed {
		return errors.New("a log that had failed was truncated")
	}
	end := m.log.EndOffset()
	if end == m.end {
		m.failed = m.dead()
		m.settled()
		return nil
	}
	if i := slices.IndexFunc(m.batches, func(k kept) bool { return k.next > to }); m.batches[i].base != end {
		return fmt.Errorf("it ends at %d instead of %d", end, m.batches[i].base)
	}
	cut := slices.IndexFunc(m.batches, func(k kept) bool { return k.base == end })
	if err != nil {
		m.failed, m.unsure = true, m.batches[cut:]
	}
	m.batches = slices.Clip(m.batches[:cut])
	m.end, m.endMin = end, end
	m.start, m.startMax = min(m.start, end), max(m.startMax, m.log.StartOffset())
	if err == nil {
		m.startMax = m.log.StartOffset()
	}
	return nil
}

func (m *victim) setStart() error {
	start := m.log.StartOffset()
	return m.startAt(start + m.rand.Int64N(m.end-start+1))
}

func (m *victim) startAt(to int64) error {
	start := m.log.StartOffset()
	err := m.log.SetStart(to)
	m.note("start %d to %d: %v", start, to, err)
	if err == nil && m.failed && to > start {
		return errors.New("a log that had failed moved its start")
	}
	m.startMax = max(m.startMax, to)
	if err == nil {
		m.start = to
	} else {
		m.failed = m.dead()
	}
	m.settled()
	return nil
}

// reopen closes the log in order, on a disk that may not let it.
func (m *victim) reopen() error {
	err := m.log.Close()
	m.note("close: %v", err)
	if err != nil || m.failed {
		m.disk = m.disk.Crash(vfs.Loss{Kept: vfs.KeepAll})
		return m.open(false)
	}
	m.disk = m.disk.Crash(vfs.Loss{}) // all of it must be durable
	m.endMin = m.end
	return m.open(m.marks)
}

func (m *victim) crash() error {
	loss := vfs.RandomLoss(m.rand.Uint64())
	m.note("crash with %+v, durable to %d of %d", loss, m.endMin, m.end)
	m.disk = m.disk.Crash(loss)
	_ = m.log.Close()
	return m.open(false)
}

// open opens what is on the disk, sometimes with a disk that errs at first.
func (m *victim) open(closed bool) error {
	for m.chance(20) {
		m.fsys = vfs.NewFaulty(m.disk)
		m.fsys.Add(vfs.Rule{On: vfs.OpAny, Skip: m.rand.IntN(20), Times: 1, Err: syscall.EIO})
		l, r, err := m.openLog()
		m.note("open on a disk that errs: %v", err)
		if err == nil {
			return m.opened(l, r, closed)
		}
		if !errors.Is(err, fault.Storage) {
			return fmt.Errorf("open: %w", err)
		}
		closed = false
		m.disk = m.disk.Crash(vfs.RandomLoss(m.rand.Uint64()))
	}
	m.fsys = vfs.NewFaulty(m.disk)
	l, r, err := m.openLog()
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	return m.opened(l, r, closed)
}

func (m *victim) openLog() (*log.Log, log.Recovery, error) {
	var fsys vfs.FS = m.fsys
	if m.lie != nil {
		fsys = m.lie(fsys)
	}
	l, r, err := log.Open(log.Config{
		FS: fsys, Dir: "orders-0", Topic: "orders",
		SegmentBytes: m.rand.Int64N(6000) + 200, SegmentAge: time.Duration(m.rand.IntN(500)+1) * time.Second,
		IndexInterval: 1 + m.rand.IntN(1000), TailBytes: []int{-1, 500, 5000}[m.rand.IntN(3)],
	})
	if m.log == nil {
		m.log = l
	}
	return l, r, err
}

// opened holds what opening found against what must be there.
func (m *victim) opened(l *log.Log, r log.Recovery, closed bool) error {
	m.log = l
	m.fsys.Clear()
	m.note("opened from %d to %d: %+v", l.StartOffset(), l.EndOffset(), r)
	if len(r.Damage) > 0 {
		return fmt.Errorf("damage: %v", r.Damage)
	}
	if closed && !r.Clean {
		return errors.New("it was closed, and found unclean")
	}
	end := l.EndOffset()
	if end < m.endMin {
		return fmt.Errorf("it ends at %d, and was durable to %d", end, m.endMin)
	}
	if end > m.end {
		m.batches = append(m.batches, m.unsure...)
	}
	i := slices.IndexFunc(m.batches, func(k kept) bool { return k.base >= end })
	if i >= 0 {
		m.batches = slices.Clip(m.batches[:i])
	}
	if n := len(m.batches); n > 0 && m.batches[n-1].next != end {
		return fmt.Errorf("it ends at %d, and the last batch at %d", end, m.batches[n-1].next)
	}
	if start := l.StartOffset(); start < min(m.start, end) || start > m.startMax {
		return fmt.Errorf("it starts at %d, which should be from %d to %d", start, m.start, m.startMax)
	}
	m.start, m.startMax, m.end, m.endMin = l.StartOffset(), l.StartOffset(), end, end
	m.unsure, m.failed, m.marks = nil, false, !r.Clean
	if !closed {
		m.epoch++
	}
	for next := m.start; next < m.end; {
		s, err := l.Read(next, m.end, 5000, nil)
		if err != nil {
			return fmt.Errorf("read after opening: %w", err)
		}
		if next, err = m.compare(next, s.Bytes); err != nil {
			return fmt.Errorf("read after opening: %w", err)
		}
		s.Release()
	}
	return nil
}

func (m *victim) check() error {
	switch {
	case m.log.EndOffset() != m.end:
		return fmt.Errorf("it ends at %d instead of %d", m.log.EndOffset(), m.end)
	case m.log.StartOffset() < m.start || m.log.StartOffset() > m.startMax:
		return fmt.Errorf("it starts at %d, which should be from %d to %d", m.log.StartOffset(), m.start, m.startMax)
	case m.log.SyncedOffset() > m.end:
		return fmt.Errorf("synced to %d of %d", m.log.SyncedOffset(), m.end)
	}
	return nil
}
