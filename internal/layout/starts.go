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

// maxStartsFile is more than a StartsFile ever has.
const maxStartsFile = 64 << 20

// UpdateStarts writes the starts that DeleteRecords has set where Kafka looks for
// them. change gets those that the file has, to make them what it shall have.
//
// The file has its version, how many lines follow, and in each topic, partition
// and offset. Nothing here reads it but this.
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

// parseStarts reads a StartsFile, as far as it is one.
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
