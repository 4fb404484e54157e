package quickstart_test

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/examples/quickstart/quickstart"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var topicID = regexp.MustCompile(`TopicId: \S{22}`)

// It prints what it should, and waits for nothing but one commit.
func TestQuickstart(t *testing.T) {
	want, err := os.ReadFile("testdata/output.txt")
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		broker, err := runnel.OpenMemory()
		require.NoError(t, err)
		var out strings.Builder
		began := time.Now()
		require.NoError(t, quickstart.Run(context.Background(), broker, strings.NewReader(quickstart.Text), &out))
		require.Less(t, time.Since(began), time.Second)
		require.Equal(t, string(want), topicID.ReplaceAllString(out.String(), "TopicId: …"))
		require.NoError(t, broker.Close())
	})
}

// It leaves nothing behind: the same broker can do it again.
func TestQuickstartCleansUp(t *testing.T) {
	broker, err := runnel.Open(t.TempDir())
	require.NoError(t, err)
	defer broker.Close()
	ctx := context.Background()
	for range 2 {
		var out strings.Builder
		require.NoError(t, quickstart.Run(ctx, broker, strings.NewReader("a b\nb\n"), &out))
		require.Contains(t, out.String(), "\n        2 b\n        1 a\n")
		topics, err := broker.Topics(ctx)
		require.NoError(t, err)
		require.Empty(t, topics)
		groups, err := broker.Groups(ctx)
		require.NoError(t, err)
		require.Empty(t, groups)
	}
}

func TestNoText(t *testing.T) {
	broker, err := runnel.OpenMemory()
	require.NoError(t, err)
	defer broker.Close()
	var out strings.Builder
	require.NoError(t, quickstart.Run(context.Background(), broker, strings.NewReader(""), &out))
}
