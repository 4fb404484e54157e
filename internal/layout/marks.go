package layout

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/topic"
)

// SyncNames makes the names of the data directory, of its parents and of its files
// durable. The process that created them may have crashed before it did so.
func SyncNames(fsys vfs.FS, data string) error {
	for dir := data; ; {
		err := fsys.SyncDir(dir)
		if dir == data && err != nil {
			return fault.Newf(fault.OfDisk(err), "data directory %s", data).Because(err)
		}
		above := filepath.Dir(dir)
		if above == dir || err != nil {
			return nil // one above that may not be opened was there before
		}
		dir = above
	}
}

// Emptied reports whether a log's directory has neither segments nor snapshots.
func Emptied(fsys vfs.FS, dir string) (bool, error) {
	files, err := fsys.ReadDir(dir)
	return !slices.ContainsFunc(files, func(e vfs.Entry) bool {
		switch filepath.Ext(e.Name) {
		case ".log", ".checkpoint":
			return true
		}
		return false
	}), err
}

// CatalogueLost describes what there is instead of the catalogue in a directory that
// must have one, because it was closed or has partitions. It returns "" if the
// catalogue exists, or the directory is new.
func CatalogueLost(fsys vfs.FS, dir string, entries []vfs.Entry) (found string, err error) {
	path := filepath.Join(dir, Catalogue.String())
	switch empty, err := Emptied(fsys, path); {
	case errors.Is(err, fs.ErrNotExist):
		found = "none"
	case err != nil:
		return "", fault.At(fault.OfDisk(err), topic.ClusterMetadata, 0, -1).Because(err)
	case !empty:
		return "", nil
	default:
		found = "a directory without its files"
	}
	if Has(entries, CleanFile) {
		return found, nil
	}
	for _, e := range entries {
		tp, suffix, ok := Parse(e.Name)
		if !ok || !e.Dir || suffix != "" {
			continue
		}
		// A directory of such a name may be anything.
		if _, err := fsys.Stat(filepath.Join(dir, tp.String(), MetadataFile)); err == nil {
			return found, nil
		}
	}
	return "", nil
}

const (
	ExpectedCatalogue = "the catalogue, which knows the topics"
	HintCatalogue     = "restore it from a copy; or run `runnel repair --accept-loss`, which makes one of what the partitions' directories say: the topics' settings are lost. " +
		"If the directory was emptied on purpose, delete it"
)
