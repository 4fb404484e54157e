// Package runnel is an event-streaming platform inside a Go program: topics,
// partitioned logs, producers and consumer groups with Kafka's words, guarantees
// and bytes, by plain function call.
//
// [Open] gives a [Broker] on a directory, [OpenMemory] one in memory. A Broker
// keeps topics (topic.Admin) and groups (consumer.Admin), and is what
// producer.New, consumer.New and streams.New run on: it implements their
// Backend, as the kafka module does on a Kafka cluster.
//
//	broker, err := runnel.Open("./data")
//	if err != nil { … }
//	defer broker.Close()
//	err = broker.CreateTopics(ctx, topic.Spec{Name: "orders", Partitions: 3})
//
// # Guarantees
//
// A record that was acknowledged under durability Fsync, the default of Open, is
// on disk. Records of one partition are read in the order in which they were
// acknowledged, each at one offset for ever. Creating, changing and deleting
// topics is atomic: after a crash it has happened or it has not. A directory
// belongs to one process at a time; the second one gets fault.Locked, and may
// [Attach] to the first. Opening
// never deletes what it cannot explain; Recovery reports what it found.
//
// # Directory
//
//	.lock                      held while the broker is open; names its process
//	.kafka_cleanshutdown       there after a clean Close, gone while open
//	.runnel.sock               the socket of Attach, there while open
//	.runnel_reserve            space for deleting topics and records on a full disk
//	.runnel_restoring          while a backup is being restored; Open refuses it
//	__cluster_metadata-0/      the catalogue: Kafka's own format, see docs/format.md
//	<topic>-<partition>/       a partition's log, see package log, and in it
//	  partition.metadata         the ID of the topic that the log belongs to
//	<topic>-<partition>.<hex>-delete/
//	                           a deleted partition, about to be removed
//	<topic>-<partition>.<hex>-stray/
//	                           a partition of no known topic, put out of the way
//	                           of a new one; never removed
//
// # Concurrency
//
// All methods of a Broker are safe for concurrent use. Finding a topic takes no
// lock. Commands that change topics take turns at one token, the writer's, and
// so does opening a topic's partitions; no lock is held while anything is read
// or written. In memory a Broker runs whole inside a testing/synctest bubble.
// Close may be called at any moment: it closes the sessions of producers and
// consumers first, those of other processes before all, then waits for the
// command at hand. An idle Broker has one goroutine, which accepts tools that
// attach; in memory, and with [NoSocket], none.
package runnel
