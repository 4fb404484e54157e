package layout

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/topic"
)

// OfKafka returns fault.UnsupportedFormat if a directory is one of Apache Kafka's. Its
// layout is similar, but its catalogue is another, and only a Kafka broker may change
// it.
func OfKafka(dir string) error {
	properties := filepath.Join(dir, "meta.properties")
	catalogue := filepath.Join(dir, topic.ClusterMetadata+"-0")
	if isThere(filepath.Join(catalogue, "runnel-checkpoint")) || !isThere(properties) && !isThere(filepath.Join(catalogue, "quorum-state")) {
		return nil
	}
	err := fault.Newf(fault.UnsupportedFormat, "%s is a data directory of Apache Kafka%s, and stays as it is", dir, nodeOf(properties))
	return err.Try("import it into another one: runnel import DIR --from it; or reach its broker: kafka.Connect, or --at kafka://HOST:PORT; runnel dump shows what its files hold")
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
	for lines := bufio.NewScanner(io.LimitReader(f, MetadataLimit)); lines.Scan(); {
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
