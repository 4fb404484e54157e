// Package partition is one copy of a partition: a log with one writer, a high
// watermark, and readers that wait for it to move.
//
// A [Partition] is the handle through which sessions and coordinators reach a
// partition. [Partition.Append] takes an encoded batch and tells a [Completion]
// when it counts; [Partition.Read] returns whole batches below the high
// watermark; [Partition.Wait] registers a [Waker] for the moment when there is
// more to read. [Settings] are what a topic's configuration decides, and may
// change at any time.
//
// [Broken] is what stands in place of a partition that could not be opened, so that
// the others of its topic keep their places: it answers everything with the reason.
//
// # The writer
//
// Appends wait in a queue, and whoever finds nobody writing becomes the writer.
// The role is a token, not a lock that is held: the writer takes everything that
// waits, writes it, and gives the role up once the queue is empty. Where a
// written record counts at once, an append to an idle partition is written by
// its caller, without a hop to another goroutine, and a caller who would have to
// write for others too long hands the role to a goroutine. Where a record counts
// only on disk, the writer is a goroutine from the start: it yields a few times,
// so that whoever was about to append does, and then one write and one fsync
// serve everything that waits. There is no goroutine while there is nothing to
// write.
//
// What a leader decides about a batch is decided by the writer, one batch at a
// time: whether it may be appended (check), which offsets, epoch and time it
// gets (stamp), and afterwards how far readers may see (advance).
//
// # Guarantees
//
// Batches get consecutive offsets in the order of Append. Each Completion is
// called once, in that order, by the writer. A record is readable only once it
// counts: it is below the high watermark, which never goes back. After a failed
// sync nothing is accepted any more. Close waits for the write at hand and no
// longer; what still waited is told fault.Closed.
//
//	0 <= StartOffset <= HighWatermark <= EndOffset
//
// # Concurrency
//
// All methods are safe for concurrent use. Locks are held for a few instructions
// and never across a write, a read, or a call of a Completion or a Waker; these
// two run on the writer's goroutine and must not block. A Completion may append.
package partition
