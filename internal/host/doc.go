// Package host holds the topics that this process keeps: it is the one place that
// opens partitions and hands them out.
//
// A Host has a Topic for every topic of the catalogue. The partitions of a Topic are
// opened when it is first used. One that does not open is a partition.Broken in its
// place, and Sound tries it again:
//
//	            Publish            Topic, Open             Delete
//	(unknown) ----------> closed ---------------> open -------------> gone
//	                                 |    ^
//	                          fails  v    |  Sound, Whole
//	                                broken (one partition)
//
// Sessions of producers and consumers are added to the host, hear of every change of
// topics, and are closed before the partitions. Where copies of a partition live in
// several processes, they come in here: sessions ask for a partition, and do not know
// where its bytes are.
//
// Everything is safe for concurrent use, but for Publish, Delete and Reconfigure,
// which follow the catalogue and are called by the goroutine that changes it.
package host
