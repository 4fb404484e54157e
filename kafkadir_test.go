package runnel_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/datadir"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
	"github.com/runnel-go/runnel/topic"
)

// readByKafka is what Kafka's own consumer read of a partition there: a checksum
// over a line for each record.
type readByKafka struct {
	Topic      string
	Partition  int32
	Isolation  string
	Begin, End int64
	Records    int64
	SHA256     string
}

// readUncommitted returns what Kafka read of the partitions that it had not
// compacted.
func readUncommitted(t testing.TB) []readByKafka { return readAt(t, "read_uncommitted") }

// readAt is readUncommitted at a level of isolation.
func readAt(t testing.TB, isolation string) (all []readByKafka) {
	t.Helper()
	b, err := os.ReadFile("testdata/kafka.json")
	require.NoError(t, err)
	var file struct{ Topics []readByKafka }
	require.NoError(t, json.Unmarshal(b, &file))
	for _, p := range file.Topics {
		if p.Isolation == isolation && !strings.Contains(p.Topic, "compact") {
			all = append(all, p)
		}
	}
	return all
}

// addTo adds a record as Kafka's reader did.
func addTo(sum hash.Hash, r *record.Record) {
	text := func(b []byte) string {
		if b == nil {
			return "null"
		}
		return hex.EncodeToString(b)
	}
	fmt.Fprintf(sum, "%d %d %s %s", r.Offset, r.Timestamp.UnixMilli(), text(r.Key), text(r.Value))
	for _, h := range r.Headers {
		fmt.Fprintf(sum, " %s=%s", h.Key, text(h.Value))
	}
	fmt.Fprintln(sum)
}

// adopted returns a directory of ours with the partitions that Kafka wrote.
func adopted(t testing.TB, partitions []readByKafka) (dir string) {
	t.Helper()
	from, dir := runnel.KafkaDirectory(t), filepath.Join(t.TempDir(), "data")
	b, err := runnel.Open(dir, runnel.DefaultDurability(topic.OS))
	require.NoError(t, err)
	numbers := map[string]int{}
	for _, p := range partitions {
		numbers[p.Topic]++
	}
	for name, n := range numbers {
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: name, Partitions: n, Config: topic.Config{Retention: topic.Forever}}))
	}
	require.NoError(t, b.Close())
	for _, p := range partitions {
		tp := record.TopicPartition{Topic: p.Topic, Partition: p.Partition}.String()
		ours, err := filepath.Glob(filepath.Join(dir, tp, "*"))
		require.NoError(t, err)
		for _, path := range ours {
			if filepath.Base(path) != "partition.metadata" {
				require.NoError(t, os.Remove(path))
			}
		}
		files, err := os.ReadDir(filepath.Join(from, tp))
		require.NoError(t, err)
		for _, f := range files {
			if f.Name() != "partition.metadata" {
				require.NoError(t, os.Rename(filepath.Join(from, tp, f.Name()), filepath.Join(dir, tp, f.Name())))
			}
		}
	}
	return dir
}

// TestReadsWhatKafkaWrote reads every partition of Kafka's directory that it had
// not compacted, at both levels of isolation, and compares every record with what
// Kafka's consumer got.
func TestReadsWhatKafkaWrote(t *testing.T) {
	partitions := readUncommitted(t)
	require.Len(t, partitions, 19)
	dir := adopted(t, partitions)
	found, err := datadir.Inspect(t.Context(), dir, nil)
	require.NoError(t, err)
	for _, p := range found.Partitions {
		for _, f := range p.Findings {
			require.NotEqual(t, ".log", filepath.Ext(f.File), "%v", f)
		}
	}
	b := openDir(t, dir)
	for _, p := range append(partitions, readAt(t, "read_committed")...) {
		tp := record.TopicPartition{Topic: p.Topic, Partition: p.Partition}
		if p.Begin > 0 {
			_, err := b.DeleteRecords(t.Context(), map[record.TopicPartition]int64{tp: p.Begin})
			require.NoError(t, err)
		}
		var opts []consumer.Option
		if p.Isolation == "read_committed" {
			opts = append(opts, consumer.ReadCommitted())
		}
		c, err := consumer.New(b, append(opts, consumer.Assign(tp))...)
		require.NoError(t, err)
		ends, err := c.Lag(t.Context())
		require.NoError(t, err)
		require.Equal(t, p.End-p.Begin, ends[tp], "%s %s", tp, p.Isolation)
		require.NoError(t, c.Close())
		require.Equal(t, p.SHA256, sumOf(t, b, tp, p.Records, opts...), "%s %s", tp, p.Isolation)
	}
}

