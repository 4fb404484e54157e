package catalogue

import (
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/topic"
)

// golden holds records that Kafka 3.9 itself wrote, with its
// MetadataRecordSerde.
var golden = []struct {
	name   string
	hex    string
	record any
}{
	{"topic", "01020012717569636b73746172742d6576656e7473dc594aaef1bf477989c253019c61c34300", topicRecord{"quickstart-events", goldenID}},
	{"partition", "01030000000002dc594aaef1bf477989c253019c61c34302000000010200000001010100000001000000000000000000", partitionRecord{2, goldenID, onOne}},
	{"config", "0104000212717569636b73746172742d6576656e74730d726574656e74696f6e2e6d7309383634303030303000", configRecord{2, "quickstart-events", "retention.ms", new("86400000")}},
	{"config removed", "0104000212717569636b73746172742d6576656e74730d726574656e74696f6e2e6d730000", configRecord{2, "quickstart-events", "retention.ms", nil}},
	{"remove topic", "010900dc594aaef1bf477989c253019c61c34300", removeTopicRecord{goldenID}},
	{"feature level", "010c00116d657461646174612e76657273696f6e000700", featureLevelRecord{"metadata.version", 7}},
	{"producer IDs", "010f000000000100000000000000000000000000000bb800", producerIDsRecord{1, 0, 3000}},
}

var (
	goldenID = topic.ID{0xdc, 0x59, 0x4a, 0xae, 0xf1, 0xbf, 0x47, 0x79, 0x89, 0xc2, 0x53, 0x01, 0x9c, 0x61, 0xc3, 0x43}
	onOne    = Partition{Replicas: []int32{1}, ISR: []int32{1}, Leader: 1}
)

func unhex(t require.TestingT, s string) []byte {
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

func TestRecordsAreKafkas(t *testing.T) {
	for _, g := range golden {
		t.Run(g.name, func(t *testing.T) {
			m, err := decode(unhex(t, g.hex))
			require.NoError(t, err)
			require.Equal(t, g.record, m)
			require.Equal(t, g.hex, hex.EncodeToString(m.(interface{ encode() []byte }).encode()))
		})
	}
}

// Newer versions of the partition's record, again Kafka's own bytes, are read
// for what a single copy needs of them.
func TestNewerPartitionRecords(t *testing.T) {
	m, err := decode(unhex(t, "01030100000002dc594aaef1bf477989c253019c61c343020000000102000000010101000000010000000000000000020000000000000000000000000000000100"))
	require.NoError(t, err)
	require.Equal(t, partitionRecord{2, goldenID, onOne}, m)

	m, err = decode(unhex(t, "01030200000002dc594aaef1bf477989c253019c61c34304000000010000000200000003020000000201010000000200000005000000090200000000000000000000000000000001030001010105020000000302050200000001"))
	require.NoError(t, err)
	require.Equal(t, partitionRecord{2, goldenID, Partition{Replicas: []int32{1, 2, 3}, ISR: []int32{2}, Leader: 2, LeaderEpoch: 5, Epoch: 9}}, m)
}

func TestDecodeRefuses(t *testing.T) {
	whole := unhex(t, golden[1].hex)
	for n := range whole {
		_, err := decode(whole[:n])
		require.Error(t, err, "the first %d bytes", n)
	}
	tests := []struct {
		name  string
		value []byte
		want  fault.Code
	}{
		{"nothing", nil, fault.CorruptMessage},
		{"bytes left over", append(whole, 0), fault.CorruptMessage},
		{"another frame", []byte{2, 2, 0}, fault.UnsupportedFormat},
		{"the frame of old", []byte{0, 2, 0}, fault.UnsupportedFormat},
		{"another message", []byte{1, 27, 0}, fault.UnsupportedFormat},
		{"another version of a topic", []byte{1, 2, 1}, fault.UnsupportedFormat},
		{"another version of a partition", []byte{1, 3, 3}, fault.UnsupportedFormat},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := decode(test.value)
			require.ErrorIs(t, err, test.want)
		})
	}
}

// FuzzApply feeds any bytes to a catalogue that has a topic: it answers with an
// error and stays as it was, or takes the record and writes it back alike.
func FuzzApply(f *testing.F) {
	for _, g := range golden {
		f.Add(unhex(f, g.hex))
	}
	f.Add([]byte{1, 3, 2, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, value []byte) {
		c := New()
		require.NoError(t, c.Apply(topicRecord{"quickstart-events", goldenID}.encode()))
		require.NoError(t, c.Apply(partitionRecord{0, goldenID, onOne}.encode()))
		before := c.Topic("quickstart-events")
		was := *before
		if err := c.Apply(value); err != nil {
			require.Same(t, before, c.Topic("quickstart-events"))
			require.Len(t, c.Names(), 1)
		}
		require.Equal(t, was, *before, "a Topic that was handed out does not change")
		if m, err := decode(value); err == nil {
			again, err := decode(m.(interface{ encode() []byte }).encode())
			require.NoError(t, err)
			require.Equal(t, m, again)
		}
	})
}
