package catalogue

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/topic"
)

// numbered returns a source of topic IDs that count up.
func numbered() func() topic.ID {
	n := 0
	return func() topic.ID {
		n++
		return topic.ID{14: byte(n >> 8), 15: byte(n)}
	}
}

// apply folds a command's records.
func apply(t require.TestingT, c *Catalogue, values [][]byte, err error) {
	require.NoError(t, err)
	for _, v := range values {
		require.NoError(t, c.Apply(v))
	}
}

func spec(name string, partitions int) topic.Spec {
	return topic.Spec{Name: name, Partitions: partitions, Replicas: 1}
}

// with returns a catalogue that has these topics.
func with(t require.TestingT, specs ...topic.Spec) *Catalogue {
	c := New()
	apply(t, c, c.Bootstrap(), nil)
	values, err := c.CreateTopics(specs, []topic.Node{{ID: 1}}, numbered())
	apply(t, c, values, err)
	return c
}

func TestBootstrapOnce(t *testing.T) {
	c := New()
	values := c.Bootstrap()
	require.Len(t, values, 2)
	apply(t, c, values, nil)
	require.Empty(t, c.Bootstrap())
}

func TestCreateTopics(t *testing.T) {
	s := spec("orders", 2)
	s.Config = topic.Config{Retention: time.Hour, Cleanup: topic.Compact}
	c := with(t, s, spec("visits", 1))
	require.Equal(t, []string{"orders", "visits"}, c.Names())
	require.Equal(t, &Topic{
		Name: "orders", ID: topic.ID{15: 1}, Config: s.Config,
		Partitions: []Partition{onOne, onOne},
	}, c.Topic("orders"))
	require.Nil(t, c.Topic("nothing"))
}

func TestCommandsRefuse(t *testing.T) {
	c := with(t, spec("orders", 3), spec("a.b", 1), spec(topic.ConsumerOffsets, 1))
	create := func(specs ...topic.Spec) func() ([][]byte, error) {
		return func() ([][]byte, error) { return c.CreateTopics(specs, []topic.Node{{ID: 1}}, numbered()) }
	}
	replicas := spec("copies", 1)
	replicas.Replicas = 3
	config := spec("config", 1)
	config.Config.RetentionBytes = -7
	tests := []struct {
		name    string
		command func() ([][]byte, error)
		want    fault.Code
		says    string
	}{
		{"a topic that exists", create(spec("orders", 1)), fault.TopicExists, "orders"},
		{"a topic named twice", create(spec("new", 1), spec("new", 1)), fault.TopicExists, "twice"},
		{"a name that collides", create(spec("a_b", 1)), fault.InvalidTopic, "a.b"},
		{"names that collide", create(spec("x.y", 1), spec("x_y", 1)), fault.InvalidTopic, "x.y"},
		{"a bad name", create(spec("a/b", 1)), fault.InvalidTopic, "a/b"},
		{"no partitions", create(spec("new", 0)), fault.InvalidPartitions, "new"},
		{"too many partitions", create(spec("new", MaxPartitions+1)), fault.InvalidPartitions, "100001"},
		{"too many replicas", create(replicas), fault.InvalidReplication, "3"},
		{"a bad configuration", create(config), fault.InvalidConfig, "retention.bytes"},
		{"all or none", create(spec("fine", 1), spec("orders", 1)), fault.TopicExists, "orders"},
		{"deleting what is not there", func() ([][]byte, error) { return c.DeleteTopics([]string{"order"}) }, fault.UnknownTopic, "did you mean orders?"},
		{"deleting an internal topic", func() ([][]byte, error) { return c.DeleteTopics([]string{topic.ConsumerOffsets}) }, fault.InvalidTopic, "own state"},
		{"partitions of nothing", func() ([][]byte, error) { return c.AddPartitions("nothing", 2, []topic.Node{{ID: 1}}) }, fault.UnknownTopic, "nothing"},
		{"partitions of an internal topic", func() ([][]byte, error) { return c.AddPartitions(topic.ConsumerOffsets, 5, []topic.Node{{ID: 1}}) }, fault.InvalidTopic, "own state"},
		{"fewer partitions", func() ([][]byte, error) { return c.AddPartitions("orders", 2, []topic.Node{{ID: 1}}) }, fault.InvalidPartitions, "3 already"},
		{"as many partitions", func() ([][]byte, error) { return c.AddPartitions("orders", 3, []topic.Node{{ID: 1}}) }, fault.InvalidPartitions, "3 already"},
		{"configuring nothing", func() ([][]byte, error) { return c.ConfigureTopic("nothing", topic.Config{}) }, fault.UnknownTopic, "nothing"},
		{"configuring an internal topic", func() ([][]byte, error) { return c.ConfigureTopic(topic.ConsumerOffsets, topic.Config{}) }, fault.InvalidTopic, "own state"},
		{"a bad new configuration", func() ([][]byte, error) { return c.ConfigureTopic("orders", topic.Config{Retention: 1}) }, fault.InvalidConfig, "orders"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			values, err := test.command()
			require.ErrorIs(t, err, test.want)
			require.ErrorContains(t, err, test.says)
			require.Empty(t, values)
		})
	}
}

