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

// Config configures a log. FS and Dir are required; the zero value of any other
// field means its default.
type Config struct {
	FS        vfs.FS
	Dir       string // the partition's directory, created if it is missing
	Topic     string // named in errors
	Partition int32  // named in errors

	// Begin is the offset at which a log without records begins.
	Begin int64

	// Durable is an offset below which everything was durable, as far as the log's owner
	// knows. Open takes no flaw before it for a torn tail: it is damage.
	Durable int64

	// SegmentBytes is Kafka's segment.bytes: an append that would make a segment
	// longer begins a new one. Default 1 GiB, at most 2^31-1.
	SegmentBytes int64

	// SegmentAge is Kafka's segment.ms, by the records' timestamps: an append that
	// is this much later than the segment's first batch begins a new segment. A
	// timestamp ahead of the clock counts as the clock's time. Default 7 days.
	SegmentAge time.Duration

	// IndexInterval is Kafka's index.interval.bytes: the indexes get an entry for
	// every so many bytes of the log. Default 4096.
	IndexInterval int

	// TailBytes is how much of the log's end is kept in memory, too. The newest
	// append is kept, however large. Default 1 MiB, negative for nothing.
	TailBytes int

	// Codec decompresses batches for OffsetForTime and Compact. Without one, these
	// return fault.UnsupportedCompression for a compressed batch.
	Codec *record.Codec

	// Begun, unless nil, is called by the writer when a segment gets its first
	// batch: the segment before it is sealed, so retention and compaction may become
	// due. It must not block.
	Begun func()

	// Failed, unless nil, is called by the writer when an error makes the log refuse
	// all further appends. It must not block.
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

// Log is one partition's log. See the package's documentation for which methods
// only its writer may call.
type Log struct {
	cfg Config

	// start <= synced <= end. What lies below end is in the files and readable;
	// what lies below synced is durable.
	start, synced, end atomic.Int64

	segments atomic.Pointer[[]*segment]   // in order of their offsets, never changed in place; the last is active
	epochs   atomic.Pointer[[]EpochEntry] // never changed in place
	mark     atomic.Pointer[mark]         // how far the log is compacted; never changed in place
	tail     tail                         // the newest appends, in memory
	files    openFiles

	transactions transactions // that readers may not see yet

	// generation counts truncations, after which other bytes may replace those that
	// a reader is reading. A reader that finds damage compares it with the value from
	// before its read, and reads again if it has changed.
	generation atomic.Uint64
	closed     atomic.Bool
	broken     atomic.Bool // failed is set: for goroutines other than the writer's

	// The writer's own.
	active      *segment   // the last of segments; nil in a log that never had a record
	file        *handle    // the active segment's; nil until the first append after Open
	index       *liveIndex // the active segment's
	syncedPos   int64      // how much of the active segment is durable
	clock       int64      // as of the last look at the clock, in milliseconds; see now
	filled      int64      // where the zeros behind it end, if beyond its size
	unfilled    bool       // writing zeros failed, so this segment gets no more of them
	checkpoint  checkpoint // the newest one in the file
	sealed      int        // how many segments come before the active one
	digest      uint64     // the sum of their digests
	epochsDirty bool       // the epochs' file doesn't have all of epochs
	producers   producers  // a fold of the batches below end, as transactions is
	snapshots   snapshots  // the files of producers
	dropped     []*segment // lie before the start, and their files are yet to be deleted
	failed      error      // set once, when the log refuses all further appends
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

// Truncations returns how often Truncate has changed the log. Batches that were read
// while it stayed the same are of one log.
func (l *Log) Truncations() uint64 { return l.generation.Load() }

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

// BeginsSegment reports whether a segment begins at an offset.
func (l *Log) BeginsSegment(offset int64) bool {
	segments := l.list()
	return len(segments) > 0 && offset >= segments[0].base && segments[segmentOf(segments, offset)].base == offset
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
func (l *Log) errorAt(code fault.Code, offset int64) *fault.Error {
	return fault.At(code, l.cfg.Topic, l.cfg.Partition, offset)
}

// usable returns why the writer may not go on, or nil.
func (l *Log) usable() error {
	if l.closed.Load() {
		return l.errorAt(fault.Closed, -1)
	}
	return l.failed
}

// fail makes the log refuse all further appends, because the disk's content is no
// longer known. Readers continue.
func (l *Log) fail(cause error) error {
	l.failed = l.errorAt(fault.Storage, l.end.Load()).Because(cause).ForGood().
		Try("the log accepts no more appends; open the broker again once the disk is sound")
	l.broken.Store(true)
	if l.cfg.Failed != nil {
		l.cfg.Failed(l.failed)
	}
	return l.failed
}

// refuse returns the error for an operation that changed nothing and may be tried
// again.
func (l *Log) refuse(cause error) error {
	return l.errorAt(fault.OfDisk(cause), l.end.Load()).Because(cause)
}

// corrupt returns the error for damaged bytes in a segment's file.
func (l *Log) corrupt(s *segment, offset, pos int64, expected, found string) error {
	return &fault.Corruption{
		Topic: l.cfg.Topic, Partition: l.cfg.Partition, Offset: offset,
		File: s.logPath(), Pos: pos, Expected: expected, Found: found,
		Hint: "the file is left as it is; restore it from a copy, or read on behind the damage",
	}
}

// Absent returns a stand-in for a log that could not be opened. It is closed, has
// no records, and its offsets are -1. Only Remove has an effect.
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

// Close syncs the log and writes a clean checkpoint, so that the next Open need
// not verify anything. Running reads finish. Close may be called again.
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
		return nil // the failure was reported when it happened; or the log is empty
	}
	if err := l.trimZeros(); err != nil {
		return err
	}
	c := l.checkpoint
	if c.clean && !l.epochsDirty && !l.snapshots.stale {
		return nil
	}
	// On a full disk the index file lacks its last entries, which is valid.
	err := l.index.file(l.active, filingWhole)
	if err == nil || fault.OfDisk(err) == fault.DiskFull {
		err = l.writeCheckpointOnly(true)
	}
	if err != nil {
		return l.refuse(err)
	}
	return nil
}

// discard closes the files and frees the memory, without writing anything.
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
// means the default.
func (l *Log) SetSegments(bytes int64, age time.Duration) {
	cfg := Config{SegmentBytes: bytes, SegmentAge: age}.withDefaults()
	l.cfg.SegmentBytes, l.cfg.SegmentAge = cfg.SegmentBytes, cfg.SegmentAge
}
