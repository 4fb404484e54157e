// Package partition is one copy of a partition: a log with one writer, a high
// watermark, and readers that wait for it to move.
//
// A [Partition] is the handle through which sessions and coordinators reach a
// partition. [Partition.Append] queues an encoded batch and calls a [Completion]
// when the batch is committed; [Partition.Read] returns whole batches below the
// high watermark; [Partition.Wait] registers a [Waker] for the moment when there
// is more to read. [Settings] come from the topic's configuration and may change
// at any time.
//
// [Broken] returns a partition that could not be opened. It answers every call
// with the reason, so that the topic's other partitions keep their numbers and
// their work.
//
// # The writer
//
// Appends wait in a queue. A caller that finds the partition idle becomes the
// writer. The role is a token, not a lock: the writer takes the whole queue as a
// round, writes it, and gives the role up once the queue is empty.
//
//	          Append                          queue empty
//	idle ────────────────▶ inline writer ──────────────────▶ idle
//	  │                          │ after inlineRounds
//	  │ Append, with Fsync       ▼      queue empty
//	  └──────────────────▶ writer's goroutine ─────────────▶ idle
//
// Without Fsync a record is committed as soon as it is written. The caller writes
// an append to an idle partition itself, without a switch to another goroutine,
// and hands the role to a goroutine after a few rounds, so that it doesn't write
// for others forever. With Fsync the writer is a goroutine from the start. It
// yields a few times, so that callers about to append can join the round, and
// then one write and one fsync serve all of them. An idle partition has no
// goroutine.
//
// The writer makes the leader's decisions, one batch at a time: whether a batch
// may be appended (check), which offsets, epoch and time it gets (stamp), and how
// far readers may see afterwards (advance).
//
// # Replicas
//
// With [Config.Replica] the partition is one replica's copy, and its group decides
// what it holds. The group, which another package drives, calls [Partition.Store] and
// [Partition.Truncate] for what the log holds, [Partition.Commit] for how far the high
// watermark may rise, and [Partition.Lead] and [Partition.Follow] for who leads. An
// append to the leader is judged by what was proposed so far, stamped, and proposed:
//
//	Append ─▶ judged, stamped ─▶ Propose ─▶ the group ─▶ Store, here and elsewhere
//	                                            └─▶ Commit ─▶ high watermark, Completion
//
// So the writer's role is only for the log here, and a batch is on its way to other
// replicas while this one's disk syncs. Reading and waiting are the same in both kinds.
//
// # Transactions
//
// A batch may belong to its producer's transaction, which a marker ends ([log.Marker]).
// [Partition.At] has the view of readers that see committed records only: it ends at the
// last stable offset, and says which batches belong to aborted transactions. Who begins
// and ends transactions is not the partition's matter; it only holds that a marker's epoch
// is later than its transaction's.
//
// Without replicas, no batch of a transaction is synced by itself. Its records are neither
// durable nor visible before [Partition.Flush], or the sync of other appends. Its marker
// becomes visible without a sync where nothing before it needs one: the coordinator has
// decided, durably, and writes the marker again after a crash, before anything else gets
// that offset.
//
//	HighWatermark <= covered <= EndOffset    covered: durable before it, except for markers
//
// # Guarantees
//
// Batches get consecutive offsets in the order of Append. The writer calls each
// Completion once, in that order. A record is readable only once it is committed,
// that is, below the high watermark, which never goes back: a replica's neither rises
// beyond its log nor shows what is about to be cut off. After a failed sync
// the partition refuses every append. Close waits for the current round and no
// longer; appends still in the queue fail with fault.Closed.
//
//	0 <= StartOffset <= HighWatermark <= EndOffset
//
// # Concurrency
//
// All methods are safe for concurrent use. Locks are held for a few instructions
// and never across a write, a read, or a call of a Completion or a Waker; these
// two run on the writer's goroutine and must not block. A Completion may append.
package partition
