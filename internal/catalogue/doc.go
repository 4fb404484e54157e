// Package catalogue is what a broker knows about its topics: a fold of the
// records in the internal partition __cluster_metadata-0.
//
// A [Catalogue] changes only by Apply, and by Forget when a snapshot is written. Its
// commands (CreateTopics, DeleteTopics, AddPartitions, ConfigureTopic, ProducerIDs) check
// a request against the current state and return the records that would carry it out. The
// caller appends them as one batch, so that a crash leaves all of them or none, and then
// applies them. Opening a broker applies the same records again. So the state of a
// running broker always equals a replay of its log.
//
// Nothing here reads a clock, starts a goroutine or does I/O, and the caller provides the
// topic IDs: so a test can replay any history. A Catalogue belongs to one goroutine at a
// time.
//
// # Bytes
//
// The records are KRaft's, so Kafka's dump tool prints them. Each value is a
// frame and a message in a flexible version (see package wire), with a null
// key:
//
//	uvarint 1              version of the frame
//	uvarint                the message's API key
//	uvarint                the message's version
//	…                      the message
//
//	key  version  message
//	2    0        TopicRecord: compact string name, UUID topic ID, tags
//	3    0..2     PartitionRecord: int32 partition, UUID topic ID, compact
//	              int32 arrays replicas, ISR, removing and adding replicas,
//	              int32 leader, int32 leader epoch, int32 partition epoch,
//	              from version 1 on a compact UUID array of directories, tags
//	4    0        ConfigRecord: int8 resource type (2 is a topic), compact
//	              string resource name, compact string name, compact nullable
//	              string value (null removes the setting), tags
//	9    0        RemoveTopicRecord: UUID topic ID, tags
//	12   0        FeatureLevelRecord: compact string name, int16 level, tags
//	15   0        ProducerIdsRecord: int32 broker, int64 broker epoch, int64 the
//	              next unused producer ID, tags
//
// Version 0 of each is written. A catalogue begins with two feature levels:
// metadata.version says to Kafka's tools how to read the rest, and runnel.version keeps a
// program from misreading what a newer one wrote. A higher runnel.version, and a message
// or version that isn't listed, is fault.UnsupportedFormat.
//
// A snapshot ([EncodeSnapshot], [DecodeSnapshot]) has the records from which Apply builds
// the same Catalogue, between a header and a footer, as KRaft's snapshots do.
// docs/format.md describes it.
package catalogue
