package runnel

import (
	"context"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/internal/attach"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/share"
	"github.com/runnel-go/runnel/topic"
)

// Remote is a broker that this or another process has opened, reached through the
// socket in its directory. Like a Broker it is a topic.Admin, a consumer.Admin,
// and the backend of producers, consumers and streams. All methods are safe for
// concurrent use.
//
// Guarantees are the broker's: an acknowledged record is as durable, and a group
// has members in every process. When the broker closes or its process dies, every
// call fails with fault.Closed, except for records in flight to a process that
// died: they fail with fault.UnknownOutcome. Records that were read and not
// committed are delivered again. When this process dies, its members leave their
// groups.
//
// A broker limits what it serves through its socket:
//
//   - All attached processes share a fixed amount of the broker's memory: if one
//     sends faster than the disk writes, its sending waits.
//   - A record has at most 64 MiB, else sending it fails with
//     fault.RecordTooLarge.
//   - There are at most 512 connections, one for each producer and consumer and
//     one for each Remote. Further ones fail with fault.PolicyViolation.
type Remote struct{ client *attach.Client }

var (
	_ producer.Backend = (*Remote)(nil)
	_ consumer.Backend = (*Remote)(nil)
	_ topic.Admin      = (*Remote)(nil)
	_ consumer.Admin   = (*Remote)(nil)
	_ producer.Admin   = (*Remote)(nil)
	_ share.Backend    = (*Remote)(nil)
	_ share.Admin      = (*Remote)(nil)
)

// Close closes the connection and the sessions that are still open on it. The
// broker stays open. Close is idempotent.
func (r *Remote) Close() error { return r.client.Close() }

// OpenProducer implements producer.Backend. Programs call producer.New.
func (r *Remote) OpenProducer(ctx context.Context, cfg producer.Config) (producer.Session, error) {
	return r.client.OpenProducer(ctx, cfg)
}

// OpenConsumer implements consumer.Backend. Programs call consumer.New.
func (r *Remote) OpenConsumer(ctx context.Context, cfg consumer.Config) (consumer.Session, error) {
	return r.client.OpenConsumer(ctx, cfg)
}

// CreateTopics creates all topics or none. See topic.Admin.
func (r *Remote) CreateTopics(ctx context.Context, specs ...topic.Spec) error {
	return r.client.CreateTopics(ctx, specs...)
}

// DeleteTopics deletes topics with their records, all or none. See topic.Admin.
func (r *Remote) DeleteTopics(ctx context.Context, names ...string) error {
	return r.client.DeleteTopics(ctx, names...)
}

// AddPartitions raises a topic's number of partitions to total. See topic.Admin.
func (r *Remote) AddPartitions(ctx context.Context, name string, total int) error {
	return r.client.AddPartitions(ctx, name, total)
}

// ConfigureTopic replaces a topic's configuration. See topic.Admin.
func (r *Remote) ConfigureTopic(ctx context.Context, name string, cfg topic.Config) error {
	return r.client.ConfigureTopic(ctx, name, cfg)
}

// Topics returns the names of all topics except internal ones, sorted.
func (r *Remote) Topics(ctx context.Context) ([]string, error) { return r.client.Topics(ctx) }

// DescribeTopics describes the named topics, or all except internal ones. See
// topic.Admin.
func (r *Remote) DescribeTopics(ctx context.Context, names ...string) ([]topic.Description, error) {
	return r.client.DescribeTopics(ctx, names...)
}

// DescribeCluster describes the nodes of the broker's cluster. See topic.Admin.
func (r *Remote) DescribeCluster(ctx context.Context) (topic.Cluster, error) {
	return r.client.DescribeCluster(ctx)
}

// DeleteRecords makes records before the given offsets unreadable. See
// topic.Admin.
func (r *Remote) DeleteRecords(ctx context.Context, before map[record.TopicPartition]int64) (map[record.TopicPartition]int64, error) {
	return r.client.DeleteRecords(ctx, before)
}

// ListOffsets returns the offset that spec names in each partition. See
// topic.Admin.
func (r *Remote) ListOffsets(ctx context.Context, spec topic.OffsetSpec, partitions ...record.TopicPartition) (map[record.TopicPartition]topic.ListedOffset, error) {
	return r.client.ListOffsets(ctx, spec, partitions...)
}

// Groups lists all groups, sorted by name. See consumer.Admin.
func (r *Remote) Groups(ctx context.Context) ([]consumer.GroupListing, error) {
	return r.client.Groups(ctx)
}

