package partition

import (
	"cmp"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/keyindex"
	"github.com/runnel-go/runnel/log"
)

// Config configures a partition: its log and its first settings.
type Config struct {
	Log log.Config
	Settings

	// Crowd is how many producers the partition remembers before it drops those
	// that ended or expired. Default 1024.
	Crowd int

	// Replica says that the log is one replica's copy of the partition: others decide
	// what it holds and how far it is committed. See Lead.
	Replica bool

	// LeadershipChanged, unless nil, is called when what Leadership returns of a replica
	// has changed. It must not block.
	LeadershipChanged func()

	// SetStart, unless nil, takes the place of log.Log's: a replica remembers where the log
	// begins. The writer calls it.
	SetStart func(offset int64) error

	// StartBatch, unless nil, returns a stamped batch of one offset that, once a replica's
	// group has committed it, makes the log of every replica begin at start, which may lie
	// right behind the batch. DeleteRecords and Clean then go through the group.
	StartBatch func(start, base int64, epoch int32) []byte
}

// DefaultCrowd is Config.Crowd where it is 0.
const DefaultCrowd = 1024

// Settings are the part of a topic's configuration that concerns appending. The
// zero value accepts batches of any size, keeps their times, and commits a record
// once it is written.
type Settings struct {
	Fsync           bool          // a record is committed once it is on disk
	MaxMessageBytes int           // the largest batch that is accepted; 0: any
	AppendTime      bool          // records get the time at which their batch is appended
	Before, After   time.Duration // how far a record's time may lie before and after the clock; negative or 0: any
	Keyed           bool          // every record must have a key, because the log is compacted by it
	MinReplicas     int           // how many copies acks=all requires: min.insync.replicas
	KeyIndex        bool          // an append may demand something of its key: runnel.key.index

	// ProducerExpiration is how long the partition remembers idempotent producers
	// of earlier processes: producer.id.expiration.ms. It remembers this process's
	// producers until EndProducer. 0: for ever.
	ProducerExpiration time.Duration
}

// Partition is one copy of a partition. See the package's documentation.
type Partition struct {
	Rules
	epoch    atomic.Int32 // the leader epoch of what is appended
	replica  *replica     // nil for the only copy
	log      *log.Log
	setStart func(offset int64) error // the log's, or Config's
	broken   error                    // why it could not be opened, or nil
	keys     *keys

	// high is the high watermark: start <= high <= log.EndOffset(). Only the writer
	// moves it, or in a replica the one who settles, and only up.
	high atomic.Int64

	// The writer's own, without a lock: the role passes from one goroutine to the
	// next under mu, which orders their accesses.
	round  []pending // the appends being written
	failed error     // why every append is refused: a failed sync, or closed as of this round

	// covered is the offset before which everything is durable, or a marker that a crash
	// cannot undo: high <= covered <= log.EndOffset(), without replicas. unsynced says that
	// something behind it waits for a sync. Also the writer's.
	covered  int64
	unsynced bool

	woken []Waker // advance's scratch space

	// Also the writer's: idempotent producers.
	staged  []staged           // their ends in the run being gathered
	live    map[int64]struct{} // they appended since Open, and forgetProducers hasn't seen them end
	crowd   int                // Config.Crowd
	crowded int                // with more known producers than this, forgetProducers runs

	mu       sync.Mutex
	cleaning *cleaning     // the running Clean, or nil
	held     []int64       // the offsets of Hold
	ended    []int64       // producers that will not append again
	queue    []pending     // appends and tasks for the next round
	writing  bool          // a goroutine has the writer's role; false only with an empty queue
	closed   error         // why every append and Wait is refused, or nil
	idle     chan struct{} // nil, or closed when the last role is given up: what shut waits for
	waiting  []waiter      // readers at the end of the log
}

