// Package keyindex finds the records of a key in one partition's log: the last one, for
// appends with conditions, and all of them.
//
// An [Index] is derived from its log. It maps hashes of keys to the offsets of their
// records; what it finds is compared with the record, so an entry too many does no harm,
// and none is missing of what it covers:
//
//	first run             newest run    memory
//	[from ......... to)[...)[...)[...) [base ... next)   the log's end
//
// [Index.Follow] reads what the log has beyond next. What was read last is in memory; once
// that is full it becomes a run: a file of entries, sorted by hash, with a checksum for each
// page. Runs of about one size that lie beside each other are merged into one, by a goroutine
// that lives as long as there is something to merge. So there are few, and most keys are
// found with one or two reads in each.
//
// A run is named for the offsets that it covers. It says in which leader epoch its last
// record was written: where a log has the same epoch at the same offset, it has the same
// records before it, too (KIP-101). A run of which that is not so, that is damaged, or
// that does not continue the one before it is removed, and what it covered is read from the
// log again.
//
// Compaction and retention need not know of the index: entries whose records are gone find
// nothing, and go when their run is merged, or lies wholly before the log's start.
//
// Any goroutine may call any method. Reading the log and writing runs are one caller's at a
// time; the others wait, no longer than for one step of it.
package keyindex
