package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzArguments calls the program with any arguments, in a directory of its own,
// as somebody who has changed his mind already: whatever waits ends at once.
// It ends by itself, without a panic, says something where it fails, and touches
// nothing but its data directory.
func FuzzArguments(f *testing.F) {
	for _, line := range []string{
		"topic|create|orders", "topic|create|orders|--partitions|-1", "topic|create|orders|--partitions|99999999999", "topic|create|a/b|..|",
		"topic|create|orders|--config|retention.ms=x", "topic|create|orders|--config|=", "topic|list|--json", "topic|describe|nothing", "topic|delete|orders|orders|--yes",
		"produce|orders|--key-separator|:", "produce|orders|--partition|2147483648", "consume|orders|--from|-1", "consume|orders|--from|99999999999999999999",
		"consume|orders|--group||--limit|-5", "group|list", "group|describe|g", "streams|describe", "dump|missing.log", "dump|.", "dump|--offset|x", "clean|--yes", "--json|--table|topic|list",
		"kafka-topics.sh|--create|--topic|x", "topic|--alter|--topic|x|--partitions|4", "group|reset|g|--to|start|--topic|orders:9-1", "group|reset|g|--shift|+9223372036854775807",
		"topic|alter|orders|-c|retention.ms=1|--unset|x", "topic|delete-records|orders|--before|end|--partition|0-99999999", "topic|add-partitions|orders|--total|2147483648",
		"produce|orders|--from-json", "version|--json", "help|topic|x", "__complete|consume|", "completion|bash",
		"--help|--version", "nonsense", "topic|nonsense|-x", "-", "|", "--at", "--=x", "topic|create|\x00|\xff",
	} {
		f.Add(line)
	}
	null, err := os.Open(os.DevNull)
	require.NoError(f, err)
	f.Cleanup(func() { _ = null.Close() })
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	root := f.TempDir()
	f.Chdir(root)
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, "|")
		if slices.Contains(args, "--") || slices.ContainsFunc(args, func(a string) bool { return strings.ContainsAny(a, "/") && !strings.HasPrefix(a, "a/b") }) {
			return // what follows would be no flags; and files elsewhere are not ours
		}
		var errs strings.Builder
		s := &shell{in: null, out: io.Discard, errs: &errs}
		cmd := newRoot(s)
		data := filepath.Join(root, "data")
		cmd.SetArgs(append(args, "--at", data))
		err := cmd.ExecuteContext(cancelled)
		if err != nil {
			require.NotEmpty(t, err.Error())
			s.explain(inOurWords(args, err))
			require.NotEmpty(t, errs.String())
			require.False(t, errors.As(err, new(usageError)) && strings.Contains(errs.String(), "goroutine"))
		}
		require.NoError(t, os.RemoveAll(data))
		left, err := os.ReadDir(root)
		require.NoError(t, err)
		require.Empty(t, left)
	})
}
