// Package topic describes topics: their names, their configuration, who may
// create and describe them, and which partition a record goes to. It is
// metadata only and imports no package that stores records.
//
// A [Spec] is a topic to be created and a [Description] is one that exists.
// Both hold a [Config]: a struct whose zero value works, and whose fields have
// Kafka's names and values as text (Config.Entries, Config.Set). An [Admin]
// manages topics: *runnel.Broker in this process, or a Kafka cluster. An
// [OffsetSpec] names an offset without knowing its number. A program that
// starts calls [Ensure], which creates the topics that are missing.
//
// A [Partitioner] makes, for one topic of one producer, the function that
// chooses each record's partition. DefaultPartitioner does what Kafka's own
// does: a key's murmur2 hash decides, so that records with equal keys stay in
// order. Records without a key go to one partition for a batch's worth of
// bytes, then to another (KIP-794).
//
// Values of this package may be copied freely. Functions and partitioners are
// safe for concurrent use. A Config that is being changed is not.
package topic
