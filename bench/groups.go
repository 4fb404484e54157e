package main

import (
	"github.com/nats-io/nats.go/jetstream"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/topic"
)

// Divisors of the number of -records for cases that wait for each operation.
const (
	slowSync = 1000 // a disk and more
	slowDisk = 200  // a disk
	slowTurn = 20   // another goroutine
	slowSend = 10   // a write
	slowCall = 100  // a server

	slowCopies = 4 // three disks
)

// What an acknowledgement guarantees in a case.
const (
	ackMemory = "in memory"
	ackOS     = "written"
	ackDisk   = "on disk"
	ackRead   = "read"
	ackCopies = "on 2 of 3 disks"
)

// groups returns all comparisons.
func groups() []Group {
	return []Group{
		{"produce", "produce: records sent without waiting and then flushed (latency: from sending to acknowledgement)", []Case{
			{"runnel", ackOS, runnelProduce(topic.OS, 1)},
			{"runnel, 8 goroutines", ackOS, runnelProduce(topic.OS, 8)},
			{"runnel, in memory", ackMemory, runnelProduce(topic.Memory, 1)},
			{"raw write, 1 MiB calls", ackOS, rawWrite},
			{"raw memmove", ackMemory, rawMemmove},
			{"raw CRC-32C", "computed", rawCRC},
			{"kfake with kgo", ackOS, kfakeProduce(1)},
			{"kfake with kgo, 8 goroutines", ackOS, kfakeProduce(8)},
			{"JetStream, file", ackOS, jetProduce(jetstream.FileStorage, 1)},
			{"JetStream, file, 8 goroutines", ackOS, jetProduce(jetstream.FileStorage, 8)},
			{"JetStream, memory", ackMemory, jetProduce(jetstream.MemoryStorage, 1)},
			{"tidwall/wal, batches of 1 MiB", ackOS, walProduce},
			{"bbolt, batches of 1 MiB", ackOS, boltProduce},
		}},
		{"replay", "replay: all records read from the start, files in a warm cache (latency: of a poll, which brings many)", []Case{
			{"runnel", ackRead, runnelReplay(topic.OS)},
			{"runnel, buffers reused", ackRead, runnelReplay(topic.OS, consumer.ReuseBuffers())},
			{"runnel, in memory", ackRead, runnelReplay(topic.Memory)},
			{"raw read and CRC, 1 MiB calls", ackRead, rawReplay},
			{"kfake with kgo", ackRead, kfakeReplay},
			{"JetStream, file", ackRead, jetReplay(jetstream.FileStorage)},
			{"JetStream, memory", ackRead, jetReplay(jetstream.MemoryStorage)},
			{"tidwall/wal", ackRead, walReplay},
			{"bbolt", ackRead, boltReplay},
		}},
		{"append", "append: each record waited for, not on disk", []Case{
			{"runnel", ackOS, runnelSend(topic.OS, 1, slowSend)},
			{"runnel, in memory", ackMemory, runnelSend(topic.Memory, 1, slowSend)},
			{"kfake with kgo", ackOS, kfakeSend(false, slowCall)},
			{"JetStream, file", ackOS, jetSend(jetstream.FileStorage, false, 1, slowCall)},
			{"JetStream, memory", ackMemory, jetSend(jetstream.MemoryStorage, false, 1, slowCall)},
			{"tidwall/wal", ackOS, walSend(false, slowSend)},
			{"bbolt", ackOS, boltSend(false, slowCall)},
		}},
		{"durable", "durable append: each record waited for until it is on disk", []Case{
			{"runnel", ackDisk, runnelDurable(1, slowDisk)},
			{"raw append and fdatasync", ackDisk, rawDurable(false)},
			{"raw overwrite and fdatasync", ackDisk, rawDurable(true)},
			{"kfake with kgo", ackDisk, kfakeSend(true, slowSync)},
			{"JetStream, file", ackDisk, jetSend(jetstream.FileStorage, true, 1, slowSync)},
			{"tidwall/wal", ackDisk, walSend(true, slowSync)},
			{"bbolt", ackDisk, boltSend(true, slowSync)},
			{"raft-wal", ackDisk, raftSend(1, slowSync)},
			{"Pebble", ackDisk, pebbleSend(1, slowSync)},
		}},
		{"durable64", "durable append from 64 goroutines, each of which waits until its record is on disk", []Case{
			{"runnel", ackDisk, runnelDurable(writers, slowTurn)},
			{"raw appends, fdatasync shared", ackDisk, rawShared},
			{"JetStream, file", ackDisk, jetSend(jetstream.FileStorage, true, writers, slowCall)},
			{"bbolt, Batch", ackDisk, boltBatch(slowSync)},
			{"raft-wal", ackDisk, raftSend(writers, slowCall)},
			{"Pebble", ackDisk, pebbleSend(writers, slowTurn)},
		}},
		{"transactions", "transactions: 100 records in three partitions at a time, waited for; plain, or in a transaction each", []Case{
			{"runnel, in memory", ackMemory, runnelHundreds(topic.Memory, false, slowSend)},
			{"runnel, in memory, in transactions", ackMemory, runnelHundreds(topic.Memory, true, slowSend)},
			{"runnel", ackOS, runnelHundreds(topic.OS, false, slowSend)},
			{"runnel, in transactions", ackOS, runnelHundreds(topic.OS, true, slowSend)},
			{"runnel, fsync", ackDisk, runnelHundreds(topic.Fsync, false, slowTurn)},
			{"runnel, fsync, in transactions", ackDisk, runnelHundreds(topic.Fsync, true, slowTurn)},
		}},
		{"isolation", "isolation: a log of transactions of 100 records, every tenth aborted, read to its end", []Case{
			{"runnel, read_uncommitted", ackRead, runnelIsolation(false)},
			{"runnel, read_committed", ackRead, runnelIsolation(true)},
		}},
		{"replicated", "replicated: three nodes in this process, over TCP on loopback where nothing else is said; records sent without waiting and then flushed", []Case{
			{"runnel", ackCopies, runnelReplicated(onLoopback, 1)},
			{"runnel, 4 producers", ackCopies, runnelReplicated(onLoopback, 4)},
			{"runnel, 4 producers, no network", ackCopies, runnelReplicated(inProcess, 4)},
			{"raw, batches of 64 KiB to three files", "on 3 disks", rawCopies},
			{"JetStream, file, 3 replicas", ackCopies, jetReplicated(slowCall)},
			{"hashicorp/raft with raft-wal", ackCopies, raftReplicated(1, 1<<10, slowCall)},
			{"hashicorp/raft with raft-wal, entries of 64 KiB", ackCopies, raftReplicated(64<<10/(keyLen+valueLen), 16, slowCopies)},
		}},
		{"pingpong", "ping-pong: to a waiting goroutine and back (latency: there and back)", []Case{
			{"runnel, in memory", ackMemory, runnelPingPong},
			{"channel, unbuffered", ackMemory, channelPingPong},
		}},
		{"endtoend", "end to end: one goroutine produces as fast as it can while another consumes (latency: from sending to receiving)", []Case{
			{"runnel", ackOS, runnelEndToEnd(topic.OS)},
			{"runnel, in memory", ackMemory, runnelEndToEnd(topic.Memory)},
			{"kfake with kgo", ackOS, kfakeEndToEnd},
			{"JetStream, file", ackOS, jetEndToEnd(jetstream.FileStorage)},
			{"JetStream, memory", ackMemory, jetEndToEnd(jetstream.MemoryStorage)},
		}},
		{"reopen", "reopen: a directory with all the records is opened and its last record read", []Case{
			{"runnel, closed", ackRead, runnelReopen(true)},
			{"runnel, not closed", ackRead, runnelReopen(false)},
			{"kfake with kgo", ackRead, kfakeReopen},
			{"JetStream, file", ackRead, jetReopen},
			{"tidwall/wal", ackRead, walReopen},
			{"bbolt", ackRead, boltReopen},
		}},
		{"open", "open: a directory with 2.5 times the records is opened and its last record read", []Case{
			{"runnel, closed", ackRead, runnelOpen(true)},
			{"runnel, not closed", ackRead, runnelOpen(false)},
			{"raw read and CRC of what was not synced", ackRead, rawScan},
		}},
		{"wordcount", "word count: one processor", []Case{
			{"runnel, streams", ackMemory, runnelWordCount},
			{"plain loop with a map", "", plainWordCount},
		}},
	}
}

