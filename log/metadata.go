package log

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
)

const metadataName = "partition.metadata"

// WriteTopicID writes a topic's ID into a partition's directory, which must
// exist, as Kafka does: so a directory can be told from one of a topic of the
// same name that was deleted.
func WriteTopicID(fsys vfs.FS, dir string, id [16]byte) error {
	content := fmt.Sprintf("version: 0\ntopic_id: %s\n", base64.RawURLEncoding.EncodeToString(id[:]))
	return vfs.WriteFile(fsys, filepath.Join(dir, metadataName), []byte(content))
}

// ReadTopicID returns the topic's ID in a partition's directory; ok is false
// when none was written. A file of another form is fault.UnsupportedFormat.
func ReadTopicID(fsys vfs.FS, dir string) (id [16]byte, ok bool, err error) {
	path := filepath.Join(dir, metadataName)
	b, err := vfs.ReadFile(fsys, path, 4096)
	if errors.Is(err, fs.ErrNotExist) {
		return id, false, nil
	}
	if err != nil {
		return id, false, err
	}
	encoded, found := strings.CutPrefix(strings.TrimSuffix(string(b), "\n"), "version: 0\ntopic_id: ")
	raw, err := base64.RawURLEncoding.DecodeString(encoded)
	if !found || err != nil || len(raw) != len(id) {
		return id, false, fault.Newf(fault.UnsupportedFormat, "%s is not a version 0 file with a topic's ID", path)
	}
	return [16]byte(raw), true, nil
}
