package host

import (
	"errors"
	"io"
	"iter"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/catalogue"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Config configures a Host.
type Config struct {
	FS   vfs.FS
	Dir  string
	Disk bool         // FS outlives the process
	Lock *layout.Lock // nil in memory, and on a test's file system

	// Replication, unless nil, opens the partitions.
	Replication Replication

	Codec              *record.Codec
	Durability         topic.Durability // of topics whose configuration has the default
	ProducerExpiration time.Duration    // as partition.Settings.ProducerExpiration

	Found  func(Found)                        // is called with the result of opening a partition
	Failed func(record.TopicPartition, error) // is called when a partition refuses all further records

	// LeadershipChanged, unless nil, is called when a replica has begun or ceased to
	// lead its partition. It must not block.
	LeadershipChanged func(record.TopicPartition)
}

// Found is the result of opening one partition.
type Found struct {
	record.TopicPartition
	log.Recovery
	Made bool  // its directory was missing, and was created
	Err  error // why it did not open, or nil
}

// Cleaner is notified of events that may have made old records due. Its methods must
// not block.
type Cleaner interface {
	// Enqueue is called when a partition was opened or has begun a segment; and, with
	// nil, when the configuration of a topic that is not open has changed.
	Enqueue(*Topic, *partition.Partition)

	// Renew is called when the configuration of a partition's topic has changed.
	Renew(*Topic, *partition.Partition)

	// Forget is called when a topic was opened or deleted, with the partitions that
	// were deleted with it.
	Forget(*Topic, ...*partition.Partition)
}

// Session is closed before the partitions. If it is a Watcher, it is notified of
// changes.
type Session interface{ io.Closer }

// Watcher is a session that is notified when topics or partitions have changed.
type Watcher interface {
	// MetadataChanged is called after every change. It must not block.
	MetadataChanged()
}

// Host holds the topics of a data directory in this process.
type Host struct {
	cfg     Config
	cleaner Cleaner

	topics  sync.Map                      // a *Topic for every name, internal ones too
	changed atomic.Pointer[chan struct{}] // closed and replaced at every change
	closing chan struct{}                 // closed when closing begins

	// mu guards what follows; it is held for a few instructions only.
	mu       sync.Mutex
	sessions map[Session]struct{} // nil once closing has begun
}

// New returns a host without topics. cleaner is called once, with the host, and
// returns its Cleaner.
func New(cfg Config, cleaner func(*Host) Cleaner) *Host {
	h := &Host{cfg: cfg, closing: make(chan struct{}), sessions: map[Session]struct{}{}}
	changed := make(chan struct{})
	h.changed.Store(&changed)
	h.cleaner = cleaner(h)
	return h
}

// Codec returns the codec of the host's partitions.
func (h *Host) Codec() *record.Codec { return h.cfg.Codec }

// CheckLock returns fault.Locked if another process may have the directory by now. Every
// operation that destroys something calls it first.
func (h *Host) CheckLock() error { return h.cfg.Lock.Check() }

// AddSession adds a session, which the host's Close will return; fault.Closed after
// that.
func (h *Host) AddSession(s Session) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sessions == nil {
		return fault.Closed
	}
	h.sessions[s] = struct{}{}
	return nil
}

// RemoveSession removes a session that has been closed.
func (h *Host) RemoveSession(s Session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.sessions, s)
}

// Sessions returns the sessions that are open, in no order.
func (h *Host) Sessions() []Session {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Keys(h.sessions))
}

// Close begins closing: from here on, the host refuses to open topics and to add
// sessions. It returns the open sessions, which the caller must close before Shut,
// and whether this was the first call.
func (h *Host) Close() (open map[Session]struct{}, first bool) {
	h.mu.Lock()
	open = h.sessions
	h.sessions = nil
	h.mu.Unlock()
	if open == nil {
		return nil, false
	}
	close(h.closing)
	return open, true
}

