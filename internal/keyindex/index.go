package keyindex

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"math"
	"slices"
	"sync"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
)

// Config says of which log an Index is.
type Config struct {
	FS        vfs.FS
	Dir       string // the log's
	Topic     string // named in errors
	Partition int32
	Log       *log.Log
	Codec     *record.Codec // decodes compressed batches

	// Entries is how many entries are in memory before they become a run, of 16 bytes for
	// each. Default DefaultEntries, which take about half a megabyte.
	Entries int

	// Compacted reports whether the log is compacted, so that merging looks which records
	// are gone. It may be nil.
	Compacted func() bool
}

// DefaultEntries is Config.Entries where it is 0.
const DefaultEntries = 1 << 14

// stepBytes is about how much of the log is read at a time.
const stepBytes = 256 << 10

// Index finds the records of a key. See the package's documentation.
type Index struct {
	cfg    Config
	hasher hasher
	seed   uint64

	turn    chan struct{} // holds a token while the log is read or a run is written
	closing context.Context
	end     context.CancelFunc
	merging sync.WaitGroup

	// Of the holder of the turn.
	epoch      int32  // of the record before next
	generation uint64 // the log's truncations that are known

	mu      sync.Mutex
	runs    []*run // in order, without a gap between them. Never changed in place
	memory  *table
	base    int64 // where memory begins, and runs end, if there are any
	next    int64 // all before it is indexed
	merges  bool  // a goroutine merges runs
	damaged bool  // a run is: the index begins again
	closed  bool
}

// Open returns the index of an open log, with what of it is on disk. Runs that do not fit
// the log are removed, durably. The caller must close it before the log.
func Open(cfg Config) (*Index, error) {
	if cfg.Entries <= 0 {
		cfg.Entries = DefaultEntries
	}
	x := &Index{cfg: cfg, turn: make(chan struct{}, 1), memory: newTable(), epoch: record.NoLeaderEpoch}
	x.closing, x.end = context.WithCancel(context.Background())
	x.generation = cfg.Log.Truncations()
	runs, err := openRuns(&cfg)
	if err != nil {
		return nil, x.wrap(err)
	}
	x.runs = runs
	if len(runs) > 0 {
		last := runs[len(runs)-1]
		x.seed, x.base, x.epoch = last.seed, last.to, last.epoch
	} else {
		var seed [8]byte
		_, _ = rand.Read(seed[:]) // never fails
		x.seed, x.base = binary.BigEndian.Uint64(seed[:]), cfg.Log.StartOffset()
	}
	x.hasher, x.next = newHasher(x.seed), x.base
	x.merge()
	return x, nil
}

// Sweep removes, durably, the files of an index whose log is open and has none, if they
// do not fit the log; or all of them. An index that is opened later must find no run of
// records that were lost.
func Sweep(cfg Config, all bool) error {
	names, err := list(&cfg)
	if err != nil || len(names) == 0 {
		return err
	}
	if all {
		return removeAll(&cfg, names)
	}
	runs, err := openRuns(&cfg)
	for _, r := range runs {
		r.release()
	}
	return err
}

// wrap returns an error of the index's own files with the partition's name.
func (x *Index) wrap(err error) error {
	if err == nil || fault.CodeOf(err) != fault.Unknown {
		return err
	}
	return fault.At(fault.OfDisk(err), x.cfg.Topic, x.cfg.Partition, -1).Detailf("the index of keys in %s", x.cfg.Dir).Because(err)
}

// Behind returns how many offsets of the log are not indexed yet.
func (x *Index) Behind() int64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return max(0, x.cfg.Log.EndOffset()-x.next)
}

// Next returns the offset before which all is indexed.
func (x *Index) Next() int64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.next
}

// Follow indexes what the log has as of the call. It reads the log's memory where that is
// not far behind. After an error, which may be a *fault.Corruption in the log, the index
// finds no keys: without what it could not read it would be wrong.
func (x *Index) Follow(ctx context.Context) error {
	for end := x.cfg.Log.EndOffset(); ; {
		select {
		case x.turn <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		case <-x.closing.Done():
			return fault.At(fault.Closed, x.cfg.Topic, x.cfg.Partition, -1)
		}
		there, err := x.step(end)
		<-x.turn
		if err != nil || there {
			return x.wrap(err)
		}
	}
}

