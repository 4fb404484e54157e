// Package state keeps what a stream processor remembers between records.
//
// A [Store] is one task's part of a named store: the task of partition 3 holds
// the keys of partition 3. The runtime sees it as bytes, in records of its
// changelog topic: what [Store.Restore] takes when the task starts, and what a
// [Changelog] is given at each commit. Programs see [KeyValue], which holds typed
// values.
//
// A KeyValue is its own write-back cache. An update changes an [Entry] in place
// and marks it; Flush then writes each marked entry to the changelog once and
// hands it on, however often it changed since the last Flush. Between two
// flushes nothing leaves the store.
//
// A changelog record is what Kafka Streams writes for a timestamped key-value
// store: the key's bytes, the value's bytes (null where the key was deleted), and
// the value's timestamp as the record's.
//
// Nothing here is safe for concurrent use: a store belongs to its task.
package state
