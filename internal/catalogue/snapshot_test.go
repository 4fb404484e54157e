package catalogue

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

var someID = SnapshotID{Offset: 1042, Epoch: 3}

// encode writes a snapshot of c.
func encode(t require.TestingT, c *Catalogue) []byte {
	b, err := EncodeSnapshot(someID, 1_700_000_000_000, 1_700_000_000_500, c.Records())
	require.NoError(t, err)
	return b
}

// eventful returns a catalogue that has one of everything.
func eventful(t require.TestingT) *Catalogue {
	s := spec("orders", 3)
	s.Config = topic.Config{Retention: time.Hour, Durability: topic.OS}
	c := with(t, s, spec("gone", 2), spec(topic.ConsumerOffsets, 1))
	values, err := c.DeleteTopics([]string{"gone"})
	apply(t, c, values, err)
	_, values, err = c.ProducerIDs(1000, 1)
	apply(t, c, values, err)
	return c
}

func TestSnapshotNames(t *testing.T) {
	require.Equal(t, "00000000000000001042-0000000003.checkpoint", someID.FileName())
	id, ok := ParseSnapshotName(someID.FileName())
	require.True(t, ok)
	require.Equal(t, someID, id)
	for _, name := range []string{
		"", ".checkpoint", "runnel.checkpoint", "leader-epoch-checkpoint", "00000000000000001042-0000000003", "1042-3.checkpoint",
		"00000000000000001042-0000000003.checkpoint.tmp", "00000000000000001042-9999999999.checkpoint", "-0000000000000001042-0000000003.checkpoint",
		"0000000000000000+042-0000000003.checkpoint", "99999999999999999999-0000000003.checkpoint", "00000000000000001042-000000000a.checkpoint",
	} {
		_, ok := ParseSnapshotName(name)
		require.False(t, ok, name)
	}
}

// TestSnapshotIsKafkas reads what Kafka 3.9's RecordsSnapshotWriter wrote.
func TestSnapshotIsKafkas(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("testdata", "golden", someID.FileName()))
	require.NoError(t, err)
	s, pos, err := DecodeSnapshot(someID, b)
	require.NoError(t, err)
	require.EqualValues(t, len(b), pos)
	require.EqualValues(t, 4, s.Records)
	require.EqualValues(t, 1_700_000_000_000, s.Time)
	require.Equal(t, &Topic{
		Name: "quickstart-events", ID: goldenID,
		Config: topic.Config{Retention: 24 * time.Hour}, Partitions: []Partition{onOne},
	}, s.Catalogue.Topic("quickstart-events"))

	// The same records in a snapshot of ours differ in their times, and in one
	// record about KRaft itself, alone.
	ours, err := EncodeSnapshot(someID, s.Time, 1_700_000_000_500, s.Catalogue.Records())
	require.NoError(t, err)
	theirs, own := batchesOf(t, b), batchesOf(t, ours)
	require.Len(t, own, len(theirs))
	for i := range own {
		require.Equal(t, theirs[i].Attributes, own[i].Attributes)
		require.Equal(t, theirs[i].LeaderEpoch, own[i].LeaderEpoch)
	}
	require.Equal(t, theirs[1].Bytes[record.HeaderLen:], own[1].Bytes[record.HeaderLen:])
	require.Equal(t, theirs[2].Bytes[record.HeaderLen:], own[2].Bytes[record.HeaderLen:])
	header := own[0].Bytes[record.HeaderLen:]
	require.Equal(t, theirs[0].Bytes[record.HeaderLen:][:len(header)], header)
}

func batchesOf(t *testing.T, b []byte) (batches []record.Batch) {
	for len(b) > 0 {
		batch, err := record.Parse(b)
		require.NoError(t, err)
		batches, b = append(batches, batch), b[batch.Size():]
	}
	return batches
}

func TestSnapshotHasEverything(t *testing.T) {
	c := eventful(t)
	s, _, err := DecodeSnapshot(someID, encode(t, c))
	require.NoError(t, err)
	require.Equal(t, c, s.Catalogue)
	require.EqualValues(t, len(c.Records()), s.Records)
}

// A snapshot larger than one batch.
func TestSnapshotOfManyTopics(t *testing.T) {
	c := New()
	apply(t, c, c.Bootstrap(), nil)
	ids := numbered()
	for i := range 10 {
		s := spec(strings.Repeat("n", 20)+string(rune('a'+i)), 5000)
		values, err := c.CreateTopics([]topic.Spec{s}, []topic.Node{{ID: 1}}, ids)
		apply(t, c, values, err)
	}
	b := encode(t, c)
	require.Greater(t, len(batchesOf(t, b)), 4)
	s, _, err := DecodeSnapshot(someID, b)
	require.NoError(t, err)
	require.Equal(t, c, s.Catalogue)
}