// step reads one run of batches, and reports whether the index is at the log's end.
func (x *Index) step(end int64) (there bool, err error) {
	l := x.cfg.Log
	x.begin()
	if x.full() {
		if err := x.flush(); err != nil {
			return false, err
		}
	}
	x.mu.Lock()
	next := x.next
	x.mu.Unlock()
	end = min(end, l.EndOffset())
	if next >= end {
		return true, nil
	}
	s, err := l.Read(next, end, stepBytes, nil)
	if err != nil {
		if next < l.StartOffset() {
			return false, nil // records were deleted meanwhile
		}
		return false, err
	}
	defer s.Release()
	for rest := s.Bytes; len(rest) > 0 && !x.full(); {
		h, err := record.ParseHeader(rest)
		if err != nil {
			return false, err
		}
		if err := x.add(record.Batch{BatchHeader: h, Bytes: rest[:h.Size()]}); err != nil {
			return false, err
		}
		rest = rest[h.Size():]
	}
	if l.Truncations() != x.generation {
		x.begin()
	}
	return false, nil
}

// begin drops what a truncation, a deletion or damage has made wrong.
func (x *Index) begin() {
	l := x.cfg.Log
	generation, start := l.Truncations(), l.StartOffset()
	x.mu.Lock()
	defer x.mu.Unlock()
	if generation != x.generation || x.damaged || x.next < start {
		n := 0
		for n < len(x.runs) && !x.damaged && fits(&x.runs[n].header, l) && x.runs[len(x.runs)-1].to >= start {
			n++
		}
		for _, r := range x.runs[n:] {
			_ = r.remove() // one that stays does not fit, and is found again
		}
		x.runs, x.memory = slices.Clip(x.runs[:n]), newTable()
		x.base, x.epoch = start, record.NoLeaderEpoch
		if n > 0 {
			x.base, x.epoch = x.runs[n-1].to, x.runs[n-1].epoch
		}
		x.next, x.generation, x.damaged = x.base, generation, false
	}
	gone := 0 // runs that lie before the start
	for gone < len(x.runs) && x.runs[gone].to <= start {
		_ = x.runs[gone].remove()
		gone++
	}
	if gone > 0 {
		x.runs = slices.Clone(x.runs[gone:])
	}
}

func (x *Index) full() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.memory.entries) >= x.cfg.Entries
}

// add indexes a batch, which is the next one, or holds the next offset.
func (x *Index) add(b record.Batch) error {
	var entries []entry
	if !b.Control() {
		it, err := b.Records(x.cfg.Codec)
		if err != nil {
			return err
		}
		for r := (record.Record{}); it.Next(&r); {
			if r.Key != nil {
				entries = append(entries, entry{x.hasher.sum(r.Key), r.Offset})
			}
		}
		if err := it.Err(); err != nil {
			return err
		}
	}
	x.epoch = b.LeaderEpoch
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range entries {
		if e.offset >= x.next {
			x.memory.add(e)
		}
	}
	x.next = b.NextOffset()
	return nil
}

// flush makes a run of what is in memory.
func (x *Index) flush() error {
	x.mu.Lock()
	memory, h := x.memory, header{seed: x.seed, from: x.base, to: x.next, epoch: x.epoch}
	x.mu.Unlock()
	if h.to <= h.from {
		return nil
	}
	sorted, start := slices.Clone(memory.entries), x.cfg.Log.StartOffset()
	slices.SortFunc(sorted, func(a, b entry) int {
		if a.less(b) {
			return -1
		}
		return 1
	})
	w, err := newRunWriter(x.cfg.FS, x.cfg.Dir, h)
	if err != nil {
		return err
	}
	for _, e := range sorted {
		if e.offset < start {
			continue
		}
		if err := w.add(e); err != nil {
			w.abandon()
			return err
		}
	}
	r, err := w.finish()
	if err != nil {
		return err
	}
	x.mu.Lock()
	x.runs = append(slices.Clip(x.runs), r)
	x.memory, x.base = newTable(), h.to
	x.mu.Unlock()
	x.merge()
	return nil
}

// Close writes what is in memory, so that the next Open need not read it from the log, and
// waits for what is going on. The log must not be closed yet.
func (x *Index) Close() error {
	err := x.stop(func() error { return x.flush() })
	if err != nil {
		return x.wrap(err)
	}
	return nil
}

// Abandon is Close, and writes nothing.
func (x *Index) Abandon() { _ = x.stop(func() error { return nil }) }

