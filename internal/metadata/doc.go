// Package metadata keeps the catalogue of a data directory: the fold of package
// catalogue, the partition __cluster_metadata-0 whose records it folds, and the
// snapshots that take the place of the oldest of them.
//
// Where the partition has replicas, CatchUp folds what is committed on whichever node,
// and only the node that leads it can Commit. With one copy, that is always this one.
//
// A command passes the records that the Catalogue returns for it to Log.Commit, which
// appends them as one batch: a crash leaves all of it or none. Open reads the newest
// sound snapshot and replays the log behind it.
//
// Snapshots and log are redundant. Usually there are two snapshots, and the log begins
// where the older one ends. If either is damaged, the other one and the log give the
// whole catalogue:
//
//	offset      0 ....... 4000 ....... 5000 ....... 5321
//	log                   |--------------------------|
//	snapshots             4000-1.checkpoint
//	                                   5000-1.checkpoint
//
// A Log is not safe for concurrent use, except methods that say so: the broker runs
// one command at a time.
package metadata
