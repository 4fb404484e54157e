// Package txn is the transaction coordinator: transactions as a fold of the records of one
// partition of __transaction_state.
//
// A [Coordinator] holds the transactional IDs of that partition. Its commands (Init, Add,
// End, Complete, Expire) return the records that describe what they did, and leave the
// Coordinator in the state after them. State changes in one way only: Apply reads the
// bytes of one record, and a command applies each record that it makes. A running
// coordinator is therefore in the same state as one that has read its log. If the caller
// cannot append a command's records, it discards the Coordinator and reads the log again.
//
// The package has no goroutine, no clock and no I/O: the time and new producer IDs are
// arguments.
//
// # The states of a transactional ID
//
//	          Add                  End(commit)                    Complete
//	Empty ──────────▶ Ongoing ──────────────────▶ PrepareCommit ──────────▶ CompleteCommit
//	  ▲               ▲  │ │ Add                                                 │
//	  │ Init          │  └─┘                                                     │
//	  │               │  │ End(abort), Expire,                    Complete       │
//	  │               │  │ Init               ─▶ PrepareAbort ──────────▶ CompleteAbort
//	  │               │                                                          │   │
//	  │               └────────────────────────── Add ───────────────────────────┘◀──┘
//	  └────────────────────────────────────────── Init ──────────────────────────┘
//
// From Empty, CompleteCommit and CompleteAbort, Forget leads to Dead: the ID is unknown
// after that.
//
// The decision is the record of PrepareCommit or PrepareAbort. Once it is durable, the
// caller writes a marker into each of the transaction's partitions and calls Complete. A
// caller that has read the log does the same for all that Undone returns, as often as need
// be: markers that are there are not written again.
//
// # Epochs
//
// A producer is its ID and its epoch. Init raises the epoch, which fences earlier producers
// of the same transactional ID (KIP-360). So does the end of each transaction (KIP-890): the
// markers have the raised epoch, the next transaction's batches too, and a batch or a
// command of the last transaction that comes late is of an epoch that has passed. When the
// epochs of a producer ID are used up, the next transaction gets another ID.
//
// # Bytes
//
// Keys and values are Kafka's TransactionLogKey of version 0 and TransactionLogValue of
// version 1; version 0 is read, too. A record without a value removes its key. The value of
// a decision to commit has in tagged field 1000, for each of the partitions in their order,
// the topic's ID and the end of the log; see [Coordinator.Recover]. Tagged field 1001 has the
// transaction before, as long as its markers may not be durable: producer ID, epoch, whether
// it was committed, and the partitions.
//
// A Coordinator is not safe for concurrent use.
package txn
