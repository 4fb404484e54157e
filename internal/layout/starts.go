package layout

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
)

// maxStartsFile bounds the size of a StartsFile that is read.
const maxStartsFile = 64 << 20

// ReadStarts reads the offsets at which logs start whose records were deleted: of a
// directory of Kafka's, too.
func ReadStarts(fsys vfs.FS, dir string) (map[record.TopicPartition]int64, error) {
	text, err := vfs.ReadFile(fsys, filepath.Join(dir, StartsFile), maxStartsFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return parseStarts(text), nil
}

// UpdateStarts writes the start offsets that DeleteRecords has set to the file in which
// Kafka looks for them. change gets the file's entries and updates them.
//
// The file has its version, the number of lines that follow, and in each line a topic,
// a partition and an offset.
func UpdateStarts(fsys vfs.FS, dir string, change func(starts map[record.TopicPartition]int64)) error {
	path := filepath.Join(dir, StartsFile)
	before, err := vfs.ReadFile(fsys, path, maxStartsFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	starts := parseStarts(before)
	change(starts)
	var text strings.Builder
	fmt.Fprintf(&text, "0\n%d\n", len(starts))
	for _, tp := range slices.SortedFunc(maps.Keys(starts), record.TopicPartition.Compare) {
		fmt.Fprintf(&text, "%s %d %d\n", tp.Topic, tp.Partition, starts[tp])
	}
	if text.String() == string(before) || len(starts) == 0 && before == nil {
		return nil
	}
	return vfs.WriteFile(fsys, path, []byte(text.String()))
}

// parseStarts parses a StartsFile. It ignores malformed lines.
func parseStarts(text []byte) map[record.TopicPartition]int64 {
	starts := map[record.TopicPartition]int64{}
	for line := range strings.Lines(string(text)) {
		var tp record.TopicPartition
		var offset int64
		if n, _ := fmt.Sscan(line, &tp.Topic, &tp.Partition, &offset); n == 3 && tp.Partition >= 0 {
			starts[tp] = offset
		}
	}
	return starts
}
