// Package state holds the state that a stream processor keeps between records.
//
// A [Store] is one task's part of a named store: the task of partition 3 holds
// the keys of partition 3. The runtime sees it as bytes, in records of its
// changelog topic: it passes them to [Store.Restore] when the task starts, and
// gets them through a [Changelog] at each commit. Programs see typed values, by
// key in a [KeyValue], by key and time in [Windows] and [Sessions], and with
// what they were before in [Versioned].
//
// A store has two layers, except Versioned, which has the lower one:
//
//	KeyValue, Windows, Sessions   typed keys and values
//	Cache                         the values that are in use, as they are in the program
//	Bytes                         all keys and values, as bytes, in order: Memory, or a disk's
//
// The [Cache] is a write-back cache. An update changes an [Entry] in place and
// marks it. A flush then encodes each marked entry once, however often it has
// changed, writes it to the changelog and to the [Bytes], and forwards it.
// Between two flushes nothing leaves the cache. What is read, ranges included,
// is what the cache has, and what is below where it has nothing.
//
// In memory a store has no Bytes until something needs one: an order, old
// values, or a snapshot that other goroutines may read ([View]). Until then the
// cache is the store, and nothing is kept twice.
//
// Windows and Sessions get the time of the stream with Advance, and do not show what is
// older than they keep it. They remove it in whole segments of time, with which
// their keys in the Bytes begin.
//
// In a Bytes a row is the key's bytes, and the value's bytes behind 8 bytes with
// its timestamp. A changelog record has the format of Kafka Streams for a
// timestamped key-value store: the key's bytes, the value's bytes (null if the
// key was deleted), and the value's timestamp as the record's.
//
// Nothing here is safe for concurrent use, except views and snapshots: a store
// belongs to its task.
package state
