package group

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/internal/kafkadump"
	"github.com/runnel-go/runnel/internal/wire"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// TestKafkaReadsTheRecords: Kafka's tool reads every kind of record, and passes over the tagged
// fields that it does not know.
func TestKafkaReadsTheRecords(t *testing.T) {
	id := topic.ID{0xaa, 15: 0xbb}
	set := partitions{{ID: id, Number: 1}, {ID: id, Number: 2}, {ID: topic.ID{0xcc}, Number: 0}}
	var records []kafkadump.Record
	add := func(name string, k key, encode func(*wire.Writer)) {
		r := kafkadump.Record{Name: name}
		var w wire.Writer
		k.encode(&w)
		require.NoError(t, w.Err())
		r.Key = w.B
		if encode != nil {
			var v wire.Writer
			encode(&v)
			require.NoError(t, v.Err())
			r.Value = v.B
		}
		records = append(records, r)
	}
	committed := key{kind: keyOffset, group: "readers", topic: "orders", partition: 3}
	add("an offset", committed, offset{offset: 5, leaderEpoch: 6, metadata: "mine", committed: 1_000_007, id: id}.encode)
	add("an offset without a leader epoch", committed, offset{offset: 5, leaderEpoch: -1, committed: 1_000_007, id: id}.encode)
	add("a deleted offset", committed, nil)
	add("a group of the classic protocol", key{kind: keyClassic, group: "readers"}, (&classic{
		protocolType: "consumer", generation: 3, protocol: "range", leader: "m1", since: 1_000_007,
		members: map[string]classicMember{
			"m1": {instanceID: "static", clientID: "c", clientHost: "h", rebalanceTimeout: time.Minute, sessionTimeout: time.Second, subscription: subscriptionOf("orders"), assignment: assignmentOf("0,1")},
			"m2": {clientID: "c", rebalanceTimeout: time.Minute, sessionTimeout: time.Second},
		},
	}).encode)
	add("a group of the classic protocol without members", key{kind: keyClassic, group: "readers"}, (&classic{protocolType: "consumer", generation: 4, since: 1_000_007}).encode)
	add("a deleted group of the classic protocol", key{kind: keyClassic, group: "readers"}, nil)
	add("a group", key{kind: keyGroup, group: "readers"}, groupMetadata{epoch: 9, hash: -1}.encode)
	add("a deleted group", key{kind: keyGroup, group: "readers"}, nil)
	member := key{kind: keyMember, group: "readers", member: "m1"}
	add("a member, with its session timeout in tagged field 1000", member,
		memberMetadata{clientID: "c", topics: []string{"orders", "other"}, rebalanceTimeout: time.Minute, sessionTimeout: time.Second}.encode)
	add("a member, with what it tells the assignor in tagged field 1001", member, memberMetadata{
		instanceID: "static", clientID: "c", pattern: "orders.*", assignor: "range", rebalanceTimeout: time.Minute, sessionTimeout: time.Second, told: []byte("told"),
	}.encode)
	add("a member that has left", member, nil)
	add("the epoch of the target", key{kind: keyTargetMetadata, group: "readers"}, func(w *wire.Writer) { encodeTargetEpoch(w, 4) })
	add("a member's target", key{kind: keyTarget, group: "readers", member: "m1"}, func(w *wire.Writer) { encodeTarget(w, set) })
	current0 := key{kind: keyCurrent, group: "readers", member: "m1"}
	add("what a member has", current0, current{epoch: 2, previousEpoch: 1, assigned: set}.encode)
	add("what a member has and is to give up", current0, current{epoch: 2, previousEpoch: 1, state: unrevokedPartitions, assigned: set[:1], revoking: set[1:]}.encode)
	add("a static member that is away", current0, current{epoch: -2, previousEpoch: 1, assigned: set}.encode)
	kafkadump.Records(t, "testdata/kafkadump.txt", "--offsets-decoder", records)
}

// TestReadsWhatKafkaWrote reads the log of a Kafka of version 4 with a group of KIP-848, of a static member and
// one that subscribes by a pattern, a classic group, and a share group, of which nothing is known here.
func TestReadsWhatKafkaWrote(t *testing.T) {
	c := New(Limits{Classic: ServeClassic})
	kinds := map[int16]int{}
	for _, r := range kafkadump.Written(t, "testdata/kafkawrote.txt") {
		require.NoError(t, c.Apply(r.Key, r.Value), r.Name)
		k, known, err := decodeKey(r.Key)
		require.NoError(t, err)
		kinds[k.kind]++
		if known {
			var w wire.Writer
			k.encode(&w)
			require.Equal(t, r.Key, w.B)
		}
		switch k.kind { // in these, Kafka has no field that we leave out
		case keyOffset:
			o, err := decodeOffset(r.Value)
			require.NoError(t, err)
			var w wire.Writer
			o.encode(&w)
			require.Equal(t, r.Value, w.B, r.Name)
		case keyClassic:
			v, err := decodeClassic(r.Value)
			require.NoError(t, err)
			var w wire.Writer
			v.encode(&w)
			require.Equal(t, r.Value, w.B, r.Name)
		case keyGroup:
			g, err := decodeGroup(r.Value)
			require.NoError(t, err)
			var w wire.Writer
			g.encode(&w)
			require.Equal(t, r.Value, w.B, r.Name)
		}
	}
	for _, kind := range []int16{keyOffset, keyClassic, keyGroup, keyMember, keyTargetMetadata, keyTarget, keyCurrent, 10, 15, 16} {
		require.NotZero(t, kinds[kind], kind)
	}
	var id topic.ID
	for _, o := range c.groups["kip848"].offsets {
		id = o.id
	}
	_, err := c.SetTopics(NewTopics([]Topic{{Name: "orders", ID: id, Partitions: 3}}))
	require.NoError(t, err)
	d, err := c.Describe("kip848")
	require.NoError(t, err)
	require.Len(t, d.Members, 2)
	for _, m := range d.Members {
		require.EqualValues(t, 3, m.Epoch)
		require.Equal(t, m.Target, m.Assigned)
		if m.InstanceID == "static-1" {
			require.Equal(t, []string{"orders"}, m.Topics)
			require.Equal(t, []record.TopicPartition{{Topic: "orders"}, {Topic: "orders", Partition: 1}}, m.Assigned)
		} else {
			require.Equal(t, "ord.*", m.Pattern)
			require.Equal(t, []record.TopicPartition{{Topic: "orders", Partition: 2}}, m.Assigned)
		}
	}
	d, err = c.Describe("old")
	require.NoError(t, err)
	require.Len(t, d.Members, 1)
	require.Equal(t, "s", d.Members[0].InstanceID)
	for _, group := range []string{"kip848", "old"} {
		committed := c.Offsets(group)
		require.Len(t, committed, 3)
		for _, o := range committed {
			require.EqualValues(t, 10, o.Offset)
		}
	}
	require.Len(t, c.Groups(), 2)
}
