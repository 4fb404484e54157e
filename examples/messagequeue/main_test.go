package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// directory returns a directory with files, and what sha256sum says of them.
func directory(t *testing.T) (dir, want string) {
	dir = t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "sub"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, ".git"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".git", "config"), nil, 0o644))
	var lines strings.Builder
	for i := range 50 {
		name := fmt.Sprintf("sub/file-%02d", i)
		text := []byte(strings.Repeat(name, i*100))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), text, 0o644))
		fmt.Fprintf(&lines, "%x  %s\n", sha256.Sum256(text), name)
	}
	return dir, lines.String()
}

func TestHashesADirectory(t *testing.T) {
	dir, want := directory(t)
	for _, workers := range []string{"1", "3"} {
		var stdout, stderr bytes.Buffer
		require.NoError(t, run(t.Context(), []string{"--workers", workers, dir}, &stdout, &stderr))
		require.Equal(t, want, stdout.String())
		files := 0 // the distribution is random
		for _, m := range did.FindAllStringSubmatch(stderr.String(), -1) {
			n, err := strconv.Atoi(m[1])
			require.NoError(t, err)
			files += n
		}
		require.Equal(t, 50, files, stderr.String())
	}
}

var did = regexp.MustCompile(`worker-[1-3] +(\d+) files`)

func TestWhatCannotBeReadIsGivenUp(t *testing.T) {
	dir, want := directory(t)
	require.NoError(t, os.Symlink("nowhere", filepath.Join(dir, "dangling")))
	var stdout, stderr bytes.Buffer
	err := run(t.Context(), []string{dir}, &stdout, &stderr)
	require.EqualError(t, err, "1 of 51 files could not be read")
	require.Equal(t, want, stdout.String())
	require.Contains(t, stderr.String(), "gave up after 3 attempts")
	require.Contains(t, stderr.String(), "dangling")
}

func TestBadArguments(t *testing.T) {
	for _, args := range [][]string{{"--workers", "0"}, {"a", "b"}, {"--colour"}, {filepath.Join(t.TempDir(), "nothing")}} {
		require.Error(t, run(t.Context(), args, new(bytes.Buffer), new(bytes.Buffer)), args)
	}
}
