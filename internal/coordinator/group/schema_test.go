package group

import (
	"encoding/hex"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/wire"
	"github.com/runnel-go/runnel/topic"
)

// TestBytes holds the bytes against what Kafka's schemas say, field by field.
func TestBytes(t *testing.T) {
	id := topic.ID{0xaa, 15: 0xbb}
	set := partitions{{ID: id, Number: 1}, {ID: id, Number: 2}}
	uuid := "aa0000000000000000000000000000bb"
	for _, test := range []struct {
		name   string
		encode func(*wire.Writer)
		want   string
	}{
		{"OffsetCommitKey", key{kind: keyOffset, group: "g", topic: "to", partition: 3}.encode, "0001 0001 67 0002 746f 00000003"},
		{"GroupMetadataKey", key{kind: keyClassic, group: "g"}.encode, "0002 0001 67"},
		{
			"GroupMetadataValue", (&classic{
				protocolType: "consumer", generation: 3, protocol: "r", leader: "m", since: 7,
				members: map[string]classicMember{"m": {
					instanceID: "i", clientID: "c", clientHost: "h", rebalanceTimeout: time.Second, sessionTimeout: time.Second / 2,
					subscription: []byte{1}, assignment: []byte{2, 3},
				}},
			}).encode,
			"0003 0008 636f6e73756d6572 00000003 0001 72 0001 6d 0000000000000007 00000001" +
				"0001 6d 0001 69 0001 63 0001 68 000003e8 000001f4 00000001 01 00000002 0203",
		},
		{"GroupMetadataValue of an empty group", (&classic{protocolType: "consumer", generation: 4}).encode, "0003 0008 636f6e73756d6572 00000004 ffff ffff 0000000000000000 00000000"},
		{"ConsumerGroupMetadataKey", key{kind: keyGroup, group: "g"}.encode, "0003 0001 67"},
		{"ConsumerGroupMemberMetadataKey", key{kind: keyMember, group: "g", member: "m"}.encode, "0005 0001 67 0001 6d"},
		{"ConsumerGroupTargetAssignmentMetadataKey", key{kind: keyTargetMetadata, group: "g"}.encode, "0006 0001 67"},
		{"ConsumerGroupTargetAssignmentMemberKey", key{kind: keyTarget, group: "g", member: "m"}.encode, "0007 0001 67 0001 6d"},
		{"ConsumerGroupCurrentMemberAssignmentKey", key{kind: keyCurrent, group: "g", member: "m"}.encode, "0008 0001 67 0001 6d"},
		{
			"OffsetCommitValue", offset{offset: 5, leaderEpoch: 6, metadata: "x", committed: 7, id: id}.encode,
			"0004 0000000000000005 00000006 02 78 0000000000000007 01 00 10" + uuid,
		},
		{"ConsumerGroupMetadataValue", groupMetadata{epoch: 9, hash: 1}.encode, "0000 00000009 01 00 08 0000000000000001"},
		{
			"ConsumerGroupMemberMetadataValue",
			memberMetadata{clientID: "c", topics: []string{"t"}, rebalanceTimeout: time.Second, sessionTimeout: time.Second / 2}.encode,
			"0000 00 00 02 63 01 02 02 74 00 000003e8 00 01 e807 04 000001f4",
		},
		{"ConsumerGroupTargetAssignmentMetadataValue", func(w *wire.Writer) { encodeTargetEpoch(w, 4) }, "0000 00000004 00"},
		{"ConsumerGroupTargetAssignmentMemberValue", func(w *wire.Writer) { encodeTarget(w, set) }, "0000 02" + uuid + "03 00000001 00000002 00 00"},
		{
			"ConsumerGroupCurrentMemberAssignmentValue", current{epoch: 2, previousEpoch: 1, state: unrevokedPartitions, revoking: set}.encode,
			"0000 00000002 00000001 01 01 02" + uuid + "03 00000001 00000002 00 00",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var w wire.Writer
			test.encode(&w)
			require.NoError(t, w.Err())
			require.Equal(t, strings.ReplaceAll(test.want, " ", ""), hex.EncodeToString(w.B))
		})
	}
}

