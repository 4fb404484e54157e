// Package group is the group coordinator: consumer groups as a fold of the
// records of one partition of __consumer_offsets.
//
// A [Coordinator] holds the groups of that partition. Its commands (Join,
// Heartbeat, Leave, Commit, Expire, …) return the records that describe what they
// did, and leave the Coordinator in the state after them. Groups change in one way
// only: Apply reads the bytes of one record, and a command applies each record that
// it makes. A running coordinator is therefore in the same state as one that has
// read its log. If the caller cannot append a command's records, it discards the
// Coordinator and reads the log again.
//
// The package has no goroutine, no clock and no I/O: the time, the topics that
// exist and when members were last heard of are arguments. State that is not in
// the log (the topics, when static members left) is kept beside the groups.
//
// # The protocol
//
// It is that of KIP-848, with members in the same process. A change of members,
// subscriptions or topics raises the group's epoch. An assignor then computes the
// target assignment of that epoch, and each member moves to its target on its own,
// one step per heartbeat:
//
//	Stable ──target takes some away──▶ UnrevokedPartitions ──has revoked them──┐
//	  ▲                                                                        │
//	  │ all are free                                                           ▼
//	  ├────────────────────────────────────────────────────────────────────────┤
//	  │                                                  others still own some │
//	  └──all are free── UnreleasedPartitions ◀─────────────────────────────────┘
//
// A member from which nothing is taken skips UnrevokedPartitions.
//
// A member's response names the partitions that it may own. The member calls
// Heartbeat once it has revoked the others, and only then can their next owners get
// them; a member whose partitions stay never stops. This is what keeps a partition
// from having two owners. A command's Result also names the members whose next
// heartbeat would change something, so that the caller can wake them.
//
// A member's epoch shows how far it is:
//
//	-2   static and away: its place is kept until the session timeout
//	-1   without an assignment
//	 0   joined just now
//	>0   the epoch of the target that it has reached, or that it is moving from
//
// # Bytes
//
// Keys and values are Kafka's (group-coordinator/src/main/resources of Apache
// Kafka), behind an int16: the key's type, the value's version.
//
//	key  1 OffsetCommit                  group, topic, partition
//	key  2 GroupMetadata                 group, of the classic protocol
//	key  3 ConsumerGroupMetadata         group
//	key  5 ConsumerGroupMemberMetadata   group, member
//	key  6 …TargetAssignmentMetadata     group
//	key  7 …TargetAssignmentMember       group, member
//	key  8 …CurrentMemberAssignment      group, member
//
// A record without a value removes its key. Records of other types, which Kafka's
// other kinds of groups have, are skipped. An offset's value is version 4 with its
// topic's ID, so that a topic that was deleted and created again has no offsets. A
// member's metadata has its session timeout in tagged field 1000, and its metadata
// for the assignor, as compact bytes, in field 1001.
//
// # Transactions
//
// Offsets that are part of a transaction are in batches of its producer. They are pending
// until the transaction's marker follows: then they are committed, or forgotten. One counts
// only if no later record of the log is of the same partition. A marker is one more command
// of the Coordinator, so that markers and records have one order.
//
// # The classic protocol
//
// JoinGroup, SyncGroup, HeartbeatGroup, LeaveGroup and CommitOffsets serve members of
// Kafka's older protocol (KIP-62, 345, 394, 429, 814): one of them leads and assigns, and
// in each generation all join again. Requests that wait are known by tickets, and their
// answers come with the result of the command that completes them. As for Kafka, the log
// has complete generations only. What a rebalance has reached so far is kept beside the
// groups; where the log is read again, members find the generation before, and join again.
// A group whose partitions are revoked one by one (KIP-429) needs nothing here: its
// members' assignors see to it.
//
// A group has members of one protocol at a time. Members of the other one are
// fault.InconsistentProtocol until the group has none; then its records of the former
// protocol are removed, and its offsets stay. testdata/classic.txt tells what is answered.
//
// # Tasks
//
// Members of a streams application's group get tasks: all partitions of one number
// that one sub-topology reads; see package tasks. A task moves as a whole. Its next
// owner gets none of its partitions before all of them are free.
//
// A Coordinator is not safe for concurrent use.
package group