func TestCreateReportsEverything(t *testing.T) {
	c := with(t, spec("orders", 1))
	_, err := c.CreateTopics([]topic.Spec{spec("orders", 1), spec("a b", 1), spec("many", -1)}, []topic.Node{{ID: 1}}, numbered())
	require.ErrorIs(t, err, fault.TopicExists)
	require.ErrorIs(t, err, fault.InvalidTopic)
	require.ErrorIs(t, err, fault.InvalidPartitions)
}

func TestDeletedTopicsAreRemembered(t *testing.T) {
	c := with(t, spec("a.b", 1))
	id := c.Topic("a.b").ID
	values, err := c.DeleteTopics([]string{"a.b", "a.b"})
	apply(t, c, values, err)
	require.Len(t, values, 1, "named twice, deleted once")
	require.Nil(t, c.Topic("a.b"))
	name, ok := c.Removed(id)
	require.True(t, ok)
	require.Equal(t, "a.b", name)
	require.Equal(t, map[string]bool{"a.b": true}, c.RemovedNames())
	values, err = c.CreateTopics([]topic.Spec{spec("a_b", 1)}, []topic.Node{{ID: 1}}, func() topic.ID { return topic.ID{9} })
	apply(t, c, values, err)
}

func TestConfigureTopicWritesTheDifference(t *testing.T) {
	c := with(t, spec("orders", 1))
	values, err := c.ConfigureTopic("orders", topic.Config{Retention: time.Hour, SegmentBytes: 1 << 20})
	apply(t, c, values, err)
	require.Len(t, values, 2)

	to := topic.Config{Retention: 2 * time.Hour, Durability: topic.OS}
	values, err = c.ConfigureTopic("orders", to)
	apply(t, c, values, err)
	require.Len(t, values, 3, "one changed, one new, one removed")
	require.Equal(t, to, c.Topic("orders").Config)

	values, err = c.ConfigureTopic("orders", to)
	require.NoError(t, err)
	require.Empty(t, values)
}

// Records that contradict those before them are refused and change nothing.
func TestApplyRefuses(t *testing.T) {
	id := topic.ID{15: 1} // of orders
	tests := []struct {
		name  string
		value []byte
		want  fault.Code
	}{
		{"a name that exists", topicRecord{"orders", topic.ID{8}}.encode(), fault.CorruptMessage},
		{"an ID that exists", topicRecord{"other", id}.encode(), fault.CorruptMessage},
		{"the ID of a deleted topic", topicRecord{"other", topic.ID{15: 2}}.encode(), fault.CorruptMessage},
		{"a name that leaves the directory", topicRecord{"..", topic.ID{8}}.encode(), fault.CorruptMessage},
		{"a partition of no topic", partitionRecord{0, topic.ID{8}, onOne}.encode(), fault.CorruptMessage},
		{"a partition again", partitionRecord{0, id, onOne}.encode(), fault.CorruptMessage},
		{"a partition too far", partitionRecord{2, id, onOne}.encode(), fault.CorruptMessage},
		{"a negative partition", partitionRecord{-1, id, onOne}.encode(), fault.CorruptMessage},
		{"a setting of no topic", configRecord{resourceTopic, "other", "retention.ms", new("1")}.encode(), fault.CorruptMessage},
		{"a setting of a broker", configRecord{4, "orders", "retention.ms", new("1")}.encode(), fault.CorruptMessage},
		{"an unknown setting", configRecord{resourceTopic, "orders", "runnel.future", new("1")}.encode(), fault.UnsupportedFormat},
		{"an unknown setting to remove", configRecord{resourceTopic, "orders", "runnel.future", nil}.encode(), fault.UnsupportedFormat},
		{"a value from the future", configRecord{resourceTopic, "orders", "runnel.durability", new("forever")}.encode(), fault.UnsupportedFormat},
		{"removing no topic", removeTopicRecord{topic.ID{8}}.encode(), fault.CorruptMessage},
		{"a newer version", featureLevelRecord{"runnel.version", runnelVersion + 1}.encode(), fault.UnsupportedFormat},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := with(t, spec("orders", 1), spec("gone", 1))
			values, err := c.DeleteTopics([]string{"gone"})
			apply(t, c, values, err)
			want := fmt.Sprint(c)
			require.ErrorIs(t, c.Apply(test.value), test.want)
			require.Equal(t, want, fmt.Sprint(c))
		})
	}
}

