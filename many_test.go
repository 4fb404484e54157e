package runnel_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

const manyTopics = 10_000

// TestTenThousandTopics creates them, writes to some, and opens the directory
// after a clean close and after a crash: the files that are open are those of topics
// in use, and a topic costs a few kilobytes of memory.
func TestTenThousandTopics(t *testing.T) {
	dir := t.TempDir()
	began := time.Now()
	step := func(what string) {
		t.Logf("%-28s %6d ms, %4d files open, %4d MB live", what, time.Since(began).Milliseconds(), openFiles(t), liveHeap()>>20)
		began = time.Now()
	}
	before, files := liveHeap(), openFiles(t)
	b, err := runnel.Open(dir, runnel.DefaultDurability(topic.OS))
	require.NoError(t, err)
	for n := 0; n < manyTopics; n += 1000 {
		var specs []topic.Spec
		for i := range 1000 {
			specs = append(specs, topic.Spec{Name: fmt.Sprintf("topic-%05d", n+i)})
		}
		require.NoError(t, b.CreateTopics(t.Context(), specs...))
	}
	step("created")
	require.Less(t, openFiles(t), files+20)
	used := []record.TopicPartition{{Topic: "topic-00000"}, {Topic: "topic-04711"}, {Topic: "topic-09999"}}
	for _, tp := range used {
		write(t, b, tp, "a")
	}
	require.NoError(t, b.Close())
	step("closed")

	b, err = runnel.Open(dir, runnel.DefaultDurability(topic.OS))
	require.NoError(t, err)
	step("opened after a clean close")
	require.Less(t, liveHeap()-before, uint64(manyTopics*5<<10))
	write(t, b, used[0], "b")
	require.Less(t, openFiles(t), files+20)
	require.NoError(t, b.Close())

	require.NoError(t, os.Remove(filepath.Join(dir, ".kafka_cleanshutdown"))) // as after a crash: all of them are opened
	began = time.Now()
	after, err := runnel.Open(dir, runnel.DefaultDurability(topic.OS))
	require.NoError(t, err)
	step("opened after a crash")
	require.False(t, after.Recovery().Clean)
	require.Len(t, after.Recovery().Partitions, manyTopics+1)
	require.Less(t, openFiles(t), files+40)
	for _, tp := range used {
		require.Equal(t, "a", readPartition(t, after, tp)[0])
	}
	names, err := after.Topics(t.Context())
	require.NoError(t, err)
	require.Len(t, names, manyTopics)
	require.NoError(t, after.Close())
}

// openFiles returns how many files the process has open, 0 where nothing tells.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

func liveHeap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
