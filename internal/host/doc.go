// Package host holds the topics of a data directory in this process. It is the only
// place that opens partitions and hands them out.
//
// A Host has a Topic for every topic of the catalogue. A topic's partitions are opened
// when it is first used. In place of a partition that does not open there is a
// partition.Broken, and Sound tries to open it again:
//
//	            Publish            Topic, Open             Delete
//	(unknown) ----------> closed ---------------> open -------------> gone
//	                                 |    ^
//	                          fails  v    |  Sound, Whole
//	                                broken (one partition)
//
// Sessions of producers and consumers are added to the host, which notifies them of
// every change of topics, and closed before the partitions. Replicas plug in
// here: with a Replication, it opens the partitions. A session asks for a partition and
// doesn't know where its copies are.
//
// Everything is safe for concurrent use, except Publish, Delete and Reconfigure,
// which only the goroutine that changes the catalogue may call.
package host
