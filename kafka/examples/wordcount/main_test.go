package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"

	"github.com/runnel-go/runnel/kafka"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWordCount(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	file := filepath.Join(t.TempDir(), "text")
	require.NoError(t, os.WriteFile(file, []byte("All streams lead to Kafka\nhello kafka streams\n这是第一条消息\n"), 0o600))
	seeds := kafka.Scheme + cluster.ListenAddrs()[0]
	const want = `      1 all
      1 hello
      2 kafka
      1 lead
      2 streams
      1 to
      1 这是第一条消息
`
	// The second time everything is counted already.
	for range 2 {
		var counts strings.Builder
		require.NoError(t, run(t.Context(), []string{seeds, file}, nil, &counts, io.Discard))
		require.Equal(t, want, counts.String())
	}
	require.ErrorContains(t, run(t.Context(), nil, nil, nil, nil), "usage: wordcount")
}