func TestOldOffsetsAreRead(t *testing.T) {
	for _, text := range []string{
		"0000 0000000000000005 0001 78 0000000000000007",
		"0001 0000000000000005 0001 78 0000000000000007 0000000000000009",
		"0002 0000000000000005 0001 78 0000000000000007",
	} {
		b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
		require.NoError(t, err)
		o, err := decodeOffset(b)
		require.NoError(t, err)
		require.Equal(t, offset{offset: 5, leaderEpoch: -1, metadata: "x", committed: 7}, o)
	}
	b, _ := hex.DecodeString("0003" + "0000000000000005" + "00000006" + "0000" + "0000000000000007")
	o, err := decodeOffset(b)
	require.NoError(t, err)
	require.Equal(t, int32(6), o.leaderEpoch)
	b[1] = 9
	_, err = decodeOffset(b)
	require.ErrorIs(t, err, fault.UnsupportedFormat)
}

// FuzzApply feeds two records to a coordinator: no bytes panic or change
// anything when they are refused, and commands work on whatever state results.
func FuzzApply(f *testing.F) {
	w := newWorld(f)
	w.setTopics(w.topicNamed("a", 2))
	one := w.join("g", "i", "range", "a")
	w.join("g", "", "", "a")
	w.settle()
	w.leave(one)
	for i, r := range w.log {
		next := w.log[(i+1)%len(w.log)]
		f.Add(r.Key, r.Value, next.Key, next.Value)
		f.Add(r.Key, r.Value, r.Key, []byte(nil))
	}
	var k, v wire.Writer
	key{kind: keyClassic, group: "g"}.encode(&k)
	(&classic{protocolType: ConsumerProtocol, generation: 1, protocol: "range", leader: "m", members: map[string]classicMember{
		"m": {instanceID: "i", clientID: "c", sessionTimeout: time.Second, subscription: subscriptionOf("a"), assignment: assignmentOf("0,1")},
	}}).encode(&v)
	f.Add(k.B, v.B, k.B, []byte(nil))
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 []byte) {
		c := New(Limits{Classic: ServeClassic})
		for _, r := range []Record{{k1, v1}, {k2, v2}} {
			before := len(c.groups)
			if err := c.Apply(r.Key, r.Value); err != nil {
				require.Len(t, c.groups, before)
			}
		}
		_, err := c.Restart(time.UnixMilli(0))
		require.NoError(t, err)
		_, err = c.JoinGroup(1, JoinGroupRequest{
			GroupID: "classic", SessionTimeout: time.Minute, ProtocolType: ConsumerProtocol, Protocols: []Protocol{{Name: "range"}}, NewMemberID: "new",
		}, time.UnixMilli(0))
		require.NoError(t, err)
		isClassic := c.hasClassic("g")
		_, _, err = c.Join(Member{Group: "g", ID: "new", Topics: []string{"a"}})
		require.Equal(t, isClassic, fault.CodeOf(err) == fault.InconsistentProtocol, "%v", err)
		_, err = c.SetTopics(NewTopics([]Topic{{Name: "a", ID: topic.ID{1}, Partitions: 2}}))
		require.NoError(t, err)
		if !isClassic {
			_, _, err = c.Heartbeat("g", "new", nil)
			require.NoError(t, err)
		}
		_, _, err = c.Expire(time.UnixMilli(1<<40), func(string) Heard { return Heard{} })
		require.NoError(t, err)
		for _, g := range c.Groups() {
			_, err := c.Describe(g.Name)
			require.NoError(t, err)
		}
	})
}

// A member may be silent for as long as a duration can say: Kafka's field holds 24 days.
func TestTimeoutsThatNoFieldHolds(t *testing.T) {
	for d, want := range map[time.Duration]int32{
		1: 1, time.Millisecond: 1, time.Millisecond + 1: 2, time.Second: 1000,
		30 * 24 * time.Hour: math.MaxInt32, math.MaxInt64 - 1: math.MaxInt32, math.MaxInt64: math.MaxInt32,
	} {
		require.Equal(t, want, millis(d), "%v", d)
	}
}
