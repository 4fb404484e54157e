package runnel

import (
	"errors"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/catalogue"
	"github.com/runnel-go/runnel/internal/closing"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// nodeID is the broker's number in catalogue records and descriptions.
const nodeID = 1

// Broker keeps topics in a directory or in memory. It is a topic.Admin, a
// consumer.Admin, and the backend of producers, consumers and streams. All
// methods are safe for concurrent use.
type Broker struct {
	config
	home
	folds  bool // the file system takes names for one that differ in case
	socket      // for other processes; of Open alone
	codec  *record.Codec

	// topics holds a *localTopic for every name, internal ones too. The
	// writer changes it.
	topics  sync.Map
	changed atomic.Pointer[chan struct{}] // closed and replaced at every change

	// writer is the token of whoever changes topics: who has put something
	// into it. The three fields below are the writer's.
	writer    chan struct{}
	catalogue *catalogue.Catalogue
	metadata  *partition.Partition // the catalogue's log
	snapshots snapshots

	reserve *layout.Reserve
	journal *journal
	groups  *groupService
	cleaner *cleaner
	chunks  chunkPool
	ids     producerIDs

	closing chan struct{} // closed when Close begins
	closed  chan struct{} // closed when Close has ended
	failure error         // of closing; to be read once closed

	// mu guards what follows; it is held for a few instructions only.
	mu       sync.Mutex
	sessions map[io.Closer]struct{} // nil once Close has begun
	recovery Recovery
}

// home is where a broker keeps its files.
type home struct {
	fsys vfs.FS
	dir  string
	disk bool         // what is written outlives the process
	lock *layout.Lock // nil in memory, and in a test's file system
}

// Open opens the broker in a directory, which is made if it is missing. Records
// are on disk when they are acknowledged, unless DefaultDurability or a topic's
// Config says otherwise.
//
// A directory that another process holds, or this one, is fault.Locked; one
// that a newer version wrote, or Apache Kafka, is fault.UnsupportedFormat, and
// nothing in it is changed; a catalogue whose bytes
// are damaged is fault.CorruptMessage. What else opening found is reported by
// Recovery.
//
// A relative name means where the program runs at that moment. Open holds the
// directory itself: when it is moved, it is used where it is then, and one that
// takes its name is not touched.
//
// Open listens on a socket in the directory, through which other processes of
// the same user reach the broker: see Attach, Socket and NoSocket.
func Open(dir string, opts ...Option) (*Broker, error) {
	c, err := configure(defaults(topic.Fsync), opts)
	if err != nil {
		return nil, err
	}
	if dir == "" {
		return nil, fault.Newf(fault.InvalidConfig, "the data directory has no name").Try(`name one, "." for where the program runs`)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, fault.Newf(fault.InvalidConfig, "data directory %s", dir).Because(err)
	}
	if err := layout.OfKafka(dir); err != nil {
		return nil, err
	}
	lock, err := layout.LockDir(dir, c.fileMode)
	if err != nil {
		return nil, err
	}
	// Whoever attaches while the directory is being opened waits.
	socket := listen(lock, c.noSocket)
	b, err := open(c, home{lock.Disk(), dir, true, lock})
	if err != nil {
		socket.close()
		lock.Release()
		return nil, err
	}
	b.socket = socket
	b.socket.serve(b)
	if err := socket.silent; err != nil {
		b.journal.warn("other processes cannot look in", "error", err)
	}
	return b, nil
}

// OpenMemory opens an empty broker in memory. Its topics and records are gone
// when it is closed.
func OpenMemory(opts ...Option) (*Broker, error) {
	c, err := configure(defaults(topic.Memory), opts)
	if err != nil {
		return nil, err
	}
	return open(c, home{fsys: vfs.NewMemory(), dir: "memory"})
}

// open opens the broker that has a home.
func open(c config, h home) (*Broker, error) {
	began := time.Now()
	b := &Broker{
		config: c, home: h,
		codec:     record.NewCodec(c.maxExpanded),
		catalogue: catalogue.New(),
		snapshots: snapshots{every: c.snapshotEvery},
		writer:    make(chan struct{}, 1),
		closing:   make(chan struct{}),
		closed:    make(chan struct{}),
		sessions:  map[io.Closer]struct{}{},
	}
	b.journal = &journal{logger: c.logger}
	if c.logger != nil {
		b.fsys = vfs.Watch(h.fsys, slowSync, b.noteSlow)
	}
	if !h.disk {
		c.reserveBytes = 0
	}
	b.reserve = layout.NewReserve(h.fsys, h.dir, c.reserveBytes)
	b.groups = newGroupService(b)
	b.cleaner = newCleaner(b)
	changed := make(chan struct{})
	b.changed.Store(&changed)
	if err := b.load(); err != nil {
		b.cleaner.close()
		err = errors.Join(err, b.closePartitions())
		b.journal.close()
		return nil, err
	}
	b.reserve.Fill()
	b.recovery.Duration = time.Since(began)
	b.noteOpening()
	b.writer <- struct{}{}
	b.release()
	return b, nil
}

// addSession notes that s is to be closed by Close; fault.Closed after that.
func (b *Broker) addSession(s io.Closer) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sessions == nil {
		return fault.Closed
	}
	b.sessions[s] = struct{}{}
	return nil
}

