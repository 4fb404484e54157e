package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const sampleReport = `13 events published

events by topic
      5 activity-views
      4 activity-errors
      3 activity-searches
      1 activity-orders

searched for
      2 blue kettle
      1 teapot

visitors with two errors or more
      3 198.51.100.7
`

func TestSample(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), nil, &out))
	require.Equal(t, sampleReport, out.String())
}

func TestReadersSeeOnlyWhatIsNew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "site")
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"--at", dir}, &out))
	require.Equal(t, sampleReport, out.String())

	file := filepath.Join(t.TempDir(), "access.log")
	line := `192.0.2.99 - anna [12/Oct/2026:09:00:00 +0000] "GET /search?q=a%20cup HTTP/1.1" 200 10 "-" "curl/8"` + "\n"
	require.NoError(t, os.WriteFile(file, []byte(line), 0o644))
	out.Reset()
	require.NoError(t, run(t.Context(), []string{"--at", dir, file}, &out))
	require.Equal(t, strings.TrimPrefix(`
1 events published

events by topic
      1 activity-searches

searched for
      1 a cup

visitors with two errors or more
`, "\n"), out.String())
}

func TestBadInput(t *testing.T) {
	file := filepath.Join(t.TempDir(), "access.log")
	require.NoError(t, os.WriteFile(file, []byte("hello\n"), 0o644))
	require.ErrorContains(t, run(t.Context(), []string{file}, &bytes.Buffer{}), "no line of an access log")
	require.Error(t, run(t.Context(), []string{filepath.Join(t.TempDir(), "none")}, &bytes.Buffer{}))
}
