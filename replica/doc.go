// Package replica keeps a partition's log the same on several nodes, so that what
// was acknowledged outlives any minority of them.
//
// A [Core] is one replica of one partition: a state machine without I/O, clock or
// goroutine. Messages of other replicas, ticks, proposals and reports of the disk
// go in ([Core.Step], [Core.Tick], [Core.Propose], [Core.DiskDone]), and
// [Core.Advance] hands out what is to be done: an [Output] of messages, disk writes,
// replies, and where the high watermark is. A [Disk] is the replica's directory, and
// does the writes. Whole groups of them run in one thread from one seed, and so are
// tested.
//
// A [Node] drives the replicas of a process ([Node.Open], [Node.Add]): it gives their cores time,
// disks, and a [Transport] to the other nodes. A [Replica] is the handle of its partition: it
// reads the copy on this node, and appends to the leader on whichever node. A [Remote] is the
// handle on a node without a copy. It reads the leader's. A Node is a
// runnel.Replication.
//
// Consensus is raft's, by go.etcd.io/raft. The partition's own log is the raft log:
//
//   - an entry is a record batch, and its index the batch's ordinal in the log;
//   - the term is the leader epoch, which each batch has in its header;
//   - the high watermark is the offset after the batch at the commit index.
//
// A leader stamps a batch with offset and epoch when it is proposed, and from then
// on its bytes are the same everywhere. A leader begins its epoch with a batch of its
// own, Kafka's LEADER_CHANGE control record, and stamps nothing before that one. A
// change of members is a control batch, too, and so is where the log begins after records
// were deleted: that counts for every replica once it is committed, and so never goes back.
//
// A group in which nothing happens rests: no tick passes for its replicas, and they send
// nothing. What they watch meanwhile is whether their leader's node is alive.
//
// # Guarantees
//
// A batch whose proposal succeeded under [AcksAll] stays at its offset, with its
// bytes, as long as a majority of the group's disks keeps what was synced. No two
// replicas ever show different batches at one offset below their high watermarks,
// and a high watermark never goes back during a replica's life. A proposal that a
// leader no longer knows the end of fails with fault.UnknownOutcome.
//
// A follower checks checksum, epoch and offset of each batch before it is written.
// What contradicts its log, damage, a failed sync, and what panics in the consensus
// library make the replica [Failed], with the reason in [Status]. It never brings
// the program down. A full disk does not: a leader hands over, and what has no room is
// written once there is some.
//
// [Core.ReadIndex] and the refusal of an idempotent producer are answered only after a
// majority has confirmed that this replica leads: a deposed leader that has not
// heard of it lacks what was written since.
//
// A replica whose log has lost what it had durably, in the middle or at the end, gets it
// from the other replicas when it is opened, and takes no part before. Which batch was the
// last is on record beside the log, with its checksum: a replica that has that batch has the
// same ones before it. Where no other one has it the error is a [fault.Corruption], or
// [ErrLost] if the group has committed something else in its place.
//
// What a reader finds damaged later is fetched in the same way, while the replica goes on.
//
// A replica that may have lost what it acknowledged is not opened: the error is
// [ErrLost]. It has to come back under another [ID]. [Node.Open] sees to that: it asks
// the group's leader to make the new ID a learner, and to give it the old one's place when it
// has caught up. Files of another replica, partition or cluster are [ErrForeign].
//
// # States
//
//	            no leader for a while         a majority votes for it
//	┌────────┐ ──────────────────▶ ┌─────────┐ ────────────▶ ┌──────┐
//	│Follower│                     │Candidate│               │Leader│
//	└────────┘ ◀────────────────── └─────────┘               └──────┘
//	   ▲ │       another one leads                               │
//	   │ │                                                       │
//	   │ └──────────┐    a majority is silent, a later term      │
//	   └────────────┼────────────────────────────────────────────┘
//	                ▼
//	            ┌──────┐  from any state: damage, a failed disk, a contradiction
//	            │Failed│
//	            └──────┘
//
// # Files
//
// Beside the log's files, in the same directory, each with checksums:
//
//	runnel-replica  whose replica it is, where the log begins, its members there and since
//	runnel-vote     term, vote and commit index, in three slots, so that one may be damaged
//	runnel-index    at which offsets some of the committed batches begin, by index
//
// All numbers are big-endian. A slot of runnel-vote, of 92 bytes:
//
//	 0       4       8          16     24     32      40
//	+-------+-------+----------+------+------+-------+--------+
//	| magic | flags | sequence | ID   | term | vote  | commit |
//	+-------+-------+----------+------+------+-------+--------+
//	 48      56       64     72         76       80      84     88    92
//	+-------+--------+------+----------+--------+-------+------+-----+
//	| index | offset | term | checksum | origin | group | boot | CRC |
//	+-------+--------+------+----------+--------+-------+------+-----+
//
// Index to checksum are the last batch that the log has had durably, and the offset after
// it. Whatever is damaged before it, the log has to have it again. Origin is the checksum of
// the group's first batch, which tells clusters apart.
//
// An entry of runnel-index, of 36 bytes:
//
//	 0       8      16       24           28       32    36
//	+-------+------+--------+------------+--------+-----+
//	| index | term | offset | generation | before | CRC |
//	+-------+------+--------+------------+--------+-----+
//
// A batch that begins a segment has an entry, with the checksum of the batch before it; in others, that is 0. So each
// sealed segment has to end with the batch on record. One that does has all batches before that, too: a segment of
// another log is noticed, whatever its size and its offsets are.
//
// A [Message] is a header ([Message.AppendHeader]) and batches as they are:
//
//	 0      1       2         4      12   20     28      36         44       52     60       64
//	+------+-------+---------+------+----+------+-------+----------+--------+------+--------+---------+----------+
//	| kind | flags | context | from | to | term | index | log term | commit | hint | origin | context | snapshot |
//	|      |       | length  |      |    |      |       |          |        |      |        |         | (a Start)|
//	+------+-------+---------+------+----+------+-------+----------+--------+------+--------+---------+----------+
//
// A [Start] is index, term and offset of eight bytes each, a byte that says whether a
// change of members ends by itself, and four lists of members: a byte for the length,
// eight for each ID.
//
// # Concurrency
//
// All methods of Node and Replica are safe for concurrent use. A few goroutines step all
// replicas of a node, and never wait for a disk or the network; some more write and
// sync, one replica at a time each.
//
// A Core belongs to one goroutine, and so does a Disk, but for [Disk.Load] and
// [Disk.Log], which may be called beside the others. The bytes that go through a Core
// are immutable from the moment they are stamped.
//
// # What is not safe
//
// Two Disks on one directory. Writes of an Output that are left out, or done in
// another order. A Core that goes on after its Disk reported an error. A second
// replica under an ID that was another one's. Changing a batch after it was
// proposed.
package replica