// Open opens the partition's log and reports what it found there. A leader epoch
// begins at 0, and rises whenever the log was not closed cleanly, so that a
// record which was lost then and the one that now has its offset never look
// alike (KIP-320). A replica's epoch is its group's, and its high watermark begins at
// the log's start, because only the group knows what is committed.
func Open(cfg Config) (*Partition, log.Recovery, error) {
	l, found, err := log.Open(cfg.Log)
	if err != nil {
		return nil, found, err
	}
	p := over(l, cfg)
	epoch := latestEpoch(l)
	if rises := !found.Clean && !cfg.Replica && len(l.Epochs()) > 0; rises && epoch == math.MaxInt32 {
		l.Close()
		return nil, found, p.fault(fault.UnsupportedFormat, l.EndOffset()).
			Detailf("its last record is of leader epoch %d, and there is none after that", epoch)
	} else if rises {
		epoch++
	}
	p.epoch.Store(epoch)
	if cfg.KeyIndex || !found.Clean { // before anything is appended that takes the place of what was lost
		if err := keyindex.Sweep(p.keys.cfg, !cfg.KeyIndex); err != nil {
			l.Close()
			return nil, found, p.storage(err)
		}
	}
	if cfg.Fsync && l.SyncedOffset() < l.EndOffset() {
		if err := l.Sync(); err != nil {
			l.Close()
			return nil, found, err
		}
	}
	if !cfg.Replica {
		p.high.Store(l.EndOffset())
		p.covered = l.EndOffset()
	}
	return p, found, nil
}

// Over returns a replica's partition over a log that its group has opened and writes,
// as Write says. Closing the partition closes the log.
func Over(l *log.Log, cfg Config) *Partition {
	cfg.Replica = true
	p := over(l, cfg)
	p.epoch.Store(latestEpoch(l))
	return p
}

// over returns a partition over an open log, without its epoch.
func over(l *log.Log, cfg Config) *Partition {
	p := &Partition{
		log: l, setStart: l.SetStart,
		live: map[int64]struct{}{}, crowd: cmp.Or(cfg.Crowd, DefaultCrowd),
	}
	if cfg.SetStart != nil {
		p.setStart = cfg.SetStart
	}
	p.Rules.init(&cfg)
	p.forgetProducers()
	if cfg.Replica {
		p.replica = newReplica(p, &cfg)
		p.high.Store(l.StartOffset())
	}
	p.keys = newKeys(p, &cfg.Log)
	return p
}

// latestEpoch returns the leader epoch of the log's last batch, 0 without one.
func latestEpoch(l *log.Log) int32 {
	if epochs := l.Epochs(); len(epochs) > 0 {
		return epochs[len(epochs)-1].Epoch
	}
	return 0
}

// Broken returns a stand-in for a partition that could not be opened because of
// err. Its methods return that error, its offsets and its leader epoch are -1, and
// Delete removes its files.
func Broken(cfg Config, err error) *Partition {
	p := &Partition{log: log.Absent(cfg.Log), closed: err, broken: err, crowd: cmp.Or(cfg.Crowd, DefaultCrowd)}
	p.epoch.Store(-1)
	p.Rules.init(&cfg)
	p.high.Store(-1)
	p.keys = newKeys(p, &cfg.Log)
	return p
}

// Err returns why the partition could not be opened, or nil; see Broken.
func (p *Partition) Err() error { return p.broken }

// SetSegments changes how the log is cut into segments, after the appends already
// in the queue; see log.Config.
func (p *Partition) SetSegments(bytes int64, age time.Duration) {
	p.enqueue(pending{task: func(refused error) {
		if refused == nil {
			p.log.SetSegments(bytes, age)
		}
	}})
}

// AppendWaits reports whether an append waits, for the disk or for other replicas. A
// goroutine that serves others should then not append itself.
func (p *Partition) AppendWaits() bool { return p.replica != nil || p.settings.Load().Fsync }

// StartOffset returns the first offset that may be read.
func (p *Partition) StartOffset() int64 { return p.log.StartOffset() }

// FirstSegment returns the offset at which the log's first segment begins, which
// may lie before StartOffset.
func (p *Partition) FirstSegment() int64 { return p.log.FirstSegment() }

// HighWatermark returns the offset after the last readable record.
func (p *Partition) HighWatermark() int64 { return p.high.Load() }

// EndOffset returns the offset after the last record written.
func (p *Partition) EndOffset() int64 { return p.log.EndOffset() }

// DurableOffset returns the offset below which every record is on disk.
func (p *Partition) DurableOffset() int64 { return p.log.SyncedOffset() }

// Size returns the length of the log in bytes.
func (p *Partition) Size() int64 { return p.log.Size() }

// LeaderEpoch returns the epoch that appended batches get.
func (p *Partition) LeaderEpoch() int32 { return p.epoch.Load() }

// EpochAt returns the leader epoch under which the record at offset was written,
// the current one at the log's end, and -1 for an offset before all epochs.
func (p *Partition) EpochAt(offset int64) int32 {
	if offset >= p.log.EndOffset() {
		return p.epoch.Load()
	}
	epoch := int32(-1)
	for _, e := range p.log.Epochs() {
		if e.Start > offset {
			break
		}
		epoch = e.Epoch
	}
	return epoch
}

