package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/examples/quickstart/quickstart"
	"github.com/runnel-go/runnel/kafka"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const text = "All streams lead to Kafka\nhello kafka streams\n这是第一条消息\n"

// The quickstart says the same on a Kafka cluster as in the process, but for
// the topic's ID and the number of its only broker.
func TestQuickstart(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	file := filepath.Join(t.TempDir(), "text")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	var onKafka strings.Builder
	require.NoError(t, run(t.Context(), []string{kafka.Scheme + cluster.ListenAddrs()[0], file}, &onKafka))

	broker, err := runnel.OpenMemory()
	require.NoError(t, err)
	defer broker.Close()
	var inProcess strings.Builder
	require.NoError(t, quickstart.Run(t.Context(), broker, strings.NewReader(text), &inProcess))
	require.Equal(t, same(inProcess.String()), same(onKafka.String()))
	require.Contains(t, onKafka.String(), "kafka")
}

// same leaves out the description of the topic.
func same(out string) []string {
	var lines []string
	for line := range strings.Lines(out) {
		if !strings.Contains(line, "TopicId: ") && !strings.Contains(line, "Isr: ") {
			lines = append(lines, line)
		}
	}
	return lines
}
