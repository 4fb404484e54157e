// Package datadir looks after data directories that no broker has open: Inspect reads
// one through and says what is wrong, Repair makes it sound again, Restore makes one
// of a backup.
//
// None of them needs the program that wrote the directory, and a program that only
// opens brokers links none of them. Inspect changes nothing, and can look at a
// directory in use. Repair and Restore hold its lock, as a broker does; Repair keeps
// what it replaces under another name, and no record changes its offset.
//
// What directories hold is in docs/format.md; what damage is, and what is done about
// it, in package log.
package datadir
