// Package kafkadump holds what we write against what Kafka's own tool, kafka-dump-log, reads in it.
//
// What the tool has accepted is kept in testdata, with what it printed, and tests compare our
// bytes with that: they need no Java. tools/kafkadump runs the tests with a real Kafka. Then
// they write these files again from what the tool prints, and the tool decides.
package kafkadump

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/record"
)

// jars names the environment variable with the directory of Kafka's jars.
const jars = "RUNNEL_KAFKA_JARS"

// Record is a record of an internal topic. A nil Value is a tombstone.
type Record struct {
	Name       string // what the file calls it
	Key, Value []byte
}

// Records compares records with those in a golden file. Kafka's tool read these with a decoder, which
// is one of its options.
func Records(t *testing.T, golden, decoder string, records []Record) {
	t.Helper()
	var printed []string
	if os.Getenv(jars) != "" {
		printed = printedOf(t, decoder, records)
	} else {
		for _, section := range sections(t, golden) {
			printed = append(printed, section[len(section)-1])
		}
		require.Len(t, printed, len(records), golden)
	}
	var out strings.Builder
	fmt.Fprintf(&out, "# Records that this package writes, and below each what kafka-dump-log %s reads in it. Made by tools/kafkadump.\n", decoder)
	for i, r := range records {
		value := "null"
		if r.Value != nil {
			value = hex.EncodeToString(r.Value)
		}
		fmt.Fprintf(&out, "\n%s\n%x\n%s\n%s\n", r.Name, r.Key, value, printed[i])
	}
	settle(t, golden, out.String())
}

// Written returns the records of a file with what Kafka itself has written. The name of each is what
// its tool reads in it.
func Written(t *testing.T, path string) (records []Record) {
	t.Helper()
	for _, lines := range sections(t, path) {
		require.Len(t, lines, 3)
		r := Record{Name: lines[2]}
		var err error
		r.Key, err = hex.DecodeString(lines[0])
		require.NoError(t, err)
		if lines[1] != "null" {
			r.Value, err = hex.DecodeString(lines[1])
			require.NoError(t, err)
		}
		records = append(records, r)
	}
	return records
}

// printedOf returns what the tool prints of each record.
func printedOf(t *testing.T, decoder string, records []Record) (printed []string) {
	t.Helper()
	builder := record.NewBuilder(1 << 30)
	for _, r := range records {
		require.True(t, builder.Add(1000, r.Key, r.Value, nil))
	}
	b, err := builder.Batch(nil, record.None, 0)
	require.NoError(t, err)
	record.Stamp(b.Bytes, 0, 0)
	path := filepath.Join(t.TempDir(), "00000000000000000000.log")
	require.NoError(t, os.WriteFile(path, b.Bytes, 0o600))
	for line := range strings.Lines(dump(t, decoder, "--skip-record-metadata", "--files", path)) {
		if _, what, ok := strings.Cut(strings.TrimSpace(line), "key: "); ok {
			printed = append(printed, "key: "+what)
		}
	}
	require.Len(t, printed, len(records))
	for i, what := range printed {
		key, value, ok := strings.Cut(what, " payload: ")
		require.True(t, ok && isDecoded(key) && (records[i].Value == nil || isDecoded(value)), "%s: %s", records[i].Name, what)
	}
	return printed
}

// isDecoded reports whether the tool knew the type and the version of a key or a value.
func isDecoded(text string) bool {
	return strings.Contains(text, `"data":`) && !strings.Contains(text, `"unknown"`)
}

