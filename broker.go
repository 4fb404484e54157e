package runnel

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/cleaner"
	"github.com/runnel-go/runnel/internal/closing"
	"github.com/runnel-go/runnel/internal/coordinator"
	"github.com/runnel-go/runnel/internal/fetch"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/internal/journal"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/internal/metadata"
	"github.com/runnel-go/runnel/internal/produce"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Broker keeps topics in a directory (Open) or in memory (OpenMemory). It is a
// topic.Admin, a consumer.Admin, and the backend of producers, consumers and streams,
// and must be closed. All methods are safe for concurrent use.
//
// What it promises is in the package's documentation; a Remote is the same broker for
// another process. Whatever is called after Close is fault.Closed.
type Broker struct {
	config
	home
	folds  bool // the file system ignores the case of names
	socket      // for other processes; only with Open

	host         *host.Host
	cleaner      *cleaner.Cleaner
	groups       *coordinator.Groups
	transactions *coordinator.Transactions
	producers    *produce.Sessions
	consumers    *fetch.Sessions
	reserve      *layout.Reserve
	journal      *journal.Journal
	shares       shareGroups

	// writer holds a token while a goroutine changes topics. metadata's catalogue
	// belongs to that goroutine.
	writer   chan struct{}
	metadata *metadata.Log

	following sync.WaitGroup // the goroutine of follow
	followed  atomic.Int64   // the catalogue's offset up to which the topics are what it says

	opened  chan struct{} // closed when open has ended; with replicas
	closed  chan struct{} // closed when Close has ended
	failure error         // of closing; read it only when closed is closed

	mu       sync.Mutex
	recovery Recovery // guarded by mu
}

// transactionalIDRetention is how long a transactional ID is kept that has no transaction:
// Kafka's transactional.id.expiration.ms.
const transactionalIDRetention = 7 * 24 * time.Hour

// home is where a broker keeps its files.
type home struct {
	fsys vfs.FS
	dir  string
	disk bool         // fsys outlives the process
	lock *layout.Lock // nil in memory, and on a test's file system
}

// Open opens the broker in a directory, which it creates if it is missing. Records
// are on disk when they are acknowledged, unless DefaultDurability or a topic's
// Config says otherwise. Errors are:
//
//   - fault.Locked: another process, or this one, has the directory open.
//   - fault.UnsupportedFormat: a newer version wrote the directory, or Apache Kafka.
//     Nothing in it was changed.
//   - fault.CorruptMessage: the catalogue is damaged.
//
// Recovery reports what else Open found.
//
// A relative name is relative to the working directory at the time of the call. Open
// holds the directory itself: if it is moved, the broker follows it, and leaves a new
// directory of the old name alone.
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
	// Listening begins before opening: a process that attaches meanwhile waits.
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
		b.journal.Warn("other processes cannot attach", "error", err)
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

// open opens a broker.
func open(c config, h home) (*Broker, error) {
	began := time.Now()
	b := &Broker{config: c, home: h, writer: make(chan struct{}, 1), opened: make(chan struct{}), closed: make(chan struct{})}
	b.journal = journal.New(c.logger)
	if c.logger != nil {
		b.fsys = vfs.Watch(h.fsys, slowSync, b.logSlow)
	}
	if !h.disk {
		c.reserveBytes = 0
	}
	b.reserve = layout.NewReserve(h.fsys, h.dir, c.reserveBytes)
	b.compose()
	if err := b.load(); err != nil {
		b.cleaner.Close()
		err = errors.Join(err, b.closePartitions())
		b.journal.Close()
		return nil, err
	}
	b.reserve.Fill()
	b.recovery.Duration = time.Since(began)
	b.logOpening()
	b.writer <- struct{}{}
	b.release() // writes a snapshot if one is due
	if b.replication == nil {
		if !b.recovery.Clean {
			b.transactions.Repair()
		}
		b.transactions.Recover()
	}
	if b.replication != nil {
		b.followed.Store(b.metadata.Next())
		b.replication.Serve(func(ctx context.Context, request []byte) []byte { return b.cluster.answer(b, ctx, request) })
		b.following.Go(b.follow)
		close(b.opened)
	}
	return b, nil
}