// removeSession notes that s has been closed.
func (b *Broker) removeSession(s io.Closer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.sessions, s)
}

// Sessions returns how many producers and consumers are open, those of streams
// among them.
func (b *Broker) Sessions() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.sessions)
}

// Close closes the sessions of producers, consumers and streams that are still
// open, lets the command at hand finish and closes all partitions. Whatever is
// called afterwards fails with fault.Closed. Close is idempotent, may be called
// at any moment, and when it returns no goroutine of the broker is left.
func (b *Broker) Close() error {
	b.mu.Lock()
	sessions := b.sessions
	first := sessions != nil
	b.sessions = nil
	b.mu.Unlock()
	if !first {
		<-b.closed
		return b.failure
	}
	close(b.closing)
	b.socket.close()
	errs := closeSessions(sessions)
	b.groups.close()
	b.cleaner.close()
	b.writer <- struct{}{} // never given back
	errs = append(errs, b.closePartitions())
	if b.failure = errors.Join(errs...); b.failure == nil {
		b.failure = b.reserve.With(b.markClean)
	}
	b.journal.close()
	if b.lock != nil {
		b.lock.Release()
	}
	close(b.closed)
	return b.failure
}

// closeSessions closes consumers first: where one is within Fetch, its callbacks
// may still send and commit.
func closeSessions(sessions map[io.Closer]struct{}) (errs []error) {
	for s := range sessions {
		if c, ok := s.(*fetchSession); ok {
			c.abandon()
		}
	}
	late, cancel := closing.Late()
	defer cancel()
	for s := range sessions {
		if c, ok := s.(*fetchSession); ok {
			errs = append(errs, c.await(late.Done()))
		}
	}
	for s := range sessions {
		if p, ok := s.(*session); ok {
			p.end()
		}
	}
	return errs
}

// isClosed reports whether Close has begun.
func (b *Broker) isClosed() bool {
	select {
	case <-b.closing:
		return true
	default:
		return false
	}
}

// closePartitions closes every partition that is open, the catalogue's last.
func (b *Broker) closePartitions() error {
	var errs []error
	b.topics.Range(func(_, v any) bool {
		t := v.(*localTopic)
		t.opening <- struct{}{} // never given back: nothing opens any more
		for _, p := range t.open() {
			errs = append(errs, p.Close())
		}
		return true
	})
	if b.metadata != nil {
		errs = append(errs, b.metadata.Close())
	}
	return errors.Join(errs...)
}
