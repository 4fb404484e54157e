// Package log keeps one partition's record batches in files that Kafka could
// read.
//
// A [Log] is a directory of segments, files of consecutive record batches. Only
// the last one, the active segment, is appended to.
//
//   - [Open] finds the end of the log and reports in a [Recovery] how it did.
//   - [Log.Append] writes batches that are already stamped with offsets and leader
//     epochs, and [Log.Sync] makes them durable.
//   - [Log.Read] returns a [Slice] of whole batches; [Log.OffsetForTime] finds a
//     record by time.
//   - [Log.SetStart] and [Log.Truncate] drop records at either end;
//     [Log.Expired] finds the segments that retention deletes.
//   - [Log.Compact] removes records that a later one with the same key makes
//     obsolete. It runs beside readers and appends, and [Log.Swap] puts its
//     results in place.
//   - [Inspect] verifies a log without opening it, [Repair] repairs a damaged
//     one, and [Adopt] opens segments that were copied from elsewhere. [Refill] and
//     [Log.Refetch] repair one from another copy.
//
// [Log.StableOffset] says before which offset every transaction is decided, and
// [Log.Aborted] which ones are aborted: both follow from the markers in the log. What is
// decided is forgotten as far as [Log.SetHighWatermark] says that it is committed.
//
// Package partition decides which records are visible and who may append. A log's
// leader epochs and its idempotent producers ([Log.Producer]) are a fold of its
// batches; whether a producer's batch may be appended is also decided there.
//
// # Guarantees
//
// An append is one write and takes effect as a whole or not at all. What lies
// below [Log.SyncedOffset] survives power loss; what lies below [Log.EndOffset]
// survives the process. A Sync that fails is final. No bytes are served whose
// checksum, offset and leader epoch are not what they must be; damage is a
// [fault.Corruption] with file and position, the file stays as it is, and the
// records around the damage stay readable. Open truncates bytes behind the synced
// position that are not a whole batch, and never any others. Zeros behind the last
// batch, which make the next Sync cheaper, are not part of the log; Close and
// sealing truncate them.
//
// Memory does not grow with the log: a segment costs a few hundred bytes, one
// that is read 4 KiB more, the active one its index, and the tail what
// Config.TailBytes says.
//
// # Concurrency
//
// A Log has one writer. Its methods Append, Sync, Roll, Swap, Truncate, SetStart,
// SetSegments, Producer, Producers, LastBatches, ForgetProducers, Close and Remove
// may not overlap; the caller ensures that. Every other method may be called by
// any goroutine at any time: readers load an immutable list of segments, take no
// lock and wait for no one. They hold a reference to the file that they read, so
// that deleting a segment never disturbs a running read. The package starts no
// goroutine. It reads the clock only to bound timestamps that are ahead of it and
// to report how long Open took.
//
// # Files
//
//	00000000000000000000.log        record batches; the name is the first offset
//	00000000000000000000.index      positions by offset, Kafka's format
//	00000000000000000000.timeindex  offsets by time, Kafka's format
//	00000000000000000000.txnindex   aborted transactions, Kafka's format
//	00000000000000001042.snapshot   the idempotent producers at that offset, Kafka's format
//	leader-epoch-checkpoint         where each leader epoch begins, Kafka's format
//	runnel-checkpoint               what is durable, whether the log was closed, where it starts
//	runnel-swap, *.cleaned          during a swap: compaction replaces segments
//	runnel-repair, *.repaired       during a repair; *.damaged-… are the files as they were before
//
// Everything but the .log files and the checkpoint is derived from them, and
// rebuilt if it is missing or wrong. docs/format.md defines every byte, and
// explains why a crash between any two writes does no harm. Other files are left
// alone.
//
// # A segment's life
//
//	        roll                      roll             Swap
//	(none) ──────▶ active, appended to ──▶ sealed, immutable ──▶ replaced by another
//	                  │  ▲                    │   │
//	                  │  │ Truncate into it   │   │ SetStart
//	                  │  └────────────────────┘   ▼
//	                  └───────────────────────▶ dropped ──▶ deleted
//
// Rolling makes a segment and its indexes durable before the next file exists. So
// only the active segment can have a torn tail, and a flaw in a sealed one is
// always damage. A deleted or replaced segment's files go once the checkpoint no
// longer counts them: Open finishes what a crash interrupted.
//
// # Opening
//
//	read the checkpoint ─▶ finish a swap ─▶ list segments ─▶ delete those before the start
//	  ─▶ epochs, producers ─▶ sealed segments: names and sizes as in the checkpoint, or verify
//	  ─▶ active segment: verify behind the checkpoint, truncate a torn tail ─▶ new checkpoint
//
// The checkpoint is a lower bound: what it covers was synced before it was
// written. After a clean Close it covers everything, and Open reads nothing but
// the checkpoint and the active segment's index.
//
// # What is not safe
//
// Two Logs on one directory. Changing bytes after Append took them, or bytes that
// Read returned: they are the tail's, and other readers see them.
package log
