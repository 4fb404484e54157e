// Package state holds the state that a stream processor keeps between records.
//
// A [Store] is one task's part of a named store: the task of partition 3 holds
// the keys of partition 3. The runtime sees it as bytes, in records of its
// changelog topic: it passes them to [Store.Restore] when the task starts, and
// gets them through a [Changelog] at each commit. Programs see [KeyValue],
// which holds typed values.
//
// A KeyValue is its own write-back cache. An update changes an [Entry] in place
// and marks it. Flush then writes each marked entry to the changelog once and
// forwards it, however often it changed since the last Flush. Between two
// flushes nothing leaves the store.
//
// A changelog record has the format of Kafka Streams for a timestamped
// key-value store: the key's bytes, the value's bytes (null if the key was
// deleted), and the value's timestamp as the record's.
//
// Nothing here is safe for concurrent use: a store belongs to its task.
package state
