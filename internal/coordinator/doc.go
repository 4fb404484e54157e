// Package coordinator runs the coordinators whose state is the records of an
// internal topic: consumer groups, in __consumer_offsets, and transactions, in
// __transaction_state.
//
// A shard is the coordinator of one partition of such a topic. Its state is a fold of
// the partition's records, which package group keeps without goroutines, clocks and
// I/O. The shard adds these: one writer, a log, the time, and the sessions to wake.
// Groups has the shards of all groups, Transactions those of all transactional IDs, for
// which it also writes the markers.
//
// Where partitions have replicas, a shard leads while its partition is led here. A
// member uses a Coordinator, which goes to the node that leads, and asks again after
// fault.NotCoordinator:
//
//	this node                                   the one that coordinates
//	session ─▶ place ─▶ elsewhere ── request ─▶ Serve ─▶ GroupShard
//	   ▲                                                     │ Listener of a guest
//	   └── attendees ◀── answer: these should send a heartbeat
//
// When a command returns without an error, its records are in the log, as durable as
// the topic says. A command whose ctx ends may still take effect
// (fault.UnknownOutcome); one that only reads returns ctx's error.
package coordinator