// OffsetForTime returns the offset and the timestamp in milliseconds of the
// first readable record whose timestamp is ms or later, and whether there is one.
func (p *Partition) OffsetForTime(ms int64) (offset, timestamp int64, ok bool, err error) {
	if p.broken != nil {
		return 0, 0, false, p.broken
	}
	offset, timestamp, ok, err = p.log.OffsetForTime(ms)
	if ok && offset >= p.high.Load() {
		return 0, 0, false, nil
	}
	return offset, timestamp, ok, err
}

// DeleteRecords makes the records before an offset unreadable and returns the
// new start offset, which is never lower than before; -1 means the high
// watermark. fault.OffsetOutOfRange beyond that.
//
// A replica's group decides where its logs begin, if Config.StartBatch is set: only its
// leader's copy takes the call, and it returns when a majority has the new start, which
// then never goes back. This copy has it soon after, like all others. fault.NotLeader, and
// fault.UnknownOutcome, are as in Append.
func (p *Partition) DeleteRecords(before int64) (start int64, err error) {
	if r := p.replica; r != nil && r.startBatch != nil {
		done := make(began, 1)
		r.propose(pending{moves: true, to: before, done: done})
		result := <-done
		return result.start, result.err
	}
	return p.Trim(before)
}

// Trim is DeleteRecords for this copy alone, whatever the group's other replicas have.
func (p *Partition) Trim(before int64) (start int64, err error) {
	err = p.asWriter(func() error {
		high := p.high.Load()
		if before == -1 {
			before = high
		}
		if before < 0 || before > high {
			return p.outside(before, high)
		}
		err := p.setStart(before) // also with the present start, which may not be durable yet
		start = p.log.StartOffset()
		return err
	})
	return start, err
}

// outside is the error for deleting records that there are not.
func (p *Partition) outside(before, high int64) error {
	return p.fault(fault.OffsetOutOfRange, before).Detailf("the high watermark is %d", high)
}

// Close refuses further appends, fails the queued ones with fault.Closed, wakes
// readers, and closes the log once the current round is written. It is idempotent.
func (p *Partition) Close() error {
	if !p.shut(fault.Closed) {
		return nil
	}
	p.forgetProducers()
	flushed := p.keys.close(true) // of an index that is made again otherwise
	return cmp.Or(p.log.Close(), flushed)
}

// Abandon refuses all further work with fault.UnknownTopic, as Delete does, and
// leaves the log's files alone: they may be moved once it returns.
func (p *Partition) Abandon() {
	if p.shut(fault.UnknownTopic) {
		_ = p.keys.close(false)
	}
}

// Delete does what Close does, with fault.UnknownTopic, and removes the log.
func (p *Partition) Delete() error {
	p.Abandon()
	return p.log.Remove()
}

// shut ends appending and cleaning with an error of this code, and returns once
// the writer and the cleaner have stopped: the log is then the caller's. It
// reports whether the partition was open.
//
// The order matters: with closed set, no new Clean and no new round can succeed.
// A Clean appends tasks, so it must end before shut waits for the writer.
func (p *Partition) shut(code fault.Code) bool {
	p.mu.Lock()
	open := p.closed == nil
	if open {
		p.closed = p.fault(code, -1)
	}
	p.mu.Unlock()
	p.keys.stop() // appends that wait for the index come back, and are refused
	p.mu.Lock()
	if c := p.cleaning; c != nil {
		p.mu.Unlock()
		c.cancel() // also while it waits for a replica's group
		<-c.done
		p.mu.Lock()
	}
	if r := p.replica; r != nil {
		r.endLocked(p.closed)
		p.mu.Unlock()
		r.settle()
		p.mu.Lock()
	}
	if p.busyLocked() {
		if p.idle == nil {
			p.idle = make(chan struct{})
		}
		idle := p.idle
		p.mu.Unlock()
		<-idle
		p.mu.Lock()
	}
	waiting := p.waiting
	p.waiting = nil
	p.mu.Unlock()
	for _, w := range waiting {
		w.waker.Wake()
	}
	return open
}

// busyLocked reports whether someone has a role: the writer, or one of a replica's.
func (p *Partition) busyLocked() bool {
	return p.writing || p.replica != nil && (p.replica.judging || p.replica.settling)
}

// restLocked wakes shut once no one has a role any more. It is called when a role is
// given up.
func (p *Partition) restLocked() {
	if p.idle != nil && !p.busyLocked() {
		close(p.idle)
		p.idle = nil
	}
}
