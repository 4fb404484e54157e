// Package log keeps one partition's record batches in files that Kafka could
// read.
//
// A [Log] is a directory of segments: files of record batches, one after the
// other, of which the last is appended to. [Open] finds out where the log ends
// and says in a [Recovery] how it knows. [Log.Append] writes batches that are
// already stamped with offsets and leader epochs; [Log.Sync] makes them durable;
// [Log.Read] returns a [Slice] of whole batches; [Log.OffsetForTime] finds a
// record by time; [Log.SetStart] and [Log.Truncate] drop records at either end.
// [Log.Expired] says which segments are too old or too many, and [Log.Compact]
// removes records that later ones with the same key make obsolete, beside everything
// else, and puts its results in place by [Log.Swap].
// [Inspect] reads a log through without opening it, [Repair] makes a damaged one
// whole again, and [Adopt] takes up segments that came from elsewhere.
// What an offset means, which of them may be seen and who may append is the
// business of package partition. What a log knows of idempotent producers
// ([Log.Producer]) is a fold of its batches, as its leader epochs are; whether
// their batches may be appended is again not its business.
//
// # Guarantees
//
// An append is one write and takes effect as a whole or not at all. What lies
// below [Log.SyncedOffset] survives power loss; what lies below [Log.EndOffset]
// survives the process. A Sync that fails is final. No bytes are served whose
// checksum, offset and leader epoch are not what they must be; damage is a
// [fault.Corruption] with file and position, the file stays as it is, and what is
// around the damage stays readable. Bytes behind the synced position that are no
// whole batch are cut off when the log is opened, and nothing else ever is. Zeros
// behind the last batch, which make the next Sync cheaper, are no bytes of the
// log; Close and sealing cut them off.
//
// Memory does not grow with the log: a segment costs a few hundred bytes, one
// that is read 4 KiB more, the active one its index, and the tail what
// Config.TailBytes says.
//
// # Concurrency
//
// A Log has one writer. Its methods Append, Sync, Roll, Swap, Truncate, SetStart,
// SetSegments, Producer, Producers, LastBatches, ForgetProducers, Close and Remove
// may not overlap; how it is made sure that they don't is up to the
// caller. Everything else may be called by any goroutine at any time: readers
// take an immutable list of segments and no lock, wait for nobody, and hold on to
// the file that they read, so that deleting a segment never disturbs a reader at
// work. The package starts no goroutine and reads no clock, but to say how long
// opening took.
//
// # Files
//
//	00000000000000000000.log        record batches; the name is the first offset
//	00000000000000000000.index      positions by offset, Kafka's format
//	00000000000000000000.timeindex  offsets by time, Kafka's format
//	00000000000000001042.snapshot   the idempotent producers at that offset, Kafka's format
//	leader-epoch-checkpoint         where each leader epoch begins, Kafka's format
//	runnel-checkpoint               what is durable, whether the log was closed, where it starts
//	runnel-swap, *.cleaned          while compaction puts a segment in the place of others
//	runnel-repair, *.repaired       while a repair does so; *.damaged-… is what was there before
//
// Everything but the .log files and the checkpoint is derived from them, and made
// anew when it is missing or wrong. docs/format.md states every byte, and why
// a crash between any two of them does no harm. Other files are left alone.
//
// # What is not safe
//
// Two Logs on one directory. Changing bytes after Append took them, or bytes that
// Read returned: they are the tail's, and other readers see them.
package log
