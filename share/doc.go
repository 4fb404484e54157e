// Package share has consumers of share groups (KIP-932): work queues over topics.
//
// The members of a share group share the records of a partition, and not, as those of a
// consumer group do, whole partitions. There may be more members than partitions. Each
// record is delivered to one member at a time, with a lock that ends by itself, and settled
// alone:
//
//	            delivered                 Ack
//	available ───────────▶ acquired ─────────────────▶ done
//	    ▲                     │  │ Reject, or no attempts are left
//	    │   Release, the end  │  └────────────────────▶ given up: a dead letter, if there is a topic for them
//	    └─────── of its lock ─┘
//
// [Run] handles records with many workers, renews locks, and retries. [Consumer] is what it
// is built on: Receive a [Delivery], and Ack, Release or Reject it.
//
// # Guarantees
//
//   - A record is acquired by one member at a time. Once Ack has returned, it is never
//     delivered again, as far as the durability of the broker's own topics reaches.
//   - Every record is delivered until it is settled: at least once. A member that dies keeps
//     its locks for their time; or, if its process was the broker's, until the broker is
//     opened again; or, if it was attached, until its connection ends.
//   - A delivery is counted before it is made, durably. A record that ends the process each
//     time is given up after [Attempts] deliveries.
//   - There is no order between records. The lowest offsets are delivered first, but what is
//     released comes back behind what was acquired meanwhile.
//   - The memory of a group is bounded: of each partition, at most [Locks] records are
//     acquired or wait for another attempt. Beyond that no new ones are delivered.
//
// Share groups and consumer groups are apart: groups of both kinds may have the same name.
package share
