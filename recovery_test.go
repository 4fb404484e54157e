package runnel_test

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// crash copies a data directory as it is while its broker is open: what another
// process would find if this one were killed now.
func crash(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		from := filepath.Join(dir, e.Name())
		switch {
		case e.IsDir():
			require.NoError(t, os.CopyFS(filepath.Join(to, e.Name()), os.DirFS(from)))
		case e.Type().IsRegular(): // the socket cannot be copied
			text, err := os.ReadFile(from)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(to, e.Name()), text, 0o644))
		}
	}
	return to
}

func TestRecoveryAfterACrash(t *testing.T) {
	dir := t.TempDir()
	b := openDir(t, dir)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Partitions: 2}, topic.Spec{Name: "visits"}))
	tp := record.TopicPartition{Topic: "orders", Partition: 1}
	write(t, b, tp, "a", "b", "c")

	after := openDir(t, crash(t, dir))
	r := after.Recovery()
	require.False(t, r.Clean)
	require.Empty(t, r.Missing)
	require.Positive(t, r.Duration)
	var partitions []string
	for _, p := range r.Partitions {
		require.NoError(t, p.Err)
		require.Zero(t, p.Cut)
		partitions = append(partitions, p.TopicPartition.String())
	}
	require.Equal(t, []string{"__cluster_metadata-0", "orders-0", "orders-1", "visits-0"}, partitions, "all are opened, and sorted")
	d := describe(t, after, "orders")
	require.EqualValues(t, 3, d.Partitions[1].HighWatermark)
	require.EqualValues(t, 1, d.Partitions[1].LeaderEpoch, "the epoch rises at an unclean opening")
	require.NoError(t, after.Verify(t.Context()))
}

// After a clean close a partition is opened when it is first used.
func TestCleanOpeningIsLazy(t *testing.T) {
	dir := t.TempDir()
	b := openDir(t, dir)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}, topic.Spec{Name: "visits"}))
	require.NoError(t, b.Close())

	b = openDir(t, dir)
	require.True(t, b.Recovery().Clean)
	require.Len(t, b.Recovery().Partitions, 1, "the catalogue's")
	describe(t, b, "visits")
	require.Len(t, b.Recovery().Partitions, 2)
	require.Equal(t, "visits-0", b.Recovery().Partitions[1].TopicPartition.String())
	require.True(t, b.Recovery().Partitions[1].Clean)
}

func TestMissingDirectoryIsReported(t *testing.T) {
	dir := t.TempDir()
	b := openDir(t, dir)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Partitions: 2}))
	require.NoError(t, b.Close())
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "orders-1")))

	b = openDir(t, dir)
	require.Equal(t, []record.TopicPartition{{Topic: "orders", Partition: 1}}, b.Recovery().Missing)
	_, err := b.ListOffsets(t.Context(), topic.Latest(), record.TopicPartition{Topic: "orders", Partition: 1})
	require.ErrorIs(t, err, fault.CorruptMessage)

	b = openDir(t, crash(t, dir))
	require.Equal(t, []record.TopicPartition{{Topic: "orders", Partition: 1}}, b.Recovery().Missing)
	write(t, b, record.TopicPartition{Topic: "orders", Partition: 1}, "a")
}

// A crash after a deletion was decided, and before its files were gone, is made
// good; the files of a deleted topic never become those of a new one.
func TestDeletionIsFinished(t *testing.T) {
	dir := t.TempDir()
	b := openDir(t, dir)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Partitions: 2}))
	write(t, b, record.TopicPartition{Topic: "orders"}, "old")
	before := crash(t, dir)
	require.NoError(t, b.DeleteTopics(t.Context(), "orders"))
	require.Empty(t, ls(t, dir))
	decided := crash(t, dir)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	again := crash(t, dir)

	for name, state := range map[string]string{"deleted": decided, "deleted and created again": again} {
		t.Run(name, func(t *testing.T) {
			// The catalogue knows that the topic is gone, the directory does not.
			for _, d := range ls(t, before) {
				require.NoError(t, os.RemoveAll(filepath.Join(state, d)))
				require.NoError(t, os.CopyFS(filepath.Join(state, d), os.DirFS(filepath.Join(before, d))))
			}
			half := filepath.Join(state, "orders-7."+strings.Repeat("0f", 16)+"-delete")
			require.NoError(t, os.Mkdir(half, 0o755))

			b := openDir(t, state)
			require.Equal(t, []string{filepath.Join(state, "orders-0"), filepath.Join(state, "orders-1"), half}, b.Recovery().Removed)
			require.Empty(t, b.Recovery().Orphans)
			if name == "deleted" {
				require.Empty(t, ls(t, state))
				return
			}
			require.Zero(t, describe(t, b, "orders").Partitions[0].EndOffset)
			require.Equal(t, []string{"orders-0"}, ls(t, state))
		})
	}
}

