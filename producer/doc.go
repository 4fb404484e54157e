// Package producer writes records to topics, on any backend.
//
// A [Producer] chooses a record's partition and passes the record to its
// [Session], which the [Backend] opened: *runnel.Broker in this process, or a
// Kafka cluster. [Producer.Send] waits until the record is acknowledged,
// [Producer.SendAsync] calls back, [Producer.SendAll] waits for many at once.
// [To] returns a topic's typed view: [Typed] encodes keys and values with the
// topic's serdes. [Send] does all of this for a single record.
//
// # Batches
//
// Records of one partition gather in a batch. While no batch of the partition
// is in flight, a batch is sent at once, so a lone Send does not wait. While
// one is in flight, the next batch grows. [Linger] makes batches wait for more
// records, [BatchBytes] says when a batch is full, [BufferBytes] how much may
// be unacknowledged before sending waits, and [RequireAcks] which replicas must
// acknowledge.
//
// # Conditions
//
// [Producer.SendIf] appends a record if the partition is as the program has read it:
// [IfEndAt] demands where it ends, [IfKeyAt] where the last record of the record's key is,
// [IfAbsent] that there is none. It is judged where appends are ordered, so of all who demand
// the same one succeeds. The others get a [*Conflict], which says what is there.
//
// # Transactions
//
// With a [TransactionalID] what the producer sends belongs to transactions, over any
// number of topics and partitions: all of one counts, or nothing. [Transact] runs a
// function in one; [Producer.Begin], [Producer.Commit] and [Producer.Abort] are its parts.
// Consumers with consumer.ReadCommitted see only what was committed. The newest producer
// of a transactional ID is the only one: earlier ones are fenced (fault.ProducerFenced).
//
// [Transform] runs a function on each batch that a consumer reads, in a transaction with what
// the function sends and the consumer's offsets: exactly once.
//
// # Guarantees
//
// Records that one goroutine sends to one partition keep their order, and the
// callbacks of a partition run in the order of offsets, one at a time. The
// caller may reuse the slices of a record when the call returns. ctx bounds the
// waiting: if it ends before a record is accepted, nothing was written; if it
// ends later, the outcome is unknown (fault.UnknownOutcome).
//
// # Closing
//
// [Producer.Close] waits for what was sent, at most as long as [CloseTimeout]
// says, so that a program which sends and closes loses nothing.
// [Producer.CloseNow] does not wait. If a backend closes before its producers,
// as with Broker.Close, their unacknowledged records fail.
//
// # Errors
//
// Every error names the topic, and the partition if one was chosen, and answers
// errors.Is with a code of package fault. If a topic was deleted and created
// again, the next call finds the new one.
//
// # Concurrency
//
// All methods are safe for concurrent use. Partitioners and serdes run on the
// caller's goroutine. Callbacks run on a goroutine of the producer: they must
// not block and must not send. Waiting for a lock that another goroutine holds
// while it sends is blocking, too. A partitioner or serde that panics fails the
// record. A panic in a callback is returned by Flush or Close, see [Callback].
package producer
