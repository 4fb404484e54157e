package runnel_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/datadir"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/topic"
)

// kafkaExpected is what Kafka's own consumer and admin client read of its directory.
type kafkaExpected struct {
	Topics []struct {
		readByKafka
		ID string
	}
	Groups []struct {
		Group   string
		Offsets map[string]int64
	}
}

func expectedOfKafka(t testing.TB) (file kafkaExpected) {
	t.Helper()
	b, err := os.ReadFile("testdata/kafka.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &file))
	return file
}

// requireAsKafkaRead opens a directory and compares its topics and groups with what
// Kafka read. It does so in a bubble, where the cleaner's time does not come: records
// that Kafka had not compacted yet are to be there.
func requireAsKafkaRead(t *testing.T, dir string) {
	t.Helper()
	expected := expectedOfKafka(t)
	synctest.Test(t, func(t *testing.T) {
		b := openDir(t, dir, runnel.NoSocket())
		compareWithKafka(t, b, expected)
	})
}

func compareWithKafka(t *testing.T, b *runnel.Broker, expected kafkaExpected) {
	t.Helper()
	partitions := 0
	for _, p := range expected.Topics {
		tp := record.TopicPartition{Topic: p.Topic, Partition: p.Partition}
		if p.Isolation != "read_uncommitted" {
			require.Equal(t, p.SHA256, sumOf(t, b, tp, p.Records, consumer.ReadCommitted()), "%s, %s", tp, p.Isolation)
			continue
		}
		partitions++
		d, err := b.DescribeTopics(t.Context(), p.Topic)
		require.NoError(t, err)
		require.Equal(t, p.ID, d[0].ID.String(), p.Topic)
		for spec, want := range map[topic.OffsetSpec]int64{topic.Earliest(): p.Begin, topic.Latest(): p.End} {
			at, err := b.ListOffsets(t.Context(), spec, tp)
			require.NoError(t, err)
			require.Equal(t, want, at[tp].Offset, "%s, %v", tp, spec)
		}
		require.Equal(t, p.SHA256, sumOf(t, b, tp, p.Records), tp)
	}
	require.Equal(t, 21, partitions)
	for _, g := range expected.Groups {
		all, err := b.GroupOffsets(t.Context(), g.Group)
		require.NoError(t, err)
		got := map[string]int64{}
		for tp, o := range all {
			got[tp.String()] = o.Offset
		}
		require.Equal(t, g.Offsets, got, g.Group)
	}
}

// Everything that Kafka's own clients read of its directory is there after an import:
// offsets and gaps, bytes, timestamps, IDs, and what groups have committed.
func TestImportOfKafkasDirectory(t *testing.T) {
	from, dir := runnel.KafkaDirectory(t), filepath.Join(t.TempDir(), "data")
	var last datadir.ImportProgress
	got, err := datadir.Import(t.Context(), dir, []string{from}, datadir.ImportOptions{Progress: func(p datadir.ImportProgress) {
		require.GreaterOrEqual(t, p.Done, last.Done)
		last = p
	}})
	require.NoError(t, err)
	require.Equal(t, last.Total, last.Done)
	require.Positive(t, last.Total)
	require.Len(t, got.Topics, 15)
	require.Equal(t, 3, got.Groups)
	require.Empty(t, got.Notes)

	requireAsKafkaRead(t, dir)
	b, err := runnel.Open(dir)
	require.NoError(t, err)
	d, err := b.DescribeTopics(t.Context(), "kcompact")
	require.NoError(t, err)
	require.Equal(t, topic.Compact, d[0].Config.Cleanup)

	at, err := producer.Send(t.Context(), b, serde.For("kcompact", serde.Bytes, serde.Bytes), []byte("k"), []byte("later"))
	require.NoError(t, err)
	require.Equal(t, int64(12000), at.Offset)
	require.NoError(t, b.Close())
	b, err = runnel.Open(dir)
	require.NoError(t, err)
	defer b.Close()
	require.True(t, b.Recovery().Clean)
	found, err := b.ListOffsets(t.Context(), topic.Latest(), record.TopicPartition{Topic: "kcompact"})
	require.NoError(t, err)
	require.Equal(t, int64(12001), found[record.TopicPartition{Topic: "kcompact"}].Offset)
}

// split copies Kafka's directory to two, as of two brokers: each has some partitions, and
// the second an older copy of one of the first's.
func split(t *testing.T) (one, two string) {
	t.Helper()
	one, two = runnel.KafkaDirectory(t), runnel.KafkaDirectory(t)
	for _, move := range []struct{ dir, pattern string }{{one, "kc-*-1"}, {one, "json-*"}, {one, "__cluster*"}, {two, "kc-*-0"}, {two, "kt*"}} {
		paths, err := filepath.Glob(filepath.Join(move.dir, move.pattern))
		require.NoError(t, err)
		require.NotEmpty(t, paths)
		for _, path := range paths {
			require.NoError(t, os.RemoveAll(path))
		}
	}
	cutCopy(t, filepath.Join(two, "kcut-0", "00000000000000000000.log"), 100_000)
	return one, two
}

// cutCopy cuts a segment behind the last batch that ends within so many bytes.
func cutCopy(t *testing.T, path string, size int64) {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	end := int64(0)
	for {
		h, err := record.ParseHeader(b[end:])
		require.NoError(t, err)
		if end+int64(h.Size()) > size {
			break
		}
		end += int64(h.Size())
	}
	require.Positive(t, end)
	require.NoError(t, os.Truncate(path, end))
}

// A cluster's partitions are spread over its brokers, and a broker that was down has an
// older copy.
func TestImportOfSeveralBrokers(t *testing.T) {
	one, two := split(t)
	for _, from := range [][]string{{one, two}, {two, one}} {
		dir := filepath.Join(t.TempDir(), "data")
		_, err := datadir.Import(t.Context(), dir, from, datadir.ImportOptions{})
		require.NoError(t, err)
		requireAsKafkaRead(t, dir)
	}
	_, err := datadir.Import(t.Context(), filepath.Join(t.TempDir(), "data"), []string{two}, datadir.ImportOptions{})
	require.ErrorIs(t, err, fault.UnknownTopic)
	require.ErrorContains(t, err, "kc-gzip-0: ")
	require.ErrorContains(t, err, "name the directories of all brokers")
}

// A directory from before KRaft has no metadata: names, IDs and records are there.
func TestImportWithoutMetadata(t *testing.T) {
	from, dir := runnel.KafkaDirectory(t), filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.RemoveAll(filepath.Join(from, "__cluster_metadata-0")))
	require.NoError(t, os.Remove(filepath.Join(from, "kcut-0", "partition.metadata")))
	got, err := datadir.Import(t.Context(), dir, []string{from}, datadir.ImportOptions{Topics: []string{"kcut", "kc-none"}})
	require.NoError(t, err)
	require.Len(t, got.Topics, 2)
	require.Equal(t, []string{"no directory has the cluster's metadata, so all topics get the default settings"}, got.Notes)
	b := openDir(t, dir)
	for _, p := range expectedOfKafka(t).Topics {
		if p.Topic == "kcut" || p.Topic == "kc-none" {
			require.Equal(t, p.SHA256, sumOf(t, b, record.TopicPartition{Topic: p.Topic, Partition: p.Partition}, p.Records))
		}
	}
	offsets, err := b.GroupOffsets(t.Context(), "kg-classic")
	require.NoError(t, err)
	require.Len(t, offsets, 2, "only of the topics that were imported")
}

