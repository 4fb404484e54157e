package log

import (
	"math"
	"sort"
	"sync/atomic"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
)

// Config says where a log lies and how it is cut into segments. FS and Dir are
// required; zero stands for the default everywhere else.
type Config struct {
	FS        vfs.FS
	Dir       string // the partition's directory, made if it is missing
	Topic     string // named in errors
	Partition int32  // named in errors

	// SegmentBytes is Kafka's segment.bytes: an append that would make a segment
	// longer begins a new one. Default 1 GiB, at most 2^31-1.
	SegmentBytes int64

	// SegmentAge is Kafka's segment.ms, in the time of the records: an append
	// that is so much later than the segment's first batch begins a new one. A time
	// ahead of the clock counts as the clock's.
	// Default 7 days.
	SegmentAge time.Duration

	// IndexInterval is Kafka's index.interval.bytes: how many bytes of the log
	// one entry of the indexes stands for. Default 4096.
	IndexInterval int

	// TailBytes is how much of the log's end stays in memory beside the file.
	// The newest append stays, however large. Default 1 MiB, negative for
	// nothing.
	TailBytes int

	// Codec decompresses batches in which OffsetForTime looks for a record, and
	// those that Compact goes over. Without one, they return
	// fault.UnsupportedCompression for them.
	Codec *record.Codec

	// Begun, unless nil, is called by the writer when a segment has got its first
	// batch: the one before it is sealed, and time begins to count. It must not
	// block.
	Begun func()

	// Failed, unless nil, is called by the writer when the log takes no more appends
	// because of an error. It must not block.
	Failed func(error)

	repairing bool // Repair opens it
}

// Defaults of Config.
const (
	DefaultSegmentBytes  = 1 << 30
	DefaultSegmentAge    = 7 * 24 * time.Hour
	DefaultIndexInterval = 4096
	DefaultTailBytes     = 1 << 20
)

// withDefaults returns cfg with every default set.
func (cfg Config) withDefaults() Config {
	if cfg.SegmentBytes <= 0 {
		cfg.SegmentBytes = DefaultSegmentBytes
	}
	cfg.SegmentBytes = min(cfg.SegmentBytes, math.MaxInt32)
	if cfg.SegmentAge <= 0 {
		cfg.SegmentAge = DefaultSegmentAge
	}
	if cfg.IndexInterval <= 0 {
		cfg.IndexInterval = DefaultIndexInterval
	}
	if cfg.TailBytes == 0 {
		cfg.TailBytes = DefaultTailBytes
	}
	return cfg
}

// Log is one partition's log. Append, Sync, Truncate, SetStart, SetSegments,
// Close and Remove are its writer's: no two of them may run at once. Everything else may be
// called by any goroutine at any time.
type Log struct {
	cfg Config

	// start <= synced <= end. What lies below end is in the files and readable;
	// what lies below synced is durable.
	start, synced, end atomic.Int64

	segments atomic.Pointer[[]*segment]   // in order of their offsets, never changed in place; the last is active
	epochs   atomic.Pointer[[]EpochEntry] // never changed in place
	mark     atomic.Pointer[mark]         // never changed in place
	tail     tail
	files    openFiles

	// generation counts truncations, after which bytes that a reader is looking
	// at may be replaced: a reader that meets damage looks whether it has moved.
	generation atomic.Uint64
	closed     atomic.Bool
	broken     atomic.Bool // failed is set

	// The writer's own.
	active      *segment   // the last of segments; nil in a log that never had a record
	file        *handle    // its file
	index       *liveIndex // its index
	syncedPos   int64      // how much of it is durable
	filled      int64      // where the zeros behind it end, if beyond its size
	unfilled    bool       // zeros could not be written: there will be none in this segment
	checkpoint  checkpoint // the newest one in the file
	sealed      int        // segments before the active one
	digest      uint64     // the sum of their digests
	epochsDirty bool       // the epochs in the file are older
	producers   producers  // a fold of the batches below end
	snapshots   snapshots  // its files
	dropped     []*segment // lie before the start, and their files are still there
	failed      error      // what made the log refuse appends for good
}

// StartOffset returns the first offset that may be read.
func (l *Log) StartOffset() int64 { return l.start.Load() }

// EndOffset returns the offset that the next record gets.
func (l *Log) EndOffset() int64 { return l.end.Load() }

// SyncedOffset returns the offset below which everything is durable.
func (l *Log) SyncedOffset() int64 { return l.synced.Load() }

