package attach

import (
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

func (c *coder) config(v *topic.Config) {
	int8s(c, &v.Durability)
	int8s(c, &v.Cleanup)
	int64s(c, &v.Retention)
	int64s(c, &v.RetentionBytes)
	int64s(c, &v.SegmentBytes)
	int64s(c, &v.SegmentAge)
	int64s(c, &v.MaxMessageBytes)
	int8s(c, &v.Timestamps)
	int64s(c, &v.TimestampBefore)
	int64s(c, &v.TimestampAfter)
	int64s(c, &v.MinReplicas)
	int64s(c, &v.MinCompactionLag)
	int64s(c, &v.MaxCompactionLag)
	int64s(c, &v.DeleteRetention)
	c.float(&v.MinCleanableRatio)
	c.bool(&v.KeyIndex)
}

func (c *coder) topicSpec(v *topic.Spec) {
	text(c, &v.Name)
	int64s(c, &v.Partitions)
	int64s(c, &v.Replicas)
	c.config(&v.Config)
}

func (c *coder) description(v *topic.Description) {
	text(c, &v.Name)
	for i := range v.ID {
		int8s(c, &v.ID[i])
	}
	c.bool(&v.Internal)
	c.config(&v.Config)
	list(c, 64, &v.Partitions, (*coder).partitionDescription)
}

func (c *coder) partitionDescription(v *topic.PartitionDescription) {
	int32s(c, &v.Number)
	int32s(c, &v.Leader)
	int32s(c, &v.LeaderEpoch)
	c.numbers(&v.Replicas)
	c.numbers(&v.ISR)
	list(c, 12, &v.Lag, (*coder).lag)
	int64s(c, &v.StartOffset)
	int64s(c, &v.HighWatermark)
	int64s(c, &v.EndOffset)
	int64s(c, &v.DurableOffset)
	int64s(c, &v.Size)
}

func (c *coder) lag(v *topic.Lag) {
	int32s(c, &v.Node)
	int64s(c, &v.Records)
}

func (c *coder) cluster(v *topic.Cluster) {
	int32s(c, &v.Controller)
	list(c, 13, &v.Nodes, (*coder).node)
}

func (c *coder) node(v *topic.Node) {
	int32s(c, &v.ID)
	text(c, &v.Address)
	text(c, &v.Rack)
	c.bool(&v.Alive)
}

func (c *coder) listed(v *topic.ListedOffset) {
	int64s(c, &v.Offset)
	int32s(c, &v.LeaderEpoch)
	c.milliseconds(&v.Timestamp)
}

func (c *coder) offset(v *consumer.Offset) {
	int64s(c, &v.Offset)
	int32s(c, &v.LeaderEpoch)
	text(c, &v.Metadata)
}

func (c *coder) groupMetadata(v *consumer.GroupMetadata) {
	text(c, &v.Group)
	text(c, &v.MemberID)
	int32s(c, &v.MemberEpoch)
	text(c, &v.InstanceID)
}

func (c *coder) groupListing(v *consumer.GroupListing) {
	text(c, &v.Name)
	text(c, &v.State)
	int64s(c, &v.Members)
}

func (c *coder) groupDescription(v *consumer.GroupDescription) {
	text(c, &v.Name)
	text(c, &v.State)
	int32s(c, &v.Epoch)
	text(c, &v.Assignor)
	list(c, 28, &v.Members, (*coder).member)
}

func (c *coder) member(v *consumer.Member) {
	text(c, &v.ID)
	text(c, &v.InstanceID)
	text(c, &v.ClientID)
	int32s(c, &v.Epoch)
	c.texts(&v.Topics)
	text(c, &v.Pattern)
	c.partitions(&v.Assigned)
	c.partitions(&v.Target)
}

func (c *coder) keyQuery(v *consumer.KeyQuery) {
	c.partition(&v.TopicPartition)
	c.nullable(&v.Key)
	int64s(c, &v.From)
	int64s(c, &v.Max)
	c.bool(&v.ReadCommitted)
}

// keyPage is the answer to a query, whose partition its records have.
func (c *coder) keyPage(v *consumer.KeyPage, q *consumer.KeyQuery) {
	list(c, 27, &v.Records, func(c *coder, r *record.Record) {
		r.Topic, r.Partition = q.Topic, q.Partition
		int64s(c, &r.Offset)
		int32s(c, &r.LeaderEpoch)
		c.content(r)
	})
	int64s(c, &v.Next)
	int64s(c, &v.End)
}

// content is what a record consists of, wherever it is.
func (c *coder) content(r *record.Record) {
	c.milliseconds(&r.Timestamp)
	c.nullable(&r.Key)
	c.nullable(&r.Value)
	list(c, 5, &r.Headers, func(c *coder, h *record.Header) {
		text(c, &h.Key)
		c.nullable(&h.Value)
	})
}

// sentIf is a record with a condition.
func (c *coder) sentIf(r *record.Record, condition *record.Condition) {
	int32s(c, &r.Partition)
	c.content(r)
	int8s(c, &condition.Demand)
	int64s(c, &condition.Offset)
	if c.isReading() && !condition.Valid() {
		c.fail("a condition that there is not")
	}
}

func (c *coder) producerConfig(v *producer.Config) {
	text(c, &v.ClientID)
	int8s(c, &v.Acks)
	int64s(c, &v.Linger)
	int64s(c, &v.BatchBytes)
	int64s(c, &v.BufferBytes)
	int8s(c, &v.Compression)
	int64s(c, &v.Level)
	c.bool(&v.Idempotent)
	text(c, &v.TransactionalID)
	int64s(c, &v.TransactionTimeout)
}

// consumerConfig visits all fields but the callbacks, which stay on the client.
func (c *coder) consumerConfig(v *consumer.Config) {
	text(c, &v.ClientID)
	text(c, &v.Group)
	c.texts(&v.Topics)
	text(c, &v.Pattern)
	text(c, &v.InstanceID)
	text(c, &v.Assignor)
	c.bytes(&v.Metadata)
	c.spec(&v.Start)
	int64s(c, &v.SessionTimeout)
	int64s(c, &v.RebalanceTimeout)
	int64s(c, &v.MaxRecords)
	int64s(c, &v.MaxBytes)
	c.bool(&v.ReadCommitted)
}

func (c *coder) fetched(v *consumer.Fetched) {
	c.partition(&v.TopicPartition)
	int64s(c, &v.Next)
	int32s(c, &v.LeaderEpoch)
	int64s(c, &v.HighWatermark)
}
