package runnel

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Kafka's suffixes for a partition's directory that is on its way out.
const (
	suffixDelete = "-delete" // of a deleted topic
	suffixStray  = "-stray"  // of no known topic
)

// maxFileName is the longest name of a directory.
const maxFileName = 255

// parseDir reads the name of a partition's directory: orders-3, or one that was
// set aside, orders-3.0123456789abcdef0123456789abcdef-delete.
func parseDir(name string) (tp record.TopicPartition, suffix string, ok bool) {
	for _, s := range []string{suffixDelete, suffixStray} {
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

// setAside renames a partition's directory, so that nothing takes it for the
// partition any more, and returns its new path. As Kafka does, it shortens a
// long topic's name to make room for the suffix.
func (b *Broker) setAside(path, suffix string) (string, error) {
	var unique [16]byte
	_, _ = rand.Read(unique[:]) // never fails
	name := filepath.Base(path)
	dash := strings.LastIndexByte(name, '-')
	tail := name[dash:] + "." + hex.EncodeToString(unique[:]) + suffix
	to := filepath.Join(filepath.Dir(path), name[:min(dash, maxFileName-len(tail))]+tail)
	return to, b.fsys.Rename(path, to)
}

// partition.metadata holds the ID of the topic that a directory belongs to, in
// Kafka's words:
//
//	version: 0
//	topic_id: 3FlKrvG_R3mJwlMBnGHDQw
const (
	metadataFile  = "partition.metadata"
	metadataLimit = 4096 // more bytes than that are something else
)

// metadataText is what the file holds.
func metadataText(id topic.ID) []byte { return []byte("version: 0\ntopic_id: " + id.String() + "\n") }

// claim makes sure that a partition's directory is there and belongs to the
// topic with this ID, and reports whether it had to be made; its name is not
// durable yet then. A directory that belongs to another topic is fault.Storage,
// and stays as it is. One that must be there, and is lost, is a *fault.Corruption.
func (b *Broker) claim(tp record.TopicPartition, id topic.ID, lost bool) (made bool, err error) {
	if err := b.lock.keeps(); err != nil {
		return false, err
	}
	dir := b.path(tp)
	lack := &fault.Corruption{
		Topic: tp.Topic, Partition: tp.Partition, Offset: -1, File: dir, Expected: "the partition's directory", Found: "none",
		Hint: "restore it from a copy; or close the broker and run `runnel repair --accept-loss`, which begins the partition anew, empty",
	}
	switch e, err := b.fsys.Stat(dir); {
	case errors.Is(err, fs.ErrNotExist) && lost:
		return false, lack
	case errors.Is(err, fs.ErrNotExist):
		made = true
	case err == nil && !e.Dir:
		lack.Found, lack.Hint = "a file", "move the file elsewhere, and restore the directory from a copy"
		return false, lack
	}
	owner, known, err := readOwner(b.fsys, b.path(tp), tp)
	switch {
	case err != nil:
		return false, err
	case known && owner == id:
		return false, nil
	case known:
		return false, fault.At(fault.Storage, tp.Topic, tp.Partition, -1).
			Detailf("%s belongs to topic ID %s, and topic %s has %s", dir, owner, tp.Topic, id).
			Try("move that directory elsewhere, or restore the one that belongs here")
	}
	err = b.fsys.MkdirAll(dir)
	if err == nil {
		err = vfs.WriteFile(b.fsys, filepath.Join(dir, metadataFile), metadataText(id))
	}
	if err != nil {
		return made, fault.At(fault.OfDisk(err), tp.Topic, tp.Partition, -1).Because(err)
	}
	return made, nil
}

// readOwner returns the ID of the topic that a partition's directory belongs to,
// and whether it says so.
func readOwner(fsys vfs.FS, dir string, tp record.TopicPartition) (id topic.ID, known bool, err error) {
	path := filepath.Join(dir, metadataFile)
	text, err := vfs.ReadFile(fsys, path, metadataLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return id, false, nil
	}
	if err != nil {
		return id, false, fault.At(fault.OfDisk(err), tp.Topic, tp.Partition, -1).Because(err)
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "topic_id" {
			if id, err := topic.ParseID(strings.TrimSpace(value)); err == nil {
				return id, true, nil
			}
		}
	}
	return id, false, &fault.Corruption{
		Topic: tp.Topic, Partition: tp.Partition, Offset: -1, File: path,
		Expected: "version: 0 and topic_id:", Found: strconv.Quote(string(text)),
		Hint: "if the directory belongs to this topic, remove the file: it will be written again",
	}
}

// ofRemoved reports whether a partition's directory belongs to a topic that was
// deleted.
func (b *Broker) ofRemoved(tp record.TopicPartition) bool {
	id, known, err := readOwner(b.fsys, b.path(tp), tp)
	if err != nil || !known {
		return false
	}
	_, removed := b.catalogue.Removed(id)
	return removed
}

// clear puts a directory out of the way that has the name of a partition about
// to be created.
func (b *Broker) clear(tp record.TopicPartition) error {
	path := b.path(tp)
	if _, err := b.fsys.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := b.setAside(path, suffixStray); err != nil {
		return fault.At(fault.OfDisk(err), tp.Topic, tp.Partition, -1).Because(err)
	}
	return nil
}