// Closing returns a channel that is closed when closing begins.
func (h *Host) Closing() <-chan struct{} { return h.closing }

// IsClosed reports whether closing has begun.
func (h *Host) IsClosed() bool {
	select {
	case <-h.closing:
		return true
	default:
		return false
	}
}

// Shut closes every partition that is open. Nothing is opened afterwards.
func (h *Host) Shut() error {
	var errs []error
	for t := range h.All() {
		t.opening <- struct{}{} // keeps the token, so that nothing is opened afterwards
		for _, p := range t.Partitions() {
			errs = append(errs, p.Close())
		}
	}
	return errors.Join(errs...)
}

// All returns all topics, internal ones too, in no order.
func (h *Host) All() iter.Seq[*Topic] {
	return func(yield func(*Topic) bool) {
		h.topics.Range(func(_, t any) bool { return yield(t.(*Topic)) })
	}
}

// Lookup returns the topic of that name, open or not.
func (h *Host) Lookup(name string) (t *Topic, ok bool) {
	v, ok := h.topics.Load(name)
	if !ok {
		return nil, false
	}
	return v.(*Topic), true
}

// Has reports whether there is a topic of that name with this ID.
func (h *Host) Has(name string, id topic.ID) bool {
	t, ok := h.Lookup(name)
	return ok && t.ID == id
}

// MetadataChanged returns a channel that is closed at the next change of topics or
// partitions. Call it before reading the topics: a change in between then closes the
// channel, and is not missed.
func (h *Host) MetadataChanged() <-chan struct{} { return *h.changed.Load() }

// Announce wakes all who wait for MetadataChanged, and notifies the sessions. It must
// be called after the change is visible.
func (h *Host) Announce() {
	next := make(chan struct{})
	close(*h.changed.Swap(&next))
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.sessions {
		if w, ok := s.(Watcher); ok {
			w.MetadataChanged()
		}
	}
}

// Publish adds or updates the named topics from a catalogue. It opens no partitions.
func (h *Host) Publish(from *catalogue.Catalogue, names ...string) {
	for _, name := range names {
		c := from.Topic(name)
		if c == nil {
			continue
		}
		v, ok := h.topics.Load(name)
		t, _ := v.(*Topic)
		if !ok {
			t = &Topic{
				Name: name, ID: c.ID, Internal: topic.IsInternal(name),
				opening: make(chan struct{}, 1),
				gone:    make(chan struct{}),
			}
		}
		t.SetConfig(c.Config)
		t.placement.Store(&c.Partitions)
		if !ok {
			h.topics.Store(name, t)
		}
	}
}

// SetLoaded marks all partitions as existing, because the directory was closed
// cleanly: a directory that is missing now was lost, and is not created again.
func (h *Host) SetLoaded() {
	for t := range h.All() {
		t.loaded = int32(len(t.Placement()))
	}
}

// Reconfigure applies a topic's new configuration, which was published, to its
// partitions.
func (h *Host) Reconfigure(t *Topic) error {
	if err := h.claimOpening(t); err != nil {
		return err
	}
	defer func() { <-t.opening }()
	cfg := t.Config()
	for _, p := range t.Partitions() {
		p.Configure(h.settings(cfg))
		p.SetSegments(segments(cfg))
		if c := p.Copy(); c != nil && !IsBroken(p) {
			h.cleaner.Renew(t, c)
		}
	}
	if !t.IsOpen() {
		h.cleaner.Enqueue(t, nil)
	}
	return nil
}

// claimOpening takes the token for opening a topic's partitions, or returns
// fault.Closed.
func (h *Host) claimOpening(t *Topic) error {
	select {
	case t.opening <- struct{}{}:
		return nil
	case <-h.closing:
		return fault.Closed
	}
}

// Path returns a partition's directory.
func (h *Host) Path(tp record.TopicPartition) string { return filepath.Join(h.cfg.Dir, tp.String()) }
