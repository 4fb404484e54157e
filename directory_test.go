package runnel

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

func TestParseDir(t *testing.T) {
	unique := strings.Repeat("0f", 16)
	for name, want := range map[string]struct {
		topic     string
		partition int32
		suffix    string
	}{
		"orders-0":                         {"orders", 0, ""},
		"a-b-12":                           {"a-b", 12, ""},
		"a.b_c-3":                          {"a.b_c", 3, ""},
		"--7":                              {"-", 7, ""},
		"orders-1." + unique + "-delete":   {"orders", 1, "-delete"},
		"orders-1." + unique + "-stray":    {"orders", 1, "-stray"},
		"x." + unique + "-delete-0":        {"x." + unique + "-delete", 0, ""},
		"orders-2147483647":                {"orders", 2147483647, ""},
		"orders-1." + unique + "-delete-1": {"orders-1." + unique + "-delete", 1, ""},
	} {
		tp, suffix, ok := parseDir(name)
		require.True(t, ok, name)
		require.Equal(t, record.TopicPartition{Topic: want.topic, Partition: want.partition}, tp, name)
		require.Equal(t, want.suffix, suffix, name)
	}
	for _, name := range []string{
		"", "-", "orders", "-0", "orders-", "orders-01", "orders-+1", "orders--1x", "orders-2147483648", "..-0", "or ders-0",
		"please-delete", "orders-1.abc-delete", "orders-1." + strings.Repeat("zz", 16) + "-delete", "orders." + unique + "-delete",
	} {
		_, _, ok := parseDir(name)
		require.False(t, ok, name)
	}
}

func FuzzParseDir(f *testing.F) {
	for _, name := range []string{"orders-0", "a-b-12", "orders-1." + strings.Repeat("0f", 16) + "-delete", "-", "..-0"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		tp, suffix, ok := parseDir(name)
		if !ok {
			return
		}
		require.NoError(t, topic.ValidateName(tp.Topic))
		require.True(t, strings.HasPrefix(name, tp.String()))
		if suffix == "" {
			require.Equal(t, name, tp.String())
		}
	})
}

// A directory that was set aside is recognized, and its name fits, however long
// the topic's is.
func TestSetAside(t *testing.T) {
	b, err := OpenMemory()
	require.NoError(t, err)
	defer b.Close()
	for _, name := range []string{"orders", strings.Repeat("n", topic.MaxNameLen)} {
		path := b.path(record.TopicPartition{Topic: name, Partition: 99999})
		require.NoError(t, b.fsys.MkdirAll(path))
		to, err := b.setAside(path, suffixDelete)
		require.NoError(t, err)
		require.LessOrEqual(t, len(filepath.Base(to)), maxFileName)
		tp, suffix, ok := parseDir(filepath.Base(to))
		require.True(t, ok)
		require.Equal(t, suffixDelete, suffix)
		require.EqualValues(t, 99999, tp.Partition)
		require.True(t, strings.HasPrefix(name, tp.Topic))
	}
}

// Where the file system takes two names for one, the second topic is refused.
func TestNamesThatDifferInCase(t *testing.T) {
	b, err := OpenMemory()
	require.NoError(t, err)
	defer b.Close()
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}, topic.Spec{Name: "Visits"}, topic.Spec{Name: "visits"}))

	b.folds = true
	err = b.CreateTopics(t.Context(), topic.Spec{Name: "Orders"})
	require.ErrorIs(t, err, fault.InvalidTopic)
	require.ErrorContains(t, err, "takes it for the name of topic orders")
	err = b.CreateTopics(t.Context(), topic.Spec{Name: "New"}, topic.Spec{Name: "new"})
	require.ErrorIs(t, err, fault.InvalidTopic)
	require.ErrorIs(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}), fault.TopicExists, "the same name is another error")
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "new"}))
}

// TestRemovalIsDurable has opening finish a removal that a crash interrupted, and
// loses the power once it has.
func TestRemovalIsDurable(t *testing.T) {
	disk := vfs.NewCrashable()
	b, err := openFixture(disk)
	require.NoError(t, err)
	half := b.path(record.TopicPartition{Topic: "orders"}) + "." + strings.Repeat("0f", 16) + suffixDelete
	require.NoError(t, disk.MkdirAll(half))
	require.NoError(t, disk.SyncDir(b.dir))
	require.NoError(t, b.Close())

	b, err = openFixture(disk)
	require.NoError(t, err)
	require.Equal(t, []string{half}, b.Recovery().Removed)
	left := disk.After(vfs.Loss{Kept: vfs.KeepNone})
	require.NoError(t, b.Close())

	b, err = openFixture(left)
	require.NoError(t, err)
	require.Empty(t, b.Recovery().Removed)
	require.NoError(t, b.Close())
}
