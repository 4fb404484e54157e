// Package metadata keeps the catalogue of a data directory: the fold of package
// catalogue, the partition __cluster_metadata-0 whose records it folds, and the
// snapshots that take the place of the oldest of them.
//
// A command is what the Catalogue says is to be written, given to Log.Commit: it is
// one batch, so a crash leaves all of it or none. Opening reads the newest whole
// snapshot and replays the log behind it; the result equals the catalogue as it was.
//
// Snapshots and log hold each other's backs. There are two snapshots, as a rule,
// and the log begins where the older one ends:
//
//	offset      0 ....... 4000 ....... 5000 ....... 5321
//	log                   |--------------------------|
//	snapshots             4000-1.checkpoint
//	                                   5000-1.checkpoint
//
// Nothing here is safe for concurrent use, but for what says so: commands follow on
// each other, and whose turn it is, the broker decides.
package metadata
