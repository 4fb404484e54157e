package runnel

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// ofKafka returns fault.UnsupportedFormat if a directory is one of Apache Kafka's,
// whose layout is much like ours, and whose catalogue is not: it belongs to that
// broker, and nobody else may change anything in it.
func ofKafka(dir string) error {
	properties := filepath.Join(dir, "meta.properties")
	catalogue := filepath.Join(dir, topic.ClusterMetadata+"-0")
	if isThere(filepath.Join(catalogue, "runnel-checkpoint")) || !isThere(properties) && !isThere(filepath.Join(catalogue, "quorum-state")) {
		return nil
	}
	err := fault.Newf(fault.UnsupportedFormat, "%s is a data directory of Apache Kafka%s, and stays as it is", dir, nodeOf(properties))
	return err.Try("reach its broker: kafka.Connect, or --at kafka://HOST:PORT; runnel dump shows what its files hold")
}

func isThere(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// nodeOf says which node a directory belongs to, if its properties tell.
func nodeOf(properties string) string {
	f, err := os.Open(properties)
	if err != nil {
		return ""
	}
	defer f.Close()
	var known []string
	for lines := bufio.NewScanner(io.LimitReader(f, metadataLimit)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), "=")
		switch name {
		case "cluster.id", "node.id", "broker.id":
			known = append(known, strings.ReplaceAll(name, ".id", "")+" "+strings.TrimSpace(value))
		}
	}
	if len(known) == 0 {
		return ""
	}
	return " (" + strings.Join(known, ", ") + ")"
}

// startsFile is where Kafka looks for the starts of logs that do not begin with a
// segment: its version, how many lines follow, and in each topic, partition and
// offset.
const startsFile = "log-start-offset-checkpoint"

// fileStarts writes the starts that DeleteRecords has set where Kafka looks for
// them. Nothing here reads them, so a file that cannot be written keeps nobody from
// closing.
func (b *Broker) fileStarts() {
	path := filepath.Join(b.dir, startsFile)
	before, err := vfs.ReadFile(b.fsys, path, maxStartsFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return
	}
	starts := parseStarts(before)
	for tp := range starts {
		if !b.has(tp) {
			delete(starts, tp)
		}
	}
	for _, v := range b.topics.Range { // those that were not opened start where they did
		t := v.(*localTopic)
		for n, p := range t.open() {
			tp := record.TopicPartition{Topic: t.name, Partition: int32(n)}
			delete(starts, tp)
			if !isBroken(p) && p.StartOffset() > p.FirstSegment() {
				starts[tp] = p.StartOffset()
			}
		}
	}
	var text strings.Builder
	fmt.Fprintf(&text, "0\n%d\n", len(starts))
	for _, tp := range slices.SortedFunc(maps.Keys(starts), record.TopicPartition.Compare) {
		fmt.Fprintf(&text, "%s %d %d\n", tp.Topic, tp.Partition, starts[tp])
	}
	if text.String() != string(before) && (len(starts) > 0 || before != nil) {
		_ = vfs.WriteFile(b.fsys, path, []byte(text.String()))
	}
}

// maxStartsFile is more than a file of that kind ever has.
const maxStartsFile = 64 << 20

// has reports whether there is such a partition.
func (b *Broker) has(tp record.TopicPartition) bool {
	t := b.catalogue.Topic(tp.Topic)
	return t != nil && int(tp.Partition) < len(t.Partitions)
}

// parseStarts reads such a file, as far as it is one.
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
