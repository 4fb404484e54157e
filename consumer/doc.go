// Package consumer reads topics.
//
// A [Consumer] reads from a [Backend]: a broker in this process, or a Kafka
// cluster. With [Group] and [Topics] it shares the topics' partitions with the
// other consumers of its group; with [Assign] it reads the partitions it is
// given. [Consumer.Poll] returns records in batches, [Consumer.Records]
// iterates over them one by one, and [Of] makes a typed view of either.
// [Records] is a consumer for a single loop. [Run] calls a handler with the
// records, many at once where their keys allow it.
//
// # What is done
//
// A record is done when the program asks for more: for the next record of
// Records, or the next batch of Poll. Commit marks the records returned so far
// as done, too.
//
// What is done is committed every five seconds (CommitEvery), before partitions
// are given up, and by Close. With ManualCommit, only Commit and its variants
// do that. A consumer that restarts continues after what was committed.
// Delivery is at least once: after a crash a record may be delivered again, but
// none is skipped.
//
//	returned ──(ask for more, Commit)──> done ──(interval, revoke, Close, Commit)──> committed
//
// # Running handlers
//
// Run puts what it fetches into lanes, one for each key of a partition. A lane
// has one record with a handler at a time, or waits for its next attempt; up to
// Concurrency workers take the lanes in turn. What is done is a record that was
// handled or became a dead letter, and a partition is done up to its first
// record that is not:
//
//	           ┌─ lane of key a: a1 (running)  a2         ┐
//	Fetch ─────┼─ lane of key b: b1 (waits to be tried)   ├─> done ──> committed up to
//	           └─ records without a key, each by itself   ┘            the first gap
//
// The goroutine that called Run only fetches, and so stays in the group however
// long handlers take. It pauses partitions while too much is in flight.
//
// # One key
//
// [History] reads the records of one key, oldest first, without a consumer: a topic with an
// index of keys costs it a read for each of them.
//
// # Rebalancing
//
// Partitions are assigned and revoked within Poll and Records, on the caller's
// goroutine, and only partitions that change owners stop. OnAssigned, OnRevoked
// and OnLost report the changes. A consumer that calls neither for
// RebalanceTimeout loses its place in the group and joins again with the next
// call. A loop over Records keeps the place while it works through the records
// of one batch.
//
// # Errors
//
// An error that concerns one partition ([fault.OffsetOutOfRange],
// [fault.CorruptMessage]) is returned once, and the next call continues. A
// partition whose offset was out of range continues where Config.Start says. A
// corrupt partition does not move until Seek skips the damage. [Fatal] says
// which errors end a consumer.
//
// # What is not safe
//
// Only one goroutine at a time, or a callback while it runs, may call Poll,
// Records, Run, Seek, Pause, Resume and Assign; a second goroutine gets
// fault.InvalidRequest. Every other method may be called from any goroutine,
// and Close at any moment except from CommitAsync's function, for which it
// waits. Close does not wait for the body of a loop over Records: the loop ends
// the consumer. Records are read-only. With ReuseBuffers they are valid only until the
// next call that returns records.
package consumer
