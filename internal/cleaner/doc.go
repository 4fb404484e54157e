// Package cleaner deletes and compacts the old records of a host's partitions when
// they are due.
//
// A chore is a partition to be looked at, or a topic that is not open yet. It is
// queued when a segment begins or the configuration changes, and again for the
// moment at which time makes something due:
//
//	          Look                  looked at
//	forgotten ----> queued -----------------------> forgotten, nothing is in sight
//	                  ^  \ looked at, due later
//	           the    |   v
//	          timer   +-- due
//
// One goroutine looks, while there is something queued; otherwise there is one timer
// for what is due first, or nothing. Records go by their age only after a grace.
package cleaner
