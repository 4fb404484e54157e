// Package share is the share coordinator: share groups (KIP-932) as a fold of the records
// of one partition of __share_group_state.
//
// A [Coordinator] holds share-partitions, each of which is what one group has of one
// partition of a topic. Its commands (Initialize, Acquire, Settle, Leave, Reset, Delete, Unlock)
// return the records that describe what they did, and leave the Coordinator in the state
// after them: a running one is in the same state as one that has read its log. If the caller
// cannot append a command's records, it discards the Coordinator and reads the log again.
//
// The package has no goroutine, no clock and no I/O. The time is an argument, and so is what
// can be read of a partition: the package knows offsets, and no records.
//
// # The states of an offset
//
//	               Acquire                     Settle: Accept, Reject, Gap
//	(not yet) ─────────────────▶ acquired ────────────────────────────────▶ finished
//	              ┌────────────▶    │  ▲ Renew                                 ▲
//	              │ Acquire         │  └───                                    │ Acquire finds its attempts
//	              │                 ▼                                          │ used up, or it is no longer
//	              └───────────── available ────────────────────────────────────┘ in the log
//	                 Settle: Release, Return; the end of the lock
//
// A share-partition keeps the offsets below its end that are not finished, as runs of equal
// ones. A run has a time before which it is not delivered: that of an acquired one is the
// end of its lock, so a lock that has ended needs no event. As long as no one else has
// acquired the offset, its holder may still settle it.
//
// Acquire counts the delivery, in a record that is durable before the delivery is made. A
// record whose handling ends the process is therefore given up at its limit. Kafka writes
// the count when the delivery is settled.
//
// # Memory
//
// Acquire takes no new offsets beyond the first Window that are not finished, so a
// share-partition has at most so many runs. Of records that wait for their time, however
// many, those that come first are in runs, and of the others only the stretches of offsets
// are known in which they are.
//
// # Bytes
//
// Keys are Kafka's ShareSnapshotKey and ShareUpdateKey, values ShareSnapshotValue and
// ShareUpdateValue. To Kafka, an acquired offset is an available one that was delivered so
// often, which is what it becomes when its broker restarts there; tagged fields tell who has
// it, by which acquisition, and until when. Updates build on what precedes them, so the log cannot be compacted by
// key. Instead Snapshot returns records that make all earlier ones superfluous, and the
// caller deletes these, as Kafka's coordinator does.
//
// A Coordinator is not safe for concurrent use.
package share
