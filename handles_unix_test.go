//go:build unix

package runnel_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// fewVariable names a directory in which the test binary, run again by
// TestFewFileHandles, is to use more files than it may open.
const fewVariable = "RUNNEL_TEST_FEW"

const fewTopics = 150

// TestFewFileHandles lets a process open 80 files at once. What does not work
// says so, by a typed error; what is acknowledged is there, and nothing is damaged.
func TestFewFileHandles(t *testing.T) {
	if dir := os.Getenv(fewVariable); dir != "" {
		useFew(t, dir)
		return
	}
	self, err := os.Executable()
	require.NoError(t, err)
	dir := t.TempDir()
	child := exec.Command("/bin/sh", "-c", `ulimit -n 80 && exec "$0" -test.v -test.run '^TestFewFileHandles$'`, self)
	child.Env = append(os.Environ(), fewVariable+"="+dir)
	out, err := child.CombinedOutput()
	require.NoError(t, err, "%s", out)

	b := openDir(t, dir)
	require.NoError(t, b.Verify(t.Context()))
	for _, p := range b.Recovery().Partitions {
		require.NoError(t, p.Err)
		require.Empty(t, p.Damage)
	}
	acked, refused := 0, 0
	for line := range strings.Lines(string(out)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "acknowledged "); ok {
			acked++
			require.Equal(t, []string{"a"}, readPartition(t, b, record.TopicPartition{Topic: name}))
		} else if strings.HasPrefix(line, "refused ") {
			refused++
		}
	}
	t.Logf("%d acknowledged, %d refused", acked, refused)
	require.Greater(t, acked, 20)
	require.Greater(t, acked+refused, fewTopics/2)
}

// useFew is what the process does that may open few files.
func useFew(t *testing.T, dir string) {
	b, err := runnel.Open(dir, runnel.DefaultDurability(topic.OS))
	require.NoError(t, err)
	p, err := producer.New(b)
	require.NoError(t, err)
	for n := range fewTopics {
		name := fmt.Sprintf("topic-%d", n)
		err := b.CreateTopics(t.Context(), topic.Spec{Name: name})
		if err == nil {
			_, err = p.Send(t.Context(), record.Record{Topic: name, Value: []byte("a")})
		}
		if err == nil {
			fmt.Println("acknowledged", name)
			continue
		}
		require.NotEqual(t, fault.Unknown, fault.CodeOf(err), err)
		fmt.Println("refused", name, err)
	}
	require.NoError(t, p.Close())
	if err := b.Close(); err != nil && !errors.Is(err, fault.Storage) {
		require.NoError(t, err)
	}
}