// Files compares files of a partition's directory with those in a golden file. Kafka's tool read each of
// them, logs with all their records.
func Files(t *testing.T, golden string, files map[string][]byte) {
	t.Helper()
	printed := map[string][]string{}
	if os.Getenv(jars) != "" {
		dir := t.TempDir()
		for name, b := range files {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
		}
		for name := range files {
			said := dump(t, "--print-data-log", "--files", filepath.Join(dir, name))
			for line := range strings.Lines(strings.ReplaceAll(said, dir+"/", "")) {
				printed[name] = append(printed[name], strings.TrimSpace(line))
			}
		}
	} else {
		for _, section := range sections(t, golden) {
			at := slices.Index(section, "reads")
			require.Positive(t, at, "%s: %s", golden, section[0])
			printed[section[0]] = section[at+1:]
		}
	}
	var out strings.Builder
	out.WriteString("# Files that this package writes, and below each what kafka-dump-log reads in it. Made by tools/kafkadump.\n")
	for _, name := range slices.Sorted(keys(files)) {
		fmt.Fprintf(&out, "\n%s\n", name)
		for line := range slices.Chunk(files[name], 64) {
			fmt.Fprintf(&out, "%x\n", line)
		}
		fmt.Fprintf(&out, "reads\n%s\n", strings.Join(printed[name], "\n"))
	}
	settle(t, golden, out.String())
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// Directory has Kafka's tool read every file in a data directory that it knows. Without a Kafka it
// does nothing.
func Directory(t *testing.T, dir string) {
	t.Helper()
	if os.Getenv(jars) == "" {
		return
	}
	decoders := map[string]string{
		"__consumer_offsets": "--offsets-decoder", "__transaction_state": "--transaction-log-decoder",
		"__share_group_state": "--share-group-state-decoder", "__cluster_metadata": "--cluster-metadata-decoder",
	}
	files := map[string][]string{} // by the decoder
	require.NoError(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		switch filepath.Ext(path) {
		case ".log", ".index", ".timeindex", ".txnindex", ".snapshot":
			topic := filepath.Base(filepath.Dir(path))
			how := "--print-data-log"
			if d, ok := decoders[topic[:strings.LastIndexByte(topic, '-')]]; ok && filepath.Ext(path) == ".log" {
				how = d
			}
			files[how] = append(files[how], path)
		}
		return err
	}))
	require.Len(t, files, 1+len(decoders), "a kind of log is missing")
	for how, paths := range files {
		said := dump(t, how, "--deep-iteration", "--files", strings.Join(paths, ","))
		require.Equal(t, len(paths), strings.Count(said, "Dumping "))
		for line := range strings.Lines(said) {
			if _, what, ok := strings.Cut(line, " key: "); ok && how != "--print-data-log" && how != "--cluster-metadata-decoder" {
				key, value, _ := strings.Cut(what, " payload: ")
				require.True(t, isDecoded(key) && (strings.HasPrefix(value, "<") || isDecoded(value)), line)
			}
		}
	}
}

// dump runs the tool, which must find nothing wrong.
func dump(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	java := exec.CommandContext(ctx, "java", append([]string{
		"-Xmx512m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
		"-cp", filepath.Join(os.Getenv(jars), "*"), "org.apache.kafka.tools.DumpLogSegments",
	}, args...)...)
	out, err := java.CombinedOutput()
	said := string(out)
	require.NoError(t, err, said)
	for _, wrong := range []string{"xception", "ismatch", "isvalid: false", "orrupt", "ould not", "Found ", "rror"} {
		require.NotContains(t, said, wrong)
	}
	return said
}

// sections returns the lines of each section of a golden file, which begin with its name. Empty
// lines lie between sections.
func sections(t *testing.T, golden string) (all [][]string) {
	t.Helper()
	b, err := os.ReadFile(golden)
	if errors.Is(err, os.ErrNotExist) {
		require.FailNow(t, "no "+golden, "tools/kafkadump makes it")
	}
	require.NoError(t, err)
	for _, text := range strings.Split(strings.TrimSpace(string(b)), "\n\n")[1:] {
		all = append(all, strings.Split(text, "\n"))
	}
	return all
}

// settle writes a golden file where Kafka has spoken, and compares with it otherwise.
func settle(t *testing.T, golden, text string) {
	t.Helper()
	if os.Getenv(jars) != "" {
		require.NoError(t, os.WriteFile(golden, []byte(text), 0o600))
		return
	}
	b, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(b), text, "other bytes than those which Kafka's tool has read: run tools/kafkadump")
}