// What a killed broker had not written completely is left out, and named. Of one that was
// stopped in order, the same bytes are damage.
func TestImportOfTornLog(t *testing.T) {
	from := runnel.KafkaDirectory(t)
	path := filepath.Join(from, "kc-none-0", "00000000000000000000.log")
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, append(whole, whole[:100]...), 0o600))
	only := datadir.ImportOptions{Topics: []string{"kc-none"}}
	dir := filepath.Join(t.TempDir(), "data")
	_, err = datadir.Import(t.Context(), dir, []string{from}, only)
	flaw, ok := errors.AsType[*fault.Corruption](err)
	require.True(t, ok, err)
	require.Equal(t, path, flaw.File)
	require.EqualValues(t, len(whole), flaw.Pos)
	_, err = runnel.Open(dir)
	require.ErrorContains(t, err, "an import that is not complete")

	require.NoError(t, os.Remove(filepath.Join(from, ".kafka_cleanshutdown")))
	got, err := datadir.Import(t.Context(), dir, []string{from}, only)
	require.NoError(t, err)
	require.Len(t, got.Notes, 2)
	require.Contains(t, got.Notes[0], "was not stopped in order")
	require.Equal(t, "kc-none-0: without the last 100 bytes, which are no whole batch", got.Notes[1])
	b := openDir(t, dir)
	for _, p := range expectedOfKafka(t).Topics {
		if p.Topic == "kc-none" {
			require.Equal(t, p.SHA256, sumOf(t, b, record.TopicPartition{Topic: p.Topic, Partition: p.Partition}, p.Records))
		}
	}
}

