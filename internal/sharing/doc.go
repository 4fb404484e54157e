// Package sharing has the sessions of share consumers on a host: a session acquires offsets
// from the coordinator of share groups, and reads their records.
//
// A session visits the partitions of its topics in turn. It asks the coordinator of each
// share-partition for offsets, and tells it what can be read. Where there are none it waits,
// for all of these at once:
//
//   - its partitions: one has a record at an offset that was never acquired;
//   - the coordinator: a member has released something, or made room;
//   - a timer: a lock ends, or a delay;
//   - the host: topics have changed.
//
// Offsets without a record, such as those of control records and compacted ones, and records
// that the session must not see, are settled at once, as Kafka's gaps.
package sharing
