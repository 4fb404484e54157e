package processtest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica"
)

// share reads the topic together with the other processes, as a consumer group, until ctx ends. A member that the group has
// given up, since its process stood still, is followed by another one.
func (p *process) share(ctx context.Context, b *runnel.Broker, id replica.NodeID) {
	for ctx.Err() == nil {
		if p.attend(ctx, b, id) != nil && ctx.Err() == nil {
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
}

// attend is the life of one member. It says what it has got, and then commits that.
func (p *process) attend(ctx context.Context, b *runnel.Broker, id replica.NodeID) error {
	c, err := consumer.New(b, consumer.Group(groupName), consumer.Topics(topicName), consumer.FromStart(), consumer.ManualCommit(),
		consumer.InstanceID(fmt.Sprint("node-", id)), consumer.SessionTimeout(6*time.Second),
		consumer.OnAssigned(func(partitions []record.TopicPartition) {
			for _, tp := range partitions {
				p.say("assigned %d", tp.Partition)
			}
		}))
	if err != nil {
		return err
	}
	defer c.Close()
	for {
		records, err := c.Poll(ctx)
		if err == nil {
			next := p.sayGot(records)
			if err = c.Commit(ctx); err == nil {
				for partition, offset := range next {
					p.say("committed %d %d", partition, offset)
				}
			}
		}
		if err != nil && (ctx.Err() != nil || consumer.Fatal(err)) {
			return err
		}
	}
}

// sayGot says what a Poll returned, and returns the offsets after it.
func (p *process) sayGot(records []record.Record) map[int32]int64 {
	next := map[int32]int64{}
	for len(records) > 0 {
		n := 1
		for n < len(records) && records[n].Partition == records[0].Partition {
			n++
		}
		partition, last := records[0].Partition, records[n-1].Offset
		p.say("got %d %d %d", partition, records[0].Offset, last)
		next[partition], records = last+1, records[n:]
	}
	return next
}

// sayOffsets says what the group has committed.
func (p *process) sayOffsets(ctx context.Context, b *runnel.Broker) error {
	offsets, err := b.GroupOffsets(ctx, groupName)
	if err != nil {
		return err
	}
	for tp, o := range offsets {
		p.say("offset %d %d", tp.Partition, o.Offset)
	}
	return nil
}

// What members say is held against what they may say.
func TestReading(t *testing.T) {
	var r reading
	r.assigned(0)
	require.True(t, r.heard(0, span{0, 9}))
	require.Equal(t, int64(10), r.lacks(map[string]int64{"a": 9, "b": 10}))
	r.committed = 10
	require.True(t, r.heard(1, span{5, 9}), "a member that stood still and was replaced meanwhile")
	r.assigned(1)
	require.False(t, r.heard(1, span{9, 20}), "it begins before what was committed")
	r.assigned(1)
	require.True(t, r.heard(1, span{12, 20}))
	require.Equal(t, int64(-1), r.lacks(map[string]int64{"a": 9, "b": 10, "c": 12, "d": 20}))
	require.Equal(t, int64(21), r.lacks(map[string]int64{"a": 21}))
}
