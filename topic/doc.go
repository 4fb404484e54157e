// Package topic is what programs say about topics: their names, their
// configuration, who may create and describe them, and which partition a record
// goes to. It is metadata only; no package that keeps bytes is imported here.
//
// A [Spec] is a topic to be created, a [Description] is one that exists, and
// both hold a [Config]: a struct whose zero value works, and whose fields have
// Kafka's names and values as text (Config.Entries, Config.Set). An [Admin] is
// whoever keeps topics: *runnel.Broker in this process, or a Kafka cluster. An
// [OffsetSpec] names an offset without knowing its number. [Ensure] is how a
// program that starts gets its topics: those that are missing are created.
//
// A [Partitioner] makes, for one topic of one producer, the function that
// chooses each record's partition. DefaultPartitioner does what Kafka's own
// does: a key's murmur2 hash decides, so that equal keys stay in order, and
// records without a key stick to one partition for a batch's worth of bytes
// (KIP-794).
//
// Values of this package may be copied freely. Functions and partitioners are
// safe for concurrent use, a Config that somebody changes is not.
package topic
