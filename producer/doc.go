// Package producer writes records to topics, on any backend.
//
// A [Producer] chooses a record's partition and hands the record to its
// [Session], which the [Backend] opened: *runnel.Broker in this process, or a
// Kafka cluster. [Producer.Send] waits until the record is acknowledged,
// [Producer.SendAsync] calls back, [Producer.SendAll] waits for many at once.
// [To] gives a topic's typed view: [Typed] encodes keys and values with the
// topic's serdes. [Send] is all of this for a single record.
//
// # Batches
//
// Records of one partition gather in a batch. While nothing is on its way to the
// partition a batch is sent at once, so a lone Send waits for nothing; while
// something is, the next batch grows. [Linger] makes batches wait for more,
// [BatchBytes] says when they are full, [BufferBytes] how much may be
// unacknowledged before sending waits, and [RequireAcks] whose word an
// acknowledgement is.
//
// # Guarantees
//
// Records that one goroutine sends to one partition keep their order, and the
// callbacks of a partition run in the order of offsets, one at a time. The
// slices of a record are the caller's again when the call returns. ctx bounds
// the waiting: before a record is accepted its end means that nothing was
// written, afterwards that the outcome is unknown (fault.UnknownOutcome).
//
// # Closing
//
// [Producer.Close] waits for what was sent, at most as long as [CloseTimeout]
// says, so that a program which sends and closes loses nothing.
// [Producer.CloseNow] does not wait. A backend that closes before its producers,
// Broker.Close for one, fails what they have not been acknowledged.
//
// # Errors
//
// Every error names the topic, and the partition where one was chosen, and
// answers errors.Is with a code of package fault. A topic that was deleted and
// created again is found again by the next call.
//
// # Concurrency
//
// All methods are safe for concurrent use. Partitioners and serdes run on the
// caller's goroutine, and callbacks on one of the producer's: they must not block
// and must not send. Waiting for a lock is blocking, if that lock is held while
// sending. A partitioner or serde that panics fails the record; a panic in a
// callback is returned by Flush or Close, see [Callback].
package producer
