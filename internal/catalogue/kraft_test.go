package catalogue

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/topic"
)

func setting(topicName, name string, value *string) []byte {
	return configRecord{resource: resourceTopic, topic: topicName, name: name, value: value}.encode()
}

// KRaft folds what is about topics, and skips the rest.
func TestKRaft(t *testing.T) {
	day, compact, two := "86400000", "compact", "2"
	broker := header(27) // RegisterBrokerRecord, of which nothing is read
	broker.Int32(1)
	k := NewKRaft()
	for _, value := range [][]byte{
		broker.B,
		featureLevelRecord{name: "metadata.version", level: 29}.encode(),
		topicRecord{name: "orders", id: topic.ID{1}}.encode(),
		partitionRecord{number: 1, id: topic.ID{1}}.encode(),
		partitionRecord{number: 0, id: topic.ID{1}}.encode(),
		topicRecord{name: "gone", id: topic.ID{2}}.encode(),
		setting("orders", "retention.ms", &day),
		setting("orders", "cleanup.policy", &compact),
		setting("orders", "min.insync.replicas", &two),
		setting("orders", "unclean.leader.election.enable", &two),
		setting("orders", "segment.ms", &day),
		setting("orders", "segment.ms", nil),
		configRecord{resource: 4, topic: "1", name: "log.retention.ms", value: &day}.encode(),
		removeTopicRecord{id: topic.ID{2}}.encode(),
		topicRecord{name: "gone", id: topic.ID{3}}.encode(),
		partitionRecord{number: 0, id: topic.ID{3}}.encode(),
	} {
		require.NoError(t, k.Apply(value))
	}
	all := k.Topics()
	require.Len(t, all, 2)
	require.Equal(t, KafkaTopic{Name: "gone", ID: topic.ID{3}, Partitions: 1, Settings: map[string]string{}}, all[0])
	require.Equal(t, 2, all[1].Partitions)
	cfg, others := all[1].Config()
	require.Equal(t, []string{"min.insync.replicas", "unclean.leader.election.enable"}, others)
	want := topic.Config{}
	require.NoError(t, want.Set("retention.ms", day))
	require.NoError(t, want.Set("cleanup.policy", compact))
	require.Equal(t, want, cfg)

	require.ErrorIs(t, k.Apply(topicRecord{name: "orders", id: topic.ID{4}}.encode()), fault.CorruptMessage)
	require.ErrorIs(t, k.Apply(partitionRecord{number: 0, id: topic.ID{9}}.encode()), fault.CorruptMessage)
	require.ErrorIs(t, k.Apply(partitionRecord{number: MaxPartitions, id: topic.ID{1}}.encode()), fault.CorruptMessage)
	newer := topicRecord{name: "later", id: topic.ID{5}}.encode()
	newer[2] = 7 // its version
	require.ErrorIs(t, k.Apply(newer), fault.UnsupportedFormat)
}

// FuzzKRaft folds bytes: they are refused or skipped, or make topics.
func FuzzKRaft(f *testing.F) {
	for _, value := range [][]byte{
		topicRecord{name: "orders", id: topic.ID{1}}.encode(), partitionRecord{number: 1, id: topic.ID{1}}.encode(),
		setting("orders", "retention.ms", nil), removeTopicRecord{id: topic.ID{1}}.encode(),
		{},
	} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		k := NewKRaft()
		require.NoError(t, k.Apply(topicRecord{name: "orders", id: topic.ID{1}}.encode()))
		_ = k.Apply(value)
		for _, one := range k.Topics() {
			one.Config()
		}
	})
}
