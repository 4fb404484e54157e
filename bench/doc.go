// Command bench compares Runnel with its alternatives, in one run on one
// machine:
//
//	go run ./bench                      # everything, medians of three runs
//	go run ./bench -only replay,reopen  # some groups
//	go run ./bench -only durable,durable64,open -dir DIR
//	go run ./bench -json > results.json
//	go run ./bench -profile profiles    # a CPU profile of each of Runnel's cases
//
// A group is one job (produce, replay, …) done by several cases: Runnel, the
// bare operations that every implementation needs (write, fdatasync, CRC,
// memmove), and other libraries. The cases of a group take turns, run by run,
// so that a machine that slows down slows them all, and the median run of each
// counts.
//
// All cases do the same: they use records of a 16-byte key and a 100-byte value
// from one table, one partition, and the acknowledgement that each line names.
// Every case counts what it wrote or read, in records and in bytes of keys and
// values, and a wrong count fails the run. For that, the result of a durable
// append is opened again. A slow case does fewer records, and its line shows
// how many.
//
// Allocations are those of the whole process, so a peer's server is counted
// together with its client, as Runnel's broker is.
package main