// TestReplayEqualsLiveState gives random commands, folds their records as a
// broker does, and compares the catalogue with a model and with a second one
// that replays the whole log, after every command.
func TestReplayEqualsLiveState(t *testing.T) {
	names := []string{"a", "b", "a.b", "a_b", "c-0", "bad name"}
	configs := []topic.Config{
		{},
		{Retention: time.Hour},
		{Cleanup: topic.CompactDelete, MinCleanableRatio: 0.25},
		{Durability: topic.Memory, SegmentBytes: 1 << 16, Retention: topic.Forever},
		{MinReplicas: -1},
	}
	rapid.Check(t, func(t *rapid.T) {
		live, ids := New(), numbered()
		var log [][]byte
		partitions := map[string]int{} // the model
		config := map[string]topic.Config{}
		given := int64(0) // producer IDs
		run := func(values [][]byte, err error) bool {
			if err != nil {
				require.Empty(t, values)
				return false
			}
			apply(t, live, values, nil)
			log = append(log, values...)
			return true
		}
		run(live.Bootstrap(), nil)
		name := rapid.SampledFrom(names)
		cfg := rapid.SampledFrom(configs)
		t.Repeat(map[string]func(*rapid.T){
			"create": func(t *rapid.T) {
				specs := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) topic.Spec {
					s := spec(name.Draw(t, "name"), rapid.IntRange(0, 3).Draw(t, "partitions"))
					s.Config = cfg.Draw(t, "config")
					return s
				}), 1, 3).Draw(t, "specs")
				if run(live.CreateTopics(specs, []topic.Node{{ID: 1}}, ids)) {
					for _, s := range specs {
						require.NotContains(t, partitions, s.Name)
						partitions[s.Name], config[s.Name] = s.Partitions, s.Config
					}
				}
			},
			"delete": func(t *rapid.T) {
				n := name.Draw(t, "name")
				_, exists := partitions[n]
				require.Equal(t, exists, run(live.DeleteTopics([]string{n})))
				delete(partitions, n)
				delete(config, n)
			},
			"add partitions": func(t *rapid.T) {
				n, total := name.Draw(t, "name"), rapid.IntRange(0, 6).Draw(t, "total")
				had, exists := partitions[n]
				done := run(live.AddPartitions(n, total, []topic.Node{{ID: 1}}))
				require.Equal(t, exists && total > had, done)
				if done {
					partitions[n] = total
				}
			},
			"configure": func(t *rapid.T) {
				n, to := name.Draw(t, "name"), cfg.Draw(t, "config")
				if run(live.ConfigureTopic(n, to)) {
					config[n] = to
				}
			},
			"producer IDs": func(t *rapid.T) {
				n := rapid.Int64Range(1, 1000).Draw(t, "how many")
				first, values, err := live.ProducerIDs(n, 1)
				require.True(t, run(values, err))
				require.Equal(t, given, first, "none is given twice, none is left out")
				given += n
			},
			"": func(t *rapid.T) {
				require.Len(t, live.Names(), len(partitions))
				for n, count := range partitions {
					require.Len(t, live.Topic(n).Partitions, count)
					require.Equal(t, config[n], live.Topic(n).Config)
				}
				replayed := New()
				apply(t, replayed, log, nil)
				require.Equal(t, live, replayed)
			},
		})
	})
}

func TestProducerIDsFollowEachOther(t *testing.T) {
	c := New()
	given := int64(0)
	for _, n := range []int64{1, 1000, 1} {
		first, values, err := c.ProducerIDs(n, 1)
		require.NoError(t, err)
		require.Equal(t, given, first)
		apply(t, c, values, nil)
		given += n
	}
	require.ErrorIs(t, c.Apply(producerIDsRecord{next: given - 1}.encode()), fault.CorruptMessage, "one that was given away")
}

// More replicas than nodes are refused with what there may be.
func TestReplicasFitTheNodes(t *testing.T) {
	c := New()
	three := topic.Spec{Name: "orders", Partitions: 1, Replicas: 3}
	_, err := c.CreateTopics([]topic.Spec{three}, []topic.Node{{ID: 1}, {ID: 2}}, numbered())
	require.ErrorIs(t, err, fault.InvalidReplication)
	require.ErrorContains(t, err, "3 replicas on 2 nodes")
	require.ErrorContains(t, err, "give 1 to 2")
	values, err := c.CreateTopics([]topic.Spec{three}, []topic.Node{{ID: 1}, {ID: 2}, {ID: 3}}, numbered())
	require.NoError(t, err)
	require.NotEmpty(t, values)
}
