package runnel_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/datadir"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// someDir makes a data directory with two topics and closes it.
func someDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	b := openDir(t, dir)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Partitions: 2}, topic.Spec{Name: "visits"}))
	tp := record.TopicPartition{Topic: "orders", Partition: 1}
	write(t, b, tp, "a", "b", "c")
	require.NoError(t, b.SetGroupOffsets(t.Context(), "g", map[record.TopicPartition]consumer.Offset{tp: {Offset: 2}}))
	require.NoError(t, b.Close())
	return dir
}

// flip inverts a byte of a file.
func flip(t *testing.T, path string, at int) {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	b[at] ^= 0xff
	require.NoError(t, os.WriteFile(path, b, 0o644))
}

const firstLog = "00000000000000000000.log"

func TestInspect(t *testing.T) {
	for _, test := range []struct {
		name  string
		plant func(t *testing.T, dir string)
		worst log.Grade
		file  string // of the gravest finding
		found string
	}{
		{"nothing", func(*testing.T, string) {}, log.Note, "", ""},
		{
			"a record", func(t *testing.T, dir string) { flip(t, filepath.Join(dir, "orders-1", firstLog), 65) },
			log.Damage, "orders-1/" + firstLog, "checksum",
		},
		{
			"the catalogue", func(t *testing.T, dir string) { flip(t, filepath.Join(dir, "__cluster_metadata-0", firstLog), 65) },
			log.Damage, "__cluster_metadata-0/" + firstLog, "checksum",
		},
		{
			"no catalogue", func(t *testing.T, dir string) {
				require.NoError(t, os.RemoveAll(filepath.Join(dir, "__cluster_metadata-0")))
			},
			log.Damage, "__cluster_metadata-0", "none",
		},
		{
			"no directory", func(t *testing.T, dir string) { require.NoError(t, os.RemoveAll(filepath.Join(dir, "visits-0"))) },
			log.Damage, "visits-0", "none",
		},
		{
			"no segment", func(t *testing.T, dir string) {
				require.NoError(t, os.Remove(filepath.Join(dir, "orders-1", firstLog)))
			},
			log.Damage, "orders-1/" + firstLog, "none",
		},
		{
			"no topic ID", func(t *testing.T, dir string) {
				require.NoError(t, os.Remove(filepath.Join(dir, "orders-1", "partition.metadata")))
			},
			log.Recoverable, "orders-1/partition.metadata", "no file",
		},
		{"no words in the topic ID's file", func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "orders-1", "partition.metadata"), []byte("?"), 0o644))
		}, log.Damage, "orders-1/partition.metadata", `"?"`},
		{"another topic's directory", func(t *testing.T, dir string) {
			require.NoError(t, os.RemoveAll(filepath.Join(dir, "visits-0")))
			require.NoError(t, os.Rename(filepath.Join(dir, "orders-0"), filepath.Join(dir, "visits-0")))
		}, log.Damage, "orders-0", "none"},
		{
			"an orphan", func(t *testing.T, dir string) { require.NoError(t, os.Mkdir(filepath.Join(dir, "lost-0"), 0o755)) },
			log.Note, "lost-0", "no topic has",
		},
		{
			"another file", func(t *testing.T, dir string) {
				require.NoError(t, os.WriteFile(filepath.Join(dir, "visits-0", "README"), nil, 0o644))
			},
			log.Note, "visits-0/README", "none of them",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := someDir(t)
			test.plant(t, dir)
			found, err := datadir.Inspect(t.Context(), dir, nil)
			require.NoError(t, err)
			require.True(t, found.Clean)
			require.Equal(t, test.worst, found.Worst(), "%v", found)
			all := found.Findings
			for _, p := range found.Partitions {
				all = append(all, p.Findings...)
			}
			if test.file == "" {
				require.Empty(t, all)
				return
			}
			for _, f := range all {
				if f.Grade == test.worst && f.File == filepath.Join(dir, test.file) {
					require.Contains(t, f.Found, test.found)
					return
				}
			}
			t.Errorf("not found: %v", all)
		})
	}
}

// A directory that is open is read below its checkpoints.
func TestInspectHeldDirectory(t *testing.T) {
	dir := t.TempDir()
	b := openDir(t, dir)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	write(t, b, record.TopicPartition{Topic: "orders"}, "a")
	found, err := datadir.Inspect(t.Context(), dir, nil)
	require.NoError(t, err)
	require.Contains(t, found.Holder, "this process")
	require.Equal(t, log.Note, found.Worst(), "%v", found)
	require.Empty(t, found.Findings)
	require.Len(t, found.Partitions, 2, "a topic is known as soon as it is there")
	require.EqualValues(t, "orders", found.Partitions[1].Topic)
	require.NoError(t, b.Close())

	var done, total int64
	found, err = datadir.Inspect(t.Context(), dir, func(d, all int64) { done, total = d, all })
	require.NoError(t, err)
	require.Empty(t, found.Holder)
	require.Positive(t, done)
	require.Equal(t, total, done)
}

// What looks wrong in a directory that is open counts if it does so twice.
func TestInspectLooksTwice(t *testing.T) {
	dir := someDir(t)
	b := openDir(t, dir)
	path := filepath.Join(dir, "orders-1", firstLog)
	flip(t, path, 70)
	found, err := datadir.Inspect(t.Context(), dir, nil)
	require.NoError(t, err)
	require.Equal(t, log.Damage, found.Worst())

	found, err = datadir.Inspect(t.Context(), dir, func(done, total int64) {
		if done == total { // all was read once
			flip(t, path, 70)
		}
	})
	require.NoError(t, err)
	require.Equal(t, log.Note, found.Worst(), "%v", found)
	require.NoError(t, b.Close())
}

func TestInspectRefuses(t *testing.T) {
	_, err := datadir.Inspect(t.Context(), filepath.Join(t.TempDir(), "none"), nil)
	require.ErrorIs(t, err, os.ErrNotExist)
	dir := someDir(t)
	_, err = datadir.Inspect(t.Context(), filepath.Join(dir, "orders-1", firstLog), nil)
	require.ErrorContains(t, err, "not a directory")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = datadir.Inspect(ctx, dir, nil)
	require.ErrorIs(t, err, context.Canceled)
}