// Target is a figure that Runnel must reach.
type Target struct {
	Group, Case string
	Versus      string // another case of the group, or empty for a bare figure
	Of          measure
	AtLeast     float64 // of the ratio; or
	AtMost      float64
}

// measure is a figure of a case.
type measure string

const (
	rate   measure = "records/s"
	median measure = "median latency"
	allocs measure = "allocations per record"
	millis measure = "milliseconds"
	heap   measure = "MiB allocated"
)

func targets() []Target {
	return []Target{
		{Group: "produce", Case: "runnel", Versus: "raw write, 1 MiB calls", Of: rate, AtLeast: 0.5},
		{Group: "produce", Case: "runnel, 8 goroutines", Versus: "raw write, 1 MiB calls", Of: rate, AtLeast: 0.5},
		{Group: "produce", Case: "runnel", Versus: "kfake with kgo", Of: rate, AtLeast: 2},
		{Group: "produce", Case: "runnel, 8 goroutines", Versus: "kfake with kgo, 8 goroutines", Of: rate, AtLeast: 2},
		{Group: "produce", Case: "runnel", Versus: "JetStream, file", Of: rate, AtLeast: 10},
		{Group: "produce", Case: "runnel, 8 goroutines", Versus: "JetStream, file, 8 goroutines", Of: rate, AtLeast: 10},
		{Group: "produce", Case: "runnel", Of: allocs, AtMost: 0.05},
		{Group: "replay", Case: "runnel", Versus: "raw read and CRC, 1 MiB calls", Of: rate, AtLeast: 0.8},
		{Group: "replay", Case: "runnel, buffers reused", Versus: "raw read and CRC, 1 MiB calls", Of: rate, AtLeast: 1},
		{Group: "replay", Case: "runnel", Of: allocs, AtMost: 0.05},
		{Group: "durable", Case: "runnel", Versus: "raw append and fdatasync", Of: median, AtMost: 1},
		{Group: "durable64", Case: "runnel", Versus: "raw appends, fdatasync shared", Of: rate, AtLeast: 1.3},
		{Group: "durable64", Case: "runnel", Versus: "JetStream, file", Of: rate, AtLeast: 1},
		{Group: "durable64", Case: "runnel", Versus: "bbolt, Batch", Of: rate, AtLeast: 1},
		{Group: "durable64", Case: "runnel", Versus: "raft-wal", Of: rate, AtLeast: 1},
		{Group: "durable64", Case: "runnel", Versus: "Pebble", Of: rate, AtLeast: 1},
		{Group: "open", Case: "runnel, closed", Of: millis, AtMost: 10},
		{Group: "open", Case: "runnel, closed", Of: heap, AtMost: 32},
		{Group: "open", Case: "runnel, not closed", Versus: "raw read and CRC of what was not synced", Of: median, AtMost: 1.2},
		{Group: "open", Case: "runnel, not closed", Of: heap, AtMost: 32},
		{Group: "transactions", Case: "runnel, in memory, in transactions", Versus: "runnel, in memory", Of: rate, AtLeast: 0.5},
		{Group: "transactions", Case: "runnel, in transactions", Versus: "runnel", Of: rate, AtLeast: 0.5},
		{Group: "transactions", Case: "runnel, fsync, in transactions", Versus: "runnel, fsync", Of: rate, AtLeast: 0.5},
		{Group: "isolation", Case: "runnel, read_committed", Versus: "runnel, read_uncommitted", Of: rate, AtLeast: 0.9},
		{Group: "replicated", Case: "runnel, 4 producers, no network", Versus: "raw, batches of 64 KiB to three files", Of: rate, AtLeast: 0.8},
		{Group: "replicated", Case: "runnel", Versus: "JetStream, file, 3 replicas", Of: rate, AtLeast: 3},
		{Group: "replicated", Case: "runnel", Versus: "hashicorp/raft with raft-wal", Of: rate, AtLeast: 3},
		{Group: "replicated", Case: "runnel, 4 producers", Versus: "hashicorp/raft with raft-wal, entries of 64 KiB", Of: rate, AtLeast: 1},
		{Group: "pingpong", Case: "runnel, in memory", Versus: "channel, unbuffered", Of: median, AtMost: 2},
		{Group: "wordcount", Case: "runnel, streams", Versus: "plain loop with a map", Of: rate, AtLeast: 0.4},
	}
}