// DescribeGroups describes the named groups in that order. See consumer.Admin.
func (r *Remote) DescribeGroups(ctx context.Context, names ...string) ([]consumer.GroupDescription, error) {
	return r.client.DescribeGroups(ctx, names...)
}

// DeleteGroups deletes groups with their offsets. See consumer.Admin.
func (r *Remote) DeleteGroups(ctx context.Context, names ...string) error {
	return r.client.DeleteGroups(ctx, names...)
}

// GroupOffsets returns all offsets that a group has committed. See
// consumer.Admin.
func (r *Remote) GroupOffsets(ctx context.Context, group string) (map[record.TopicPartition]consumer.Offset, error) {
	return r.client.GroupOffsets(ctx, group)
}

// SetGroupOffsets stores offsets for a group without members. See
// consumer.Admin.
func (r *Remote) SetGroupOffsets(ctx context.Context, group string, offsets map[record.TopicPartition]consumer.Offset) error {
	return r.client.SetGroupOffsets(ctx, group, offsets)
}

// DeleteGroupOffsets makes a group forget its offsets of some partitions. See
// consumer.Admin.
func (r *Remote) DeleteGroupOffsets(ctx context.Context, group string, partitions ...record.TopicPartition) error {
	return r.client.DeleteGroupOffsets(ctx, group, partitions...)
}

// ListTransactions lists the transactional IDs that are known, sorted. See producer.Admin.
func (r *Remote) ListTransactions(ctx context.Context) ([]producer.TransactionListing, error) {
	return r.client.ListTransactions(ctx)
}

// DescribeTransactions describes transactional IDs in that order. See producer.Admin.
func (r *Remote) DescribeTransactions(ctx context.Context, ids ...string) ([]producer.TransactionDescription, error) {
	return r.client.DescribeTransactions(ctx, ids...)
}

// DescribeProducers returns the idempotent producers that the partitions' leaders know. See
// producer.Admin.
func (r *Remote) DescribeProducers(ctx context.Context, partitions ...record.TopicPartition) (map[record.TopicPartition][]producer.ProducerState, error) {
	return r.client.DescribeProducers(ctx, partitions...)
}

// ForceTerminateTransaction aborts the open transaction of a transactional ID. See
// producer.Admin.
func (r *Remote) ForceTerminateTransaction(ctx context.Context, id string) error {
	return r.client.ForceTerminateTransaction(ctx, id)
}

// AbortTransaction aborts in one partition the open transaction of a producer. See
// producer.Admin.
func (r *Remote) AbortTransaction(ctx context.Context, tp record.TopicPartition, of producer.ProducerState) error {
	return r.client.AbortTransaction(ctx, tp, of)
}

// OpenShare implements share.Backend. Programs call share.New. The program that holds the
// directory opens the broker with ShareGroups, or has consumers of share groups itself:
// otherwise fault.UnsupportedVersion.
func (r *Remote) OpenShare(ctx context.Context, cfg share.Config) (share.Session, error) {
	return r.client.OpenShare(ctx, cfg)
}

// ShareGroups lists the names of all share groups, sorted. See share.Admin.
func (r *Remote) ShareGroups(ctx context.Context) ([]string, error) { return r.client.ShareGroups(ctx) }

// DescribeShareGroup describes a share group. See share.Admin.
func (r *Remote) DescribeShareGroup(ctx context.Context, group string) (share.GroupDescription, error) {
	return r.client.DescribeShareGroup(ctx, group)
}

// DeleteShareGroup deletes a share group with all that it knows of records. See share.Admin.
func (r *Remote) DeleteShareGroup(ctx context.Context, group string) error {
	return r.client.DeleteShareGroup(ctx, group)
}

// DeleteShareGroupOffsets has a share group forget what it knows of topics' records. See
// share.Admin.
func (r *Remote) DeleteShareGroupOffsets(ctx context.Context, group string, topics ...string) error {
	return r.client.DeleteShareGroupOffsets(ctx, group, topics...)
}

// ResetShareGroup has a share group continue where an offset spec says. See share.Admin.
func (r *Remote) ResetShareGroup(ctx context.Context, group string, to topic.OffsetSpec, partitions ...record.TopicPartition) error {
	return r.client.ResetShareGroup(ctx, group, to, partitions...)
}

// Verify makes the broker compare every readable batch with its checksum. See
// Broker.Verify.
func (r *Remote) Verify(ctx context.Context) error { return r.client.Verify(ctx) }
