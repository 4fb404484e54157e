package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

// The names in a data directory: Runnel's files and those of Kafka, whose
// layout it uses; and the files of partitions, including those that crashes and
// repairs leave.
var (
	topFile       = regexp.MustCompile(`^(\.lock|\.kafka_cleanshutdown|\.runnel\.sock|\.runnel_reserve|\.runnel_restoring(\.tmp)?|(meta\.properties|bootstrap\.checkpoint|(recovery-point-offset|replication-offset|log-start-offset|cleaner-offset)-checkpoint)(\.tmp)?)$`)
	partitionDir  = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}-[0-9]{1,10}(\.[0-9a-f]{32}-(delete|stray))?$`)
	partitionFile = regexp.MustCompile(`^([0-9]{20}\.(log|index|timeindex|txnindex|snapshot)|[0-9]{20}-[0-9]{20}\.keyindex|[0-9]{20}-[0-9]{10}\.checkpoint|runnel-(checkpoint|swap|repair)|leader-epoch-checkpoint|partition\.metadata|quorum-state)(\.(tmp|cleaned|swap|deleted|repaired|damaged-[0-9TZ]+)){0,2}$`)
)

// foreign returns the paths in a data directory that are not Runnel's: files
// with other names, directories that are not a partition's, and links.
func foreign(dir string) (paths []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case e.IsDir() && partitionDir.MatchString(e.Name()):
			files, err := os.ReadDir(path)
			if errors.Is(err, fs.ErrNotExist) {
				continue // a program has just deleted its topic
			}
			if err != nil {
				return nil, err
			}
			for _, f := range files {
				if !f.Type().IsRegular() || !partitionFile.MatchString(f.Name()) {
					paths = append(paths, filepath.Join(path, f.Name()))
				}
			}
		case e.Type()&^fs.ModeSocket != 0 || !topFile.MatchString(e.Name()):
			paths = append(paths, path)
		}
	}
	return paths, nil
}
