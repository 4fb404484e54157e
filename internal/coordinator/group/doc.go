// Package group is the group coordinator: consumer groups as a fold of the
// records of one partition of __consumer_offsets.
//
// A [Coordinator] holds the groups of that partition. Its commands (Join,
// Heartbeat, Leave, Commit, Expire, …) return the records that tell what they
// did, with the Coordinator in the state after them. The only way in which
// groups ever change is Apply, which reads the bytes of one record: a command
// applies each record that it makes. So the state of a running coordinator is
// that of one which read its log, by construction. A caller that cannot append
// a command's records throws the Coordinator away and reads the log again.
//
// There is no goroutine, no clock and no I/O here: the time, the topics that
// exist and signs of life are arguments. What is not in the log (the topics,
// since when static members are away) is kept beside the groups.
//
// # The protocol
//
// It is that of KIP-848, with members in the same process. A change of members,
// subscriptions or topics raises the group's epoch; an assignor then computes
// the target assignment of that epoch, and every member is led there by itself:
//
//	Stable ──target differs──> UnrevokedPartitions ──gave up what it must──┐
//	  ^                                                                    │
//	  └──all free── UnreleasedPartitions <──some still owned by others─────┘
//
// A member's response names the partitions that it may own. It calls back once
// it has given up the others, and only then are those free for their next owner;
// members whose partitions stay are not stopped. Commands also name the members
// for whom there is news, to be woken.
//
// # Bytes
//
// Keys and values are Kafka's (group-coordinator/src/main/resources of Apache
// Kafka), behind an int16: the key's type, the value's version.
//
//	key  1 OffsetCommit                  group, topic, partition
//	key  3 ConsumerGroupMetadata         group
//	key  5 ConsumerGroupMemberMetadata   group, member
//	key  6 …TargetAssignmentMetadata     group
//	key  7 …TargetAssignmentMember       group, member
//	key  8 …CurrentMemberAssignment      group, member
//
// A record without a value takes its key away. Records of other types, which
// other groups of Kafka have, are passed over. An offset's value is version 4
// with its topic's ID, so that a topic which was deleted and made anew has none.
// A member's session timeout stands in tagged field 1000 of its metadata, what it
// tells its assignor as compact bytes in field 1001.
//
// # Tasks
//
// Members of a streams application's group are given tasks, that is all
// partitions which one sub-topology reads under one number; see package tasks. A
// task moves as a whole: its next owner gets none of it before all of it is free.
//
// A Coordinator is not safe for concurrent use.
package group
