// Package consumer reads topics.
//
// A [Consumer] reads from a [Backend]: a broker in this process, or a Kafka
// cluster. With [Group] and [Topics] it shares the topics' partitions with the
// other consumers of its group; with [Assign] it reads the partitions it is
// given. [Consumer.Poll] brings records by the batch, [Consumer.Records] one by
// one, and [Of] makes a typed view of either. [Records] is a consumer for one loop.
//
// # What is done
//
// A record is done when the program says so by asking for more: the next record
// of Records, the next batch of Poll; Commit marks what was brought as done, too.
// What is done is committed every five seconds (CommitEvery), before partitions
// are given up and by Close, or, with ManualCommit, by Commit alone. A consumer
// that starts again goes on after what was committed, so a record may come twice
// after a crash, and none is passed over: at least once.
//
//	brought ──(ask for more, Commit)──> done ──(interval, revoke, Close, Commit)──> committed
//
// # Rebalancing
//
// Partitions come and go within Poll and Records, on the caller's goroutine, and
// only the partitions that change hands stop: OnAssigned, OnRevoked and OnLost
// are told. A consumer which does neither for RebalanceTimeout loses its place
// in the group, and joins again with the next call; a loop over Records keeps
// the place between the records of one batch.
//
// # Errors
//
// An error that concerns one partition ([fault.OffsetOutOfRange],
// [fault.CorruptMessage]) is returned once, and the next call goes on: out of
// range, the partition goes on where Config.Start says; a corrupt partition
// stands still until Seek passes the damage. [Fatal] says which errors end a
// consumer.
//
// # What is not safe
//
// Poll, Records, Seek, Pause, Resume and Assign belong to one goroutine at a
// time, and to a callback during it; a second goroutine gets
// fault.InvalidRequest. Every other method may be called from any goroutine, and
// Close at any moment but from CommitAsync's function, for which it waits.
// Records are read-only, and with ReuseBuffers valid only until the next call
// that brings records.
package consumer