// Epochs returns the leader epochs of the log's batches, oldest first. The slice
// is read-only.
func (l *Log) Epochs() []EpochEntry { return *l.epochs.Load() }

// Size returns the length of all segments in bytes, without their indexes.
func (l *Log) Size() int64 {
	var size int64
	for _, s := range l.list() {
		size += s.size.Load()
	}
	return size
}

// FirstSegment returns the offset at which the first segment begins, which may lie
// before StartOffset.
func (l *Log) FirstSegment() int64 {
	if s := l.list(); len(s) > 0 {
		return s[0].base
	}
	return l.start.Load()
}

// Segments returns how many segments the log has.
func (l *Log) Segments() int { return len(l.list()) }

func (l *Log) list() []*segment { return *l.segments.Load() }

// segmentOf returns which of the segments holds an offset, the last one for
// those beyond the end. There must be one that begins at or before it.
func segmentOf(segments []*segment, offset int64) int {
	if last := len(segments) - 1; segments[last].base <= offset {
		return last
	}
	return sort.Search(len(segments), func(i int) bool { return segments[i].base > offset }) - 1
}

// at returns an error at an offset of this log.
func (l *Log) at(code fault.Code, offset int64) *fault.Error {
	return fault.At(code, l.cfg.Topic, l.cfg.Partition, offset)
}

// usable returns why the writer may not go on, or nil.
func (l *Log) usable() error {
	if l.closed.Load() {
		return l.at(fault.Closed, -1)
	}
	return l.failed
}

// fail closes the log for its writer, for good: what the disk holds is no longer
// known. Readers go on.
func (l *Log) fail(cause error) error {
	l.failed = l.at(fault.Storage, l.end.Load()).Because(cause).ForGood().
		Try("the log accepts no more appends; open the broker again once the disk is sound")
	l.broken.Store(true)
	if l.cfg.Failed != nil {
		l.cfg.Failed(l.failed)
	}
	return l.failed
}

// refuse returns an error for something that was not done and may be tried
// again.
func (l *Log) refuse(cause error) error {
	return l.at(fault.OfDisk(cause), l.end.Load()).Because(cause)
}

// corrupt returns the error for damaged bytes in a segment's file.
func (l *Log) corrupt(s *segment, offset, pos int64, expected, found string) error {
	return &fault.Corruption{
		Topic: l.cfg.Topic, Partition: l.cfg.Partition, Offset: offset,
		File: s.logPath(), Pos: pos, Expected: expected, Found: found,
		Hint: "the file is left as it is; restore it from a copy, or read on behind the damage",
	}
}

// Absent returns a log in place of one that could not be opened: it is closed, has
// no records, and its offsets are -1. Only Remove does anything.
func Absent(cfg Config) *Log {
	l := &Log{cfg: cfg.withDefaults()}
	for _, offset := range []*atomic.Int64{&l.start, &l.synced, &l.end} {
		offset.Store(-1)
	}
	l.segments.Store(&[]*segment{})
	l.epochs.Store(&[]EpochEntry{})
	l.closed.Store(true)
	return l
}

// Close syncs the log and marks it as closed in order, so that the next Open
// need not verify anything. Readers at work finish. Close may be called again.
func (l *Log) Close() error {
	if l.closed.Load() {
		return nil
	}
	err := l.closeClean()
	l.discard()
	return err
}

func (l *Log) closeClean() error {
	if l.failed != nil || l.active == nil {
		return nil // the failure was reported when it happened; or there is nothing
	}
	if err := l.finish(); err != nil {
		return err
	}
	c := l.checkpoint
	if c.clean && !l.epochsDirty && !l.snapshots.stale {
		return nil
	}
	// On a full disk the index stays as it is: it is one without its last entries.
	err := l.index.file(l.active, filingWhole)
	if err == nil || fault.OfDisk(err) == fault.DiskFull {
		err = l.noteCheckpoint(true)
	}
	if err != nil {
		return l.refuse(err)
	}
	return nil
}

// discard lets go of files and memory.
func (l *Log) discard() {
	l.closed.Store(true)
	for _, s := range l.list() {
		s.retire()
	}
	if l.file != nil {
		l.file.release()
		l.file = nil
	}
	l.tail.evict(0)
}

// SetSegments changes SegmentBytes and SegmentAge from the next Append on; zero
// stands for the default.
func (l *Log) SetSegments(bytes int64, age time.Duration) {
	cfg := Config{SegmentBytes: bytes, SegmentAge: age}.withDefaults()
	l.cfg.SegmentBytes, l.cfg.SegmentAge = cfg.SegmentBytes, cfg.SegmentAge
}