func (x *Index) stop(last func() error) error {
	x.mu.Lock()
	first := !x.closed
	x.closed = true
	x.mu.Unlock()
	x.end()
	x.merging.Wait()
	x.turn <- struct{}{}
	defer func() { <-x.turn }()
	if !first {
		return nil
	}
	err := last()
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, r := range x.runs {
		r.release()
	}
	x.runs = nil
	return err
}

// acquire returns the runs, newest last, to each of which the caller has a reference, with
// what look returns of memory at the same moment.
func (x *Index) acquire(look func(*table)) []*run {
	x.mu.Lock()
	defer x.mu.Unlock()
	look(x.memory)
	for _, r := range x.runs {
		r.refs.Add(1)
	}
	return x.runs
}

func release(runs []*run) {
	for _, r := range runs {
		r.release()
	}
}

// lastBefore returns the last offset of a hash before another offset.
func (x *Index) lastBefore(hash uint64, bound int64) (offset int64, ok bool, err error) {
	runs := x.acquire(func(t *table) { offset, ok = t.lastBefore(hash, bound) })
	defer release(runs)
	for i := len(runs) - 1; i >= 0 && !ok; i-- {
		if runs[i].from >= bound {
			continue
		}
		if offset, ok, err = runs[i].lastBefore(hash, bound); err != nil {
			return 0, false, x.broken(err)
		}
	}
	return offset, ok, nil
}

// offsets returns up to n offsets of a hash from one on, in their order.
func (x *Index) offsets(hash uint64, from int64, n int) (all []int64, err error) {
	var newest []int64
	runs := x.acquire(func(t *table) { newest = t.from(nil, hash, from, n) })
	defer release(runs)
	for _, r := range runs {
		if r.to <= from {
			continue
		}
		if all, err = r.offsets(all, hash, from, n); err != nil {
			return nil, x.broken(err)
		}
	}
	all = append(all, newest...)
	return all[:min(len(all), n)], nil
}

// ErrAgain says that the index has lost a part of itself: after Follow, it has it again.
var ErrAgain = fault.Newf(fault.CorruptMessage, "the index of keys is damaged, and is made again")

// broken notes that a run is damaged, or cannot be read.
func (x *Index) broken(err error) error {
	if err != errDamaged {
		return x.wrap(err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.damaged, x.next = true, -1
	return ErrAgain
}

// Last is a key's last record.
type Last struct {
	Offset    int64
	Epoch     int32 // its leader epoch
	Tombstone bool
}

// Last returns a key's last record in what is indexed, without those of aborted
// transactions; one of an open transaction counts. ok is false where there is none.
func (x *Index) Last(key []byte) (last Last, ok bool, err error) {
	hash, start := x.hasher.sum(key), x.cfg.Log.StartOffset()
	for bound := int64(math.MaxInt64); ; {
		offset, found, err := x.lastBefore(hash, bound)
		if err != nil || !found || offset < start {
			return Last{}, false, err
		}
		r, found, err := x.record(key, offset)
		if err != nil || found {
			return Last{offset, r.LeaderEpoch, r.Value == nil}, found, err
		}
		bound = offset
	}
}

// Offsets returns up to n offsets from one on, in their order, at which there may be
// records of a key.
func (x *Index) Offsets(key []byte, from int64, n int) ([]int64, error) {
	return x.offsets(x.hasher.sum(key), from, n)
}

// Hash returns the hash of a key: of two keys with different ones, one is another.
func (x *Index) Hash(key []byte) uint64 { return x.hasher.sum(key) }

// record returns the record at an offset, if it is there, has the key, and is of no aborted
// transaction.
func (x *Index) record(key []byte, offset int64) (r record.Record, ok bool, err error) {
	l := x.cfg.Log
	s, aborted, err := l.ReadCommitted(offset, l.EndOffset(), 1, nil)
	if err != nil || len(s.Bytes) == 0 {
		if offset < l.StartOffset() {
			err = nil
		}
		return r, false, err
	}
	defer s.Release()
	h, err := record.ParseHeader(s.Bytes)
	if err != nil || h.Control() {
		return r, false, err
	}
	it, err := record.Batch{BatchHeader: h, Bytes: s.Bytes[:h.Size()]}.Records(x.cfg.Codec)
	if err != nil {
		return r, false, err
	}
	for !ok && it.Next(&r) {
		ok = r.Offset == offset && string(r.Key) == string(key)
	}
	hidden := h.Transactional() && aborted.Has(h.ProducerID, h.BaseOffset)
	return r, ok && !hidden, it.Err()
}
