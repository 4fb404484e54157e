package layout

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

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
		tp, suffix, ok := Parse(name)
		require.True(t, ok, name)
		require.Equal(t, record.TopicPartition{Topic: want.topic, Partition: want.partition}, tp, name)
		require.Equal(t, want.suffix, suffix, name)
	}
	for _, name := range []string{
		"", "-", "orders", "-0", "orders-", "orders-01", "orders-+1", "orders--1x", "orders-2147483648", "..-0", "or ders-0",
		"please-delete", "orders-1.abc-delete", "orders-1." + strings.Repeat("zz", 16) + "-delete", "orders." + unique + "-delete",
	} {
		_, _, ok := Parse(name)
		require.False(t, ok, name)
	}
}

func FuzzParseDir(f *testing.F) {
	for _, name := range []string{"orders-0", "a-b-12", "orders-1." + strings.Repeat("0f", 16) + "-delete", "-", "..-0"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		tp, suffix, ok := Parse(name)
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
	fsys := vfs.NewMemory()
	for _, name := range []string{"orders", strings.Repeat("n", topic.MaxNameLen)} {
		path := "/data/" + record.TopicPartition{Topic: name, Partition: 99999}.String()
		require.NoError(t, fsys.MkdirAll(path))
		to, err := SetAside(fsys, path, SuffixDelete)
		require.NoError(t, err)
		require.LessOrEqual(t, len(filepath.Base(to)), maxFileName)
		tp, suffix, ok := Parse(filepath.Base(to))
		require.True(t, ok)
		require.Equal(t, SuffixDelete, suffix)
		require.EqualValues(t, 99999, tp.Partition)
		require.True(t, strings.HasPrefix(name, tp.Topic))
	}
}
