// Package datadir works on data directories that no broker has open: Inspect reads one
// and reports what is wrong with it, Repair makes it sound again, Restore creates one
// from a backup, and Import from directories of Kafka's.
//
// They don't need the program that wrote the directory, and a program that only opens
// brokers links none of them. Inspect changes nothing, and can read a directory in use.
// Repair, Restore and Import hold its lock, as a broker does. Repair keeps what it replaces under
// another name, and no record changes its offset.
//
// docs/format.md describes the files. Package log defines what damage is, and how a log is
// repaired.
package datadir
