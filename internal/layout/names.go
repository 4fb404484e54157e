package layout

import (
	"crypto/rand"
	"encoding/hex"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Files of a data directory itself, beside the directories of its partitions.
const (
	// LockFile is Kafka's name for the file that keeps a directory to one process.
	LockFile = ".lock"

	// CleanFile is Kafka's name for the mark that a clean close leaves behind.
	CleanFile = ".kafka_cleanshutdown"

	// RestoringFile marks a data directory to which a backup is being restored: it is
	// incomplete.
	RestoringFile = ".runnel_restoring"

	// ImportingFile marks a data directory to which directories of Kafka's are being
	// imported, and says which: it is not complete.
	ImportingFile = ".runnel_importing"

	// ReserveFile occupies some disk space, which is freed so that topics and records
	// can be deleted on a full disk.
	ReserveFile = ".runnel_reserve"

	// StartsFile has the start offsets of logs that start within a segment, for Kafka.
	StartsFile = "log-start-offset-checkpoint"
)

// FileMode is the default mode of the files in a data directory: only the program's
// user can read them.
const FileMode fs.FileMode = 0o600

// Catalogue is the partition that holds the catalogue.
var Catalogue = record.TopicPartition{Topic: topic.ClusterMetadata, Partition: 0}

// Has reports whether a directory's listing has a name.
func Has(entries []vfs.Entry, name string) bool {
	return slices.ContainsFunc(entries, func(e vfs.Entry) bool { return e.Name == name })
}

// Unfinished says what a data directory holds that was not completely written, and what
// to do; empty if its listing has no file that marks that. After a crash such a file may
// have the name under which vfs.WriteFile begins it.
func Unfinished(entries []vfs.Entry) (what, hint string) {
	for _, e := range entries {
		switch strings.TrimSuffix(e.Name, ".tmp") {
		case RestoringFile:
			return "part of a backup that was not completely restored", "delete the directory, and restore the backup again"
		case ImportingFile:
			return "part of an import that is not complete", "import again from the same directories, which goes on, or delete the directory"
		}
	}
	return "", ""
}

// Kafka's suffixes for a partition's directory that was set aside.
const (
	SuffixDelete = "-delete" // of a deleted topic
	SuffixStray  = "-stray"  // of no known topic
)

// maxFileName is the longest name of a directory.
const maxFileName = 255

// Parse reads the name of a partition's directory: orders-3, or one that was
// set aside, orders-3.0123456789abcdef0123456789abcdef-delete.
func Parse(name string) (tp record.TopicPartition, suffix string, ok bool) {
	for _, s := range []string{SuffixDelete, SuffixStray} {
		rest, found := strings.CutSuffix(name, s)
		dot := strings.LastIndexByte(rest, '.')
		if !found || dot < 0 {
			continue
		}
		if _, err := hex.DecodeString(rest[dot+1:]); err != nil || len(rest)-dot-1 != 32 {
			continue
		}
		name, suffix = rest[:dot], s
		break
	}
	dash := strings.LastIndexByte(name, '-')
	if dash < 0 {
		return tp, "", false
	}
	n, err := strconv.ParseInt(name[dash+1:], 10, 32)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != name[dash+1:] || topic.ValidateName(name[:dash]) != nil {
		return tp, "", false
	}
	return record.TopicPartition{Topic: name[:dash], Partition: int32(n)}, suffix, true
}

// SetAside renames a partition's directory, so that it is no longer taken for the
// partition, and returns its new path. Like Kafka, it shortens a long topic's name to
// make room for the suffix.
func SetAside(fsys vfs.FS, path, suffix string) (string, error) {
	var unique [16]byte
	_, _ = rand.Read(unique[:]) // never fails
	name := filepath.Base(path)
	dash := strings.LastIndexByte(name, '-')
	tail := name[dash:] + "." + hex.EncodeToString(unique[:]) + suffix
	to := filepath.Join(filepath.Dir(path), name[:min(dash, maxFileName-len(tail))]+tail)
	return to, fsys.Rename(path, to)
}