// What no topic explains is left alone, reported, and put out of the way of a
// topic that takes its name.
func TestOrphansAreKept(t *testing.T) {
	dir := t.TempDir()
	b := openDir(t, dir)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	require.NoError(t, b.Close())
	evidence := []byte("precious")
	for _, d := range []string{"visits-0", "orders-1", "visits-0." + strings.Repeat("ab", 16) + "-stray"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, d), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, d, "00000000000000000000.log"), evidence, 0o644))
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "please-delete"), 0o755))

	b = openDir(t, dir)
	require.Equal(t, []string{
		filepath.Join(dir, "orders-1"), filepath.Join(dir, "visits-0"), filepath.Join(dir, "visits-0."+strings.Repeat("ab", 16)+"-stray"),
	}, b.Recovery().Orphans)
	require.Empty(t, b.Recovery().Removed)

	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "visits"}))
	require.NoError(t, b.AddPartitions(t.Context(), "orders", 2))
	write(t, b, record.TopicPartition{Topic: "visits"}, "new")
	kept := 0
	for _, d := range ls(t, dir) {
		if strings.HasSuffix(d, "-stray") {
			text, err := os.ReadFile(filepath.Join(dir, d, "00000000000000000000.log"))
			require.NoError(t, err)
			require.Equal(t, evidence, text)
			kept++
		}
	}
	require.Equal(t, 3, kept)
	require.DirExists(t, filepath.Join(dir, "please-delete"))
}

// A directory that says it belongs to another topic is never written to.
func TestForeignPartitionIsRefused(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	for _, d := range []string{dir, other} {
		b := openDir(t, d)
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}, topic.Spec{Name: "visits"}))
		require.NoError(t, b.Close())
	}
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "orders-0")))
	require.NoError(t, os.Rename(filepath.Join(other, "orders-0"), filepath.Join(dir, "orders-0")))

	b := openDir(t, dir)
	_, err := b.ListOffsets(t.Context(), topic.Latest(), record.TopicPartition{Topic: "orders"})
	require.ErrorIs(t, err, fault.Storage)
	require.ErrorContains(t, err, "belongs to topic ID")
	write(t, b, record.TopicPartition{Topic: "visits"}, "the others are fine")

	// After a crash it is found at once, and still keeps nothing from opening.
	b = openDir(t, crash(t, dir))
	r := b.Recovery()
	require.Equal(t, "orders-0", r.Partitions[1].TopicPartition.String())
	require.ErrorIs(t, r.Partitions[1].Err, fault.Storage)
}

func TestPartitionMetadata(t *testing.T) {
	dir := t.TempDir()
	b := openDir(t, dir)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	send(t, b, "orders", "k", "v")
	id := describe(t, b, "orders").ID
	require.NoError(t, b.Close())
	path := filepath.Join(dir, "orders-0", "partition.metadata")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	own, ok := strings.CutPrefix(string(text), "version: 0\ntopic_id: "+id.String()+"\n")
	require.True(t, ok, "Kafka's own words")
	require.Regexp(t, "^partition: 0 [0-9a-f]{8}\n$", own)

	require.NoError(t, os.WriteFile(path, []byte("garbage"), 0o644))
	b = openDir(t, dir)
	_, err = b.ListOffsets(t.Context(), topic.Latest(), record.TopicPartition{Topic: "orders"})
	require.ErrorIs(t, err, fault.CorruptMessage)
	require.ErrorContains(t, err, path)

	require.NoError(t, os.Remove(path))
	d := describe(t, b, "orders")
	require.Equal(t, id, d.ID, "the catalogue knows it, and it is written again")
	require.EqualValues(t, 1, d.Partitions[0].EndOffset)
	written, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, text, written)
}

func TestDamagedCatalogueIsNotOpened(t *testing.T) {
	dir := t.TempDir()
	b := openDir(t, dir)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}, topic.Spec{Name: "visits"}))
	require.NoError(t, b.Close())
	segment := filepath.Join(dir, "__cluster_metadata-0", "00000000000000000000.log")
	text, err := os.ReadFile(segment)
	require.NoError(t, err)
	at := strings.Index(string(text), "orders")
	text[at] ^= 1
	require.NoError(t, os.WriteFile(segment, text, 0o644))
	_, err = runnel.Open(dir)
	require.ErrorIs(t, err, fault.CorruptMessage)

	text[at] ^= 1
	require.NoError(t, os.WriteFile(segment, text, 0o644))
	openDir(t, dir)
}

// The longest name still leaves room for what a deletion adds.
func TestLongestName(t *testing.T) {
	dir := t.TempDir()
	b := openDir(t, dir)
	name := strings.Repeat("n", topic.MaxNameLen)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: name, Partitions: 11}))
	write(t, b, record.TopicPartition{Topic: name, Partition: 10}, "a")
	require.NoError(t, b.DeleteTopics(t.Context(), name))
	require.Empty(t, ls(t, dir))
}

func FuzzDirectoryNames(f *testing.F) {
	f.Add("orders-0")
	f.Add("orders-0." + strings.Repeat("0f", 16) + "-delete")
	f.Add("a-b-12." + hex.EncodeToString(make([]byte, 16)) + "-stray")
	f.Add("__consumer_offsets-00")
	f.Add("-1")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, name string) {
		if strings.ContainsAny(name, "/\x00") || name == "" || name == "." || name == ".." || len(name) > 255 ||
			strings.HasPrefix(name, ".") || strings.HasPrefix(name, "__") {
			return
		}
		path := filepath.Join(dir, name)
		require.NoError(t, os.Mkdir(path, 0o755))
		b, err := runnel.Open(dir)
		require.NoError(t, err)
		require.NoError(t, b.Close())
		if !strings.HasSuffix(name, "-delete") {
			require.DirExists(t, path, "what is not known is not removed")
			require.NoError(t, os.Remove(path))
		} else {
			require.NoError(t, os.RemoveAll(path))
		}
	})
}
