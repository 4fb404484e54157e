// Package fetch is what a consumer's session does on a host: it finds the partitions
// that it owns, reads their records, and keeps its place in its group.
//
// Sessions opens them. A Session has a source for each partition that it owns, in one
// of these states:
//
//	       records, Resume, Seek            its turn
//	idle ------------------------> ready ------------> served
//	 ^ ^                             |                  |  |
//	 | +-----------------------------+ Pause            |  |
//	 +--------------------------------------------------+  | no longer owned
//	   nothing left: a Waker stays with the partition      v
//	                                                    dropped
//
// Sources that are ready stand in a line and take turns, so a busy partition does not
// starve others. Only a source that is idle and not paused waits for its partition,
// and costs nothing meanwhile.
//
// Everything that a program's callbacks see happens on the goroutine that fetches,
// closing included (closing.go). What a reader may see of a partition is the
// partition's own: partition.Visible.
package fetch