// compose creates the broker's parts.
func (b *Broker) compose() {
	b.host = host.New(host.Config{
		FS: b.fsys, Dir: b.dir, Disk: b.disk, Lock: b.lock,
		Replication: b.replication,
		Codec:       record.NewCodec(b.maxExpanded), Durability: b.defaultDurability, ProducerExpiration: b.producerExpiration,
		Found: b.partitionOpened, Failed: b.logFailed, LeadershipChanged: b.leadershipChanged,
	}, func(h *host.Host) host.Cleaner {
		b.cleaner = cleaner.New(h, b.reserve, b.logCleaning)
		return b.cleaner
	})
	groups := coordinator.GroupsConfig{
		Host: b.host, Ensure: b.internalTopic, Reserve: b.reserve, Retention: b.offsetRetention, Gone: b.logGone, Node: b.node(),
		Refused: b.logRefused, Assignors: b.assignors,
	}
	if b.replication != nil {
		groups.CatchUp = b.lookUp
		groups.Ask = func(ctx context.Context, node int32, request []byte) ([]byte, error) {
			return b.ask(ctx, node, requestConsumerGroups, request)
		}
	}
	b.groups = coordinator.NewGroups(groups)
	transactions := coordinator.TransactionsConfig{
		Host: b.host, Groups: b.groups, Ensure: b.internalTopic, Reserve: b.reserve, NewID: b.newProducerID, Retention: transactionalIDRetention, Node: b.node(),
	}
	if b.replication != nil {
		transactions.CatchUp = b.lookUp
		transactions.Ask = func(ctx context.Context, node int32, request []byte) ([]byte, error) {
			return b.ask(ctx, node, requestTransactions, request)
		}
	}
	b.transactions = coordinator.NewTransactions(transactions)
	b.producers = produce.New(b.host, b.newProducerID, b.transactions)
	b.consumers = fetch.New(b.host, b.groups)
}

// OpenProducer implements producer.Backend. Programs call producer.New.
func (b *Broker) OpenProducer(ctx context.Context, cfg producer.Config) (producer.Session, error) {
	s, err := b.producers.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// OpenConsumer implements consumer.Backend. Programs call consumer.New.
func (b *Broker) OpenConsumer(ctx context.Context, cfg consumer.Config) (consumer.Session, error) {
	s, err := b.consumers.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Sessions returns how many producers and consumers are open, including those of
// streams.
func (b *Broker) Sessions() int { return len(b.host.Sessions()) }

// Close closes the open sessions of producers, consumers and streams, waits for the
// running command, and closes all partitions. Later calls of other methods fail with
// fault.Closed. Close is idempotent and may be called at any time. When it returns,
// the broker has no goroutine left.
func (b *Broker) Close() error {
	sessions, first := b.host.Close()
	if !first {
		<-b.closed
		return b.failure
	}
	b.socket.close()
	errs := closeSessions(sessions)
	b.groups.Close()
	errs = append(errs, b.transactions.Close())
	b.closeShares()
	b.cleaner.Close()
	b.following.Wait()
	b.writer <- struct{}{} // keeps the token, so that no command runs afterwards
	errs = append(errs, b.closePartitions())
	if b.failure = errors.Join(errs...); b.failure == nil {
		b.failure = b.reserve.With(b.markClean)
	}
	b.journal.Close()
	if b.lock != nil {
		b.lock.Release()
	}
	close(b.closed)
	return b.failure
}

// closeSessions closes the consumers first, because the callbacks of a consumer in
// Fetch may still send and commit.
func closeSessions(sessions map[host.Session]struct{}) (errs []error) {
	for s := range sessions {
		if c, ok := s.(*fetch.Session); ok {
			c.Abandon()
		}
	}
	late, cancel := closing.Late()
	defer cancel()
	for s := range sessions {
		if c, ok := s.(*fetch.Session); ok {
			errs = append(errs, c.Await(late.Done()))
		}
	}
	for s := range sessions {
		switch s := s.(type) {
		case *fetch.Session:
		case *produce.Session:
			s.End()
		default:
			errs = append(errs, s.Close())
		}
	}
	return errs
}

// isClosed reports whether Close has begun.
func (b *Broker) isClosed() bool { return b.host.IsClosed() }

// closePartitions closes every open partition, the catalogue's last.
func (b *Broker) closePartitions() error {
	err := b.host.Shut()
	if b.metadata != nil {
		err = errors.Join(err, b.metadata.Close())
	}
	return err
}