func TestImportRefuses(t *testing.T) {
	kafka, other := runnel.KafkaDirectory(t), runnel.KafkaDirectory(t)
	require.NoError(t, os.WriteFile(filepath.Join(other, "meta.properties"), []byte("cluster.id=another\n"), 0o600))
	damaged := runnel.KafkaDirectory(t)
	path := filepath.Join(damaged, "kcut-0", "00000000000000000000.log")
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	b[len(b)/2] ^= 1
	require.NoError(t, os.WriteFile(path, b, 0o600))
	full := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(full, "file"), nil, 0o600))
	started := filepath.Join(t.TempDir(), "data")
	ctx, cancel := context.WithCancel(t.Context())
	_, err = datadir.Import(ctx, started, []string{kafka}, datadir.ImportOptions{Progress: func(p datadir.ImportProgress) {
		if p.Done > p.Total/2 {
			cancel()
		}
	}})
	require.ErrorIs(t, err, context.Canceled)

	for _, test := range []struct {
		name string
		dir  string
		from []string
		opts datadir.ImportOptions
		code fault.Code
		says string
	}{
		{"no directory", "", nil, datadir.ImportOptions{}, fault.InvalidConfig, "no directory of Kafka's"},
		{"a missing directory", "", []string{filepath.Join(kafka, "nowhere")}, datadir.ImportOptions{}, fault.InvalidConfig, "is not a directory"},
		{"another directory", "", []string{full}, datadir.ImportOptions{}, fault.InvalidConfig, "is not a log directory of Kafka"},
		{"two clusters", "", []string{kafka, other}, datadir.ImportOptions{}, fault.InvalidConfig, "import one cluster at a time"},
		{"a full directory", full, []string{kafka}, datadir.ImportOptions{}, fault.InvalidRequest, "which is not empty"},
		{"an unknown topic", "", []string{kafka}, datadir.ImportOptions{Topics: []string{"kcuts"}}, fault.UnknownTopic, "kcuts"},
		{"damage", "", []string{damaged}, datadir.ImportOptions{Topics: []string{"kcut"}}, fault.CorruptMessage, "import another broker's copy"},
		{"a part of another import", started, []string{damaged}, datadir.ImportOptions{}, fault.InvalidRequest, "a part of another import"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := test.dir
			if dir == "" {
				dir = filepath.Join(t.TempDir(), "data")
			}
			_, err := datadir.Import(t.Context(), dir, test.from, test.opts)
			require.ErrorIs(t, err, test.code)
			require.ErrorContains(t, err, test.says)
		})
	}

	_, err = runnel.Open(started)
	require.ErrorContains(t, err, "an import that is not complete")
	_, err = datadir.Import(t.Context(), started, []string{kafka}, datadir.ImportOptions{})
	require.NoError(t, err)
	requireAsKafkaRead(t, started)
}

// offsetOf returns a batch of __consumer_offsets in a transaction of producer 777, in which
// group kg-eos commits an offset of ktxn-0.
func offsetOf(t *testing.T, base, offset int64) []byte {
	t.Helper()
	key := append([]byte{0, 1, 0, 6}, "kg-eos\x00\x04ktxn\x00\x00\x00\x00"...)
	value := binary.BigEndian.AppendUint64([]byte{0, 1}, uint64(offset))
	value = append(value, make([]byte, 2+8+8)...) // no metadata, and two times
	return inTransaction(t, base, key, value, record.AttrTransactional)
}

// markerOf returns the marker that ends producer 777's transaction.
func markerOf(t *testing.T, base int64, commit byte) []byte {
	t.Helper()
	return inTransaction(t, base, []byte{0, 0, 0, commit}, []byte{0, 0, 0, 0, 0, 0}, record.AttrTransactional|record.AttrControl)
}

func inTransaction(t *testing.T, base int64, key, value []byte, attributes int16) []byte {
	t.Helper()
	builder := record.NewBuilder(1 << 10)
	require.True(t, builder.Add(1, key, value, nil))
	b, err := builder.Batch(nil, record.None, 0)
	require.NoError(t, err)
	h := b.BatchHeader
	h.BaseOffset, h.LeaderEpoch, h.Attributes, h.ProducerID, h.ProducerEpoch, h.BaseSequence = base, 0, attributes, 777, 0, 0
	return record.Seal(b.Bytes, h).Bytes
}

// Offsets that a transaction commits count if it was committed, and not if it was aborted
// or is open.
func TestImportOfOffsetsInTransactions(t *testing.T) {
	const end = 57 // of __consumer_offsets
	for name, test := range map[string]struct {
		behind []byte
		want   int64
	}{
		"open":      {nil, 758},
		"aborted":   {markerOf(t, end+1, 0), 758},
		"committed": {markerOf(t, end+1, 1), 999},
	} {
		t.Run(name, func(t *testing.T) {
			from, dir := runnel.KafkaDirectory(t), filepath.Join(t.TempDir(), "data")
			path := filepath.Join(from, "__consumer_offsets-0", "00000000000000000000.log")
			log, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path, append(append(log, offsetOf(t, end, 999)...), test.behind...), 0o600))
			_, err = datadir.Import(t.Context(), dir, []string{from}, datadir.ImportOptions{Topics: []string{"ktxn"}})
			require.NoError(t, err)
			offsets, err := openDir(t, dir).GroupOffsets(t.Context(), "kg-eos")
			require.NoError(t, err)
			require.Equal(t, test.want, offsets[record.TopicPartition{Topic: "ktxn"}].Offset)
		})
	}
}
