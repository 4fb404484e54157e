package share

import (
	"context"
	"time"

	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Backend is what share consumers run on: *runnel.Broker, with one copy of its partitions or
// with replicas, *runnel.Remote, *kafka.Cluster.
type Backend interface {
	// OpenShare opens a session, a member of the group. cfg has been validated by New.
	OpenShare(ctx context.Context, cfg Config) (Session, error)
}

// Config is what a session needs to know. New fills it from its options, with every
// default set.
type Config struct {
	Group  string
	Topics []string // the session waits for one that does not exist yet

	LockTime time.Duration // how long a record is locked for the member that has acquired it
	Attempts int           // how often a record is delivered, at most
	Spent    bool          // records that were delivered so often are acquired once more, for their dead letter
	Locks    int           // the most records of a partition that are acquired or wait for another attempt

	Start         topic.OffsetSpec // where the group begins a partition that is new to it
	ReadCommitted bool             // pass over records of transactions that are open or were aborted
	MaxBytes      int              // about how many bytes of records one Acquire returns; one record may be larger
}

// Acquired is a record that a session has acquired.
type Acquired struct {
	Record record.Record // its bytes are the receiver's

	// Acquisition tells this delivery from others of the same record to the same session.
	// A Settlement of it has the same.
	Acquisition int64

	Attempt int       // 1 for the first delivery
	Spent   bool      // it was delivered as often as is allowed, and is to become a dead letter: see Config.Spent
	Until   time.Time // when its lock ends
}

// Kind is what becomes of a record: KIP-932's type of acknowledgement, under Kafka's
// numbers, and Return.
type Kind int8

// The kinds.
const (
	Accept  Kind = 1 // it is done
	Release Kind = 2 // it is available for another attempt, from Settlement.At on
	Reject  Kind = 3 // it is given up
	Renew   Kind = 4 // its lock goes on, until Settlement.At
	Return  Kind = 5 // it is available, and its delivery does not count
)

// Settlement says what becomes of an acquired record.
type Settlement struct {
	Position    record.Position
	Acquisition int64 // Acquired.Acquisition
	Kind        Kind
	At          time.Time // zero: now
}

// Session is a member of a share group. All methods are safe for concurrent use.
type Session interface {
	// Acquire acquires records, at most max, and waits for some. They are of one
	// partition, in the order of their offsets. If ctx ends, the error is ctx's, and the
	// session has acquired nothing, or gives it back.
	Acquire(ctx context.Context, max int) ([]Acquired, error)

	// Settle settles acquired records, and returns when that is as durable as the broker's
	// own topics. errs has an error for each settlement: fault.InvalidRecordState for a
	// record that the session has not, or no longer, acquired by that acquisition. With err, all may
	// have been settled, and the call may be made again: what was settled is then InvalidRecordState.
	Settle(ctx context.Context, all []Settlement) (errs []error, err error)

	// Close ends the session. What it has acquired becomes available. Close is idempotent.
	Close() error
}
