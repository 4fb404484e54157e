// Package fetch is what a consumer's session does on a host: it finds the partitions
// that it owns, reads their records, and keeps its place in its group.
//
// Sessions opens them. A Session has a source for each partition that it owns, whose
// turn is one of these:
//
//	       records, Resume, Seek            its turn
//	idle ------------------------> ready ------------> served
//	 ^ ^                            | ^                 |  |
//	 | |                      Pause | | Resume          |  |
//	 | |  its turn                  v |                 |  |
//	 | +--------------------------- passed              |  |
//	 |                                                  |  |
//	 +--------------------------------------------------+  |
//	   nothing left: a Waker stays with the partition      |
//	                                ready <----------------+
//	                                       records returned, or an error
//
// From each of them a source that is no longer owned is ended. Ready and passed are in
// the line, and only there does a source have a place: it takes turns with the others,
// so a busy partition does not starve them. A source that is held, by Pause or by an
// error that reading again would repeat, goes to idle instead of ready. One that is
// idle waits for its partition and costs nothing meanwhile.
//
// Everything that a program's callbacks see happens on the goroutine that fetches,
// closing included (closing.go). What a reader may see of a partition is the
// partition's own: partition.Visible.
package fetch
