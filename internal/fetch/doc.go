// Package fetch has the sessions of consumers on a host: a session looks up the
// partitions that it owns, reads their records, and keeps its place in its group.
//
// Sessions opens them. A Session has a source for each partition that it owns. The
// source's turn is in one of these states:
//
//	       records, Resume, Seek            its turn
//	idle ------------------------> ready ------------> served
//	 ^ ^                            | ^                 |  |
//	 | |                      Pause | | Resume          |  |
//	 | |  its turn                  v |                 |  |
//	 | +--------------------------- passed              |  |
//	 |                                                  |  |
//	 +--------------------------------------------------+  |
//	   nothing left: the partition has a Waker             |
//	                                ready <----------------+
//	                                       records returned, or an error
//
// A source whose partition is given up or lost goes from any of them to ended. Sources
// that are ready or passed are in the line, and take turns, so that a busy partition
// doesn't starve the others. A source that is held, by Pause or by an error that reading
// again would repeat, becomes idle instead of ready. An idle source waits for its
// partition and costs nothing.
//
// Where things are:
//
//	session.go     Fetch, which serves the line
//	turn.go        the states above
//	source.go      from a chunk of batches to records
//	place.go       at which offset a source begins, and continues after an error
//	ahead.go       reading the next chunks of a file meanwhile
//	buffers.go     whose the bytes are that records point into
//	membership.go  the group: heartbeats, what is taken up and given up
//	closing.go     how a session ends
//
// Callbacks of the program run on the goroutine that fetches, also when the session
// closes (closing.go). The partition decides what a reader may see:
// partition.Visible.
package fetch