// Cut anywhere, or with any bit inverted, it is not taken for a snapshot; what no
// checksum covers is held against what must stand there.
func TestDamagedSnapshot(t *testing.T) {
	whole := encode(t, eventful(t))
	for n := range whole {
		_, pos, err := DecodeSnapshot(someID, whole[:n])
		require.ErrorIs(t, err, fault.CorruptMessage, "the first %d bytes", n)
		require.LessOrEqual(t, pos, int64(n))
	}
	for bit := range 8 * len(whole) {
		b := slices.Clone(whole)
		b[bit/8] ^= 1 << (bit % 8)
		_, _, err := DecodeSnapshot(someID, b)
		require.Error(t, err, "bit %d", bit)
	}
	_, _, err := DecodeSnapshot(SnapshotID{Offset: 1042, Epoch: 4}, whole)
	require.ErrorIs(t, err, fault.CorruptMessage, "another one's file")
	_, _, err = DecodeSnapshot(someID, append(slices.Clone(whole), whole...))
	require.ErrorIs(t, err, fault.CorruptMessage, "two")
	_, _, err = DecodeSnapshot(someID, nil)
	require.ErrorIs(t, err, fault.CorruptMessage, "nothing")
}

func TestNewerSnapshot(t *testing.T) {
	b, err := EncodeSnapshot(someID, 0, 0, [][]byte{featureLevelRecord{"runnel.version", runnelVersion + 1}.encode()})
	require.NoError(t, err)
	_, _, err = DecodeSnapshot(someID, b)
	require.ErrorIs(t, err, fault.UnsupportedFormat)

	b = encode(t, New())
	h, err := record.ParseHeader(b)
	require.NoError(t, err)
	b[h.Size()-14+2] = 1 // the header's version, of 12 bytes of value and headers
	record.Seal(b[:h.Size()], h)
	_, _, err = DecodeSnapshot(someID, b)
	require.ErrorIs(t, err, fault.UnsupportedFormat)
}

// TestSnapshotEqualsReplay gives random commands, takes snapshots between them,
// and compares the live catalogue with the newest snapshot and the records since,
// and with all records, after every command.
func TestSnapshotEqualsReplay(t *testing.T) {
	names := []string{"a", "b", "a.b", "a_b"}
	rapid.Check(t, func(t *rapid.T) {
		live, ids := New(), numbered()
		var log [][]byte
		snapshot, since := encode(t, live), 0
		run := func(values [][]byte, err error) {
			if err == nil {
				apply(t, live, values, nil)
				log = append(log, values...)
			}
		}
		run(live.Bootstrap(), nil)
		name := rapid.SampledFrom(names)
		t.Repeat(map[string]func(*rapid.T){
			"create": func(t *rapid.T) {
				s := spec(name.Draw(t, "name"), rapid.IntRange(1, 3).Draw(t, "partitions"))
				s.Config.SegmentBytes = rapid.Int64Range(0, 1).Draw(t, "segment") << 20
				run(live.CreateTopics([]topic.Spec{s}, []topic.Node{{ID: 1}}, ids))
			},
			"delete": func(t *rapid.T) { run(live.DeleteTopics([]string{name.Draw(t, "name")})) },
			"add partitions": func(t *rapid.T) {
				run(live.AddPartitions(name.Draw(t, "name"), rapid.IntRange(0, 6).Draw(t, "total"), []topic.Node{{ID: 1}}))
			},
			"configure": func(t *rapid.T) {
				run(live.ConfigureTopic(name.Draw(t, "name"), topic.Config{Retention: rapid.SampledFrom([]time.Duration{0, time.Hour}).Draw(t, "retention")}))
			},
			"producer IDs": func(t *rapid.T) {
				_, values, err := live.ProducerIDs(rapid.Int64Range(1, 1000).Draw(t, "count"), 1)
				run(values, err)
			},
			"snapshot": func(t *rapid.T) {
				kept := rapid.SampledFrom(names).Draw(t, "kept")
				live.Forget(func(_ topic.ID, name string) bool { return name == kept })
				snapshot, since = encode(t, live), len(log)
			},
			"": func(t *rapid.T) {
				s, _, err := DecodeSnapshot(someID, snapshot)
				require.NoError(t, err)
				apply(t, s.Catalogue, log[since:], nil)
				require.Equal(t, live, s.Catalogue)

				all := New()
				apply(t, all, log, nil)
				for id := range live.removed {
					require.Contains(t, all.removed, id)
				}
				all.removed = live.removed // which forgets
				require.Equal(t, live, all)
			},
		})
	})
}

// FuzzSnapshot gives every batch of any bytes the checksum that lets it in.
// Whatever is read as a snapshot is written as one that reads the same.
func FuzzSnapshot(f *testing.F) {
	golden, err := os.ReadFile(filepath.Join("testdata", "golden", someID.FileName()))
	require.NoError(f, err)
	f.Add(golden)
	f.Add(encode(f, eventful(f)))
	f.Add(encode(f, New()))
	f.Add(encode(f, New())[:90])
	f.Fuzz(func(t *testing.T, raw []byte) {
		b := slices.Clone(raw)
		for rest := b; len(rest) >= record.HeaderLen; {
			h, err := record.ParseHeader(rest)
			if err != nil || h.Size() > len(rest) {
				break
			}
			record.Seal(rest[:h.Size()], h)
			rest = rest[h.Size():]
		}
		s, pos, err := DecodeSnapshot(someID, b)
		require.LessOrEqual(t, pos, int64(len(b)))
		if err != nil {
			require.NotEqual(t, fault.Unknown, fault.CodeOf(err))
			return
		}
		again, _, err := DecodeSnapshot(someID, encode(t, s.Catalogue))
		require.NoError(t, err)
		require.Equal(t, s.Catalogue, again.Catalogue)
	})
}
