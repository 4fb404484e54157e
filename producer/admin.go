package producer

import (
	"context"
	"time"

	"github.com/runnel-go/runnel/record"
)

// Admin looks after transactions (KIP-664). Every backend is one. All methods are safe for
// concurrent use.
type Admin interface {
	// ListTransactions lists the transactional IDs that are known, sorted.
	ListTransactions(ctx context.Context) ([]TransactionListing, error)

	// DescribeTransactions describes transactional IDs in that order, as their
	// coordinators know them; fault.TransactionalIDNotFound.
	DescribeTransactions(ctx context.Context, ids ...string) ([]TransactionDescription, error)

	// DescribeProducers returns the idempotent producers that the partitions' leaders
	// know, by producer ID.
	DescribeProducers(ctx context.Context, partitions ...record.TopicPartition) (map[record.TopicPartition][]ProducerState, error)

	// ForceTerminateTransaction aborts the open transaction of a transactional ID, and
	// waits until it has ended. It returns fault.TransactionalIDNotFound where the ID is not
	// known, and fault.InvalidTxnState where it has no open transaction.
	ForceTerminateTransaction(ctx context.Context, id string) error

	// AbortTransaction aborts in one partition the open transaction of a producer that
	// DescribeProducers returned, whatever its coordinator knows. It is for transactions
	// that hang: AbortHanging makes sure that one does.
	AbortTransaction(ctx context.Context, tp record.TopicPartition, of ProducerState) error
}

// The states of a transactional ID, in Kafka's words. In the first one and the last three
// it has no transaction.
const (
	TransactionEmpty          = "Empty"
	TransactionOngoing        = "Ongoing"
	TransactionPrepareCommit  = "PrepareCommit" // decided; markers are being written
	TransactionPrepareAbort   = "PrepareAbort"
	TransactionCompleteCommit = "CompleteCommit"
	TransactionCompleteAbort  = "CompleteAbort"
	TransactionDead           = "Dead"
)

// TransactionListing is a transactional ID in a list.
type TransactionListing struct {
	TransactionalID string
	Coordinator     int32 // the node that coordinates it
	ProducerID      int64
	State           string
}

// TransactionDescription is what a coordinator knows of a transactional ID.
type TransactionDescription struct {
	TransactionListing
	Epoch      int16
	Timeout    time.Duration
	Started    time.Time               // zero without a transaction
	Partitions []record.TopicPartition // of the transaction, sorted
}

// ProducerState is what a partition's leader knows of an idempotent producer.
type ProducerState struct {
	ProducerID       int64
	Epoch            int16
	LastSequence     int32 // -1: none in this epoch
	LastTimestamp    time.Time
	CoordinatorEpoch int32 // of the last marker; -1: none
	TransactionStart int64 // the first offset of its open transaction; -1: none
}