// sumOf returns the checksum over a partition's first n records.
func sumOf(t testing.TB, b *runnel.Broker, tp record.TopicPartition, n int64, opts ...consumer.Option) string {
	t.Helper()
	c, err := consumer.New(b, append(opts, consumer.Assign(tp))...)
	require.NoError(t, err)
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	sum := sha256.New()
	for left := n; left > 0; {
		records, err := c.Poll(ctx)
		require.NoError(t, err, "%s with %d of %d records to come", tp, left, n)
		for i := range records {
			addTo(sum, &records[i])
			left--
		}
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// TestCaughtUpBehindMarkers: Kafka's exactly-once copy ends with a marker, and an
// application that has read it all is caught up.
func TestCaughtUpBehindMarkers(t *testing.T) {
	b := openDir(t, adopted(t, []readByKafka{{Topic: "kcopied"}}))
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "out"}))
	app, err := streams.New(b, "copy", func(top *streams.Topology) {
		in := serde.For("kcopied", serde.Bytes, serde.Bytes)
		streams.Stream(top, in).To(serde.For("out", serde.Bytes, serde.Bytes))
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- app.Run(ctx) }()
	bounded, stop := context.WithTimeout(t.Context(), 5*time.Minute)
	defer stop()
	require.NoError(t, app.CaughtUp(bounded))
	committed, err := b.GroupOffsets(t.Context(), "copy")
	require.NoError(t, err)
	require.EqualValues(t, 501, committed[record.TopicPartition{Topic: "kcopied"}].Offset)
	cancel()
	require.NoError(t, <-over)
}

// TestKafkaDirectoryStaysAsItIs: everything that opens a directory says of Kafka's
// that it is one, changes nothing in it and leaves nothing behind.
func TestKafkaDirectoryStaysAsItIs(t *testing.T) {
	dir := runnel.KafkaDirectory(t)
	before := contents(t, dir)
	for what, open := range map[string]func() error{
		"Open":    func() error { _, err := runnel.Open(dir); return err },
		"Attach":  func() error { _, err := runnel.Attach(dir); return err },
		"Inspect": func() error { _, err := datadir.Inspect(t.Context(), dir, nil); return err },
		"Repair": func() error {
			_, err := datadir.Repair(t.Context(), dir, datadir.RepairOptions{AcceptLoss: true})
			return err
		},
		"DryRun": func() error {
			_, err := datadir.Repair(t.Context(), dir, datadir.RepairOptions{DryRun: true})
			return err
		},
		"Restore": func() error { return datadir.Restore(t.Context(), dir, strings.NewReader("")) },
	} {
		err := open()
		require.Error(t, err, what)
		require.Equal(t, before, contents(t, dir), what)
		if what != "Restore" { // which takes none that is not empty
			require.ErrorIs(t, err, fault.UnsupportedFormat, what)
			require.ErrorContains(t, err, "a data directory of Apache Kafka (node 1, cluster MibUDt56SE6Bskmlir14Nw)", what)
			require.ErrorContains(t, err, "kafka://HOST:PORT", what)
		}
	}
	require.NoError(t, os.Remove(filepath.Join(dir, "meta.properties"))) // one of several directories of a node has the catalogue
	_, err := runnel.Open(dir)
	require.ErrorIs(t, err, fault.UnsupportedFormat)
}

// contents returns what each file under a directory holds.
func contents(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			all[path] = "a directory"
			return err
		}
		b, err := os.ReadFile(path)
		all[path] = string(b)
		return err
	}))
	return all
}

// TestClosedAsKafkaDoes: a directory that was closed has what Kafka looks for:
// both indexes of each segment, and where logs start whose records were deleted.
func TestClosedAsKafkaDoes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	starts := func() string {
		b, err := os.ReadFile(filepath.Join(dir, "log-start-offset-checkpoint"))
		if errors.Is(err, os.ErrNotExist) {
			return "no file"
		}
		require.NoError(t, err)
		return string(b)
	}
	session := func(do func(b *runnel.Broker)) {
		b, err := runnel.Open(dir, runnel.DefaultDurability(topic.OS))
		require.NoError(t, err)
		do(b)
		require.NoError(t, b.Close())
	}
	cut := record.TopicPartition{Topic: "cut"}
	session(func(b *runnel.Broker) {
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "cut"}, topic.Spec{Name: "whole"}))
		write(t, b, cut, "a", "b", "c")
		write(t, b, record.TopicPartition{Topic: "whole"}, "a")
	})
	require.Equal(t, "no file", starts())
	for _, name := range []string{"cut-0", "whole-0"} {
		index, err := os.ReadFile(filepath.Join(dir, name, "00000000000000000000.index"))
		require.NoError(t, err)
		require.Empty(t, index)
		times, err := os.ReadFile(filepath.Join(dir, name, "00000000000000000000.timeindex"))
		require.NoError(t, err)
		require.Len(t, times, 12, "the largest timestamp")
	}
	session(func(b *runnel.Broker) {
		_, err := b.DeleteRecords(t.Context(), map[record.TopicPartition]int64{cut: 2})
		require.NoError(t, err)
	})
	require.Equal(t, "0\n1\ncut 0 2\n", starts())
	session(func(*runnel.Broker) {})
	require.Equal(t, "0\n1\ncut 0 2\n", starts(), "of a partition that was not opened")
	found, err := datadir.Inspect(t.Context(), dir, nil)
	require.NoError(t, err)
	require.Empty(t, found.Findings)
	session(func(b *runnel.Broker) { require.NoError(t, b.DeleteTopics(t.Context(), "cut")) })
	require.Equal(t, "0\n0\n", starts())
}
