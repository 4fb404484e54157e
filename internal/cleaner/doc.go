// Package cleaner deletes and compacts the old records of a host's partitions when
// they are due.
//
// A chore is a partition to clean, or a topic that is not open yet. It is queued
// when a segment begins or the configuration changes, and scheduled for the time at
// which something becomes due:
//
//	      Enqueue              cleaned, nothing in sight
//	idle ─────────▶ queued ──────────────────────────────▶ idle
//	                 ▲  │ cleaned, due later
//	      timer, or  │  ▼
//	      Enqueue   scheduled
//
// One goroutine cleans while chores are queued. Otherwise there is one timer for the
// chore that is due first, or none. Age removes records only after a grace period.
package cleaner
