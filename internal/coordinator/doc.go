// Package coordinator leads what lives in the records of an internal topic: consumer
// groups, in __consumer_offsets.
//
// A Shard is the coordinator of one partition of such a topic. Its state is a fold of
// the partition's records, which a package below keeps without goroutines, clocks
// and I/O (group). The shard gives it what it lacks: one writer, a log, time, and the
// sessions that are to hear of news. Groups has the shards of all groups.
//
// What a command returns without an error is in the log as its topic's durability
// says. A command whose ctx ends may have happened (fault.UnknownOutcome);
// one that only reads returns ctx's error.
package coordinator
