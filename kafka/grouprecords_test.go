package kafka_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/internal/coordinator/group"
	"github.com/runnel-go/runnel/record"
)

// subscription is what a consumer tells the leader of its group.
func subscription() []byte {
	m := kmsg.NewConsumerMemberMetadata()
	m.Topics = []string{"orders"}
	return m.AppendTo(nil)
}

func assignment() []byte {
	a := kmsg.NewConsumerMemberAssignment()
	a.Topics = []kmsg.ConsumerMemberAssignmentTopic{{Topic: "orders", Partitions: []int32{0, 2}}}
	return a.AppendTo(nil)
}

// What the coordinator writes of a group of the classic protocol is what others read.
func TestRecordsOfAClassicGroupAreKafkas(t *testing.T) {
	c := group.New(group.Limits{Classic: group.ServeClassic})
	now := time.UnixMilli(1_700_000_000_000)
	_, err := c.JoinGroup(1, group.JoinGroupRequest{
		GroupID: "g", SessionTimeout: 10 * time.Second, RebalanceTimeout: time.Minute, NewMemberID: "m", GroupInstanceID: "one",
		ProtocolType: "consumer", Protocols: []group.Protocol{{Name: "range", Metadata: subscription()}}, ClientID: "client", ClientHost: "/host",
	}, now)
	require.NoError(t, err)
	_, _, err = c.Expire(now.Add(3*time.Second), nil)
	require.NoError(t, err)
	result, err := c.SyncGroup(2, group.SyncGroupRequest{
		GroupID: "g", GenerationID: 1, MemberID: "m", Assignments: map[string][]byte{"m": assignment()},
	}, now.Add(3*time.Second))
	require.NoError(t, err)
	require.Len(t, result.Records, 1)

	key := kmsg.NewGroupMetadataKey()
	require.NoError(t, key.ReadFrom(result.Records[0].Key))
	require.EqualValues(t, 2, key.Version)
	require.Equal(t, "g", key.Group)
	value := kmsg.NewGroupMetadataValue()
	require.NoError(t, value.ReadFrom(result.Records[0].Value))
	protocol, leader, instance := "range", "m", "one"
	require.Equal(t, kmsg.GroupMetadataValue{
		Version: 3, ProtocolType: "consumer", Generation: 1, Protocol: &protocol, Leader: &leader,
		CurrentStateTimestamp: now.Add(3 * time.Second).UnixMilli(),
		Members: []kmsg.GroupMetadataValueMember{{
			MemberID: "m", InstanceID: &instance, ClientID: "client", ClientHost: "/host",
			RebalanceTimeoutMillis: 60_000, SessionTimeoutMillis: 10_000, Subscription: subscription(), Assignment: assignment(),
		}},
	}, value)
}

// What others write, in any version, the coordinator reads.
func TestAClassicGroupOfKafkaIsRead(t *testing.T) {
	protocol, leader := "range", "m"
	for version := range int16(5) {
		key := kmsg.NewGroupMetadataKey()
		key.Version, key.Group = 2, "g"
		value := kmsg.NewGroupMetadataValue()
		value.Version, value.ProtocolType, value.Generation = version, "consumer", 7
		value.Protocol, value.Leader = &protocol, &leader
		value.Members = []kmsg.GroupMetadataValueMember{{
			MemberID: "m", ClientID: "client", ClientHost: "/host", RebalanceTimeoutMillis: 60_000, SessionTimeoutMillis: 10_000,
			Subscription: subscription(), Assignment: assignment(),
		}}
		c := group.New(group.Limits{Classic: group.ServeClassic})
		require.NoError(t, c.Apply(key.AppendTo(nil), value.AppendTo(nil)), "version %d", version)
		d, err := c.Describe("g")
		require.NoError(t, err)
		owned := []record.TopicPartition{{Topic: "orders"}, {Topic: "orders", Partition: 2}}
		require.Equal(t, consumer.GroupDescription{
			Name: "g", State: consumer.GroupStable, Epoch: 7, Assignor: "range",
			Members: []consumer.Member{{ID: "m", ClientID: "client", Epoch: 7, Topics: []string{"orders"}, Assigned: owned, Target: owned}},
		}, d, "version %d", version)
	}
}
