package runnel

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"
	"slices"
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
// Kafka's words, and in a line of our own, which Kafka passes over, which of the
// topic's partitions it is, with the CRC-32C of everything up to that number:
//
//	version: 0
//	topic_id: 3FlKrvG_R3mJwlMBnGHDQw
//	partition: 3 5537fb63
const (
	metadataFile  = "partition.metadata"
	metadataLimit = 4096 // more bytes than that are something else
)

// owner is whose a partition's directory is.
type owner struct {
	topic.ID
	partition int32 // -1: it does not say
}

// metadataText is what the file holds.
func metadataText(id topic.ID, partition int32) []byte {
	text := fmt.Appendf(kafkaMetadata(id), "partition: %d", partition)
	return fmt.Appendf(text, " %08x\n", crc32.Checksum(text, castagnoli))
}

// kafkaMetadata is what Kafka writes, without our line.
func kafkaMetadata(id topic.ID) []byte { return fmt.Appendf(nil, "version: 0\ntopic_id: %s\n", id) }

// owns reports whether a directory is that of a topic's partition, as far as it
// says.
func (o owner) owns(id topic.ID, partition int32) bool {
	return o.ID == id && (o.partition == partition || o.partition < 0)
}

// claim makes sure that a partition's directory is there and belongs to the
// topic with this ID, and reports whether it had to be made; its name is not
// durable yet then. A directory that belongs to another partition is
// fault.Storage, and stays as it is. One that must be there, and is lost or was
// emptied, is a *fault.Corruption.
func (b *Broker) claim(tp record.TopicPartition, id topic.ID, must bool) (made bool, err error) {
	if err := b.lock.keeps(); err != nil {
		return false, err
	}
	dir := b.path(tp)
	lack := func(found, hint string) error {
		return &fault.Corruption{
			Topic: tp.Topic, Partition: tp.Partition, Offset: -1, File: dir, Expected: "the partition's directory", Found: found, Hint: hint,
		}
	}
	switch e, err := b.fsys.Stat(dir); {
	case errors.Is(err, fs.ErrNotExist) && must:
		return false, lack("none", hintLost)
	case errors.Is(err, fs.ErrNotExist):
		made = true
	case err == nil && !e.Dir:
		return false, lack("a file", "move the file elsewhere, and restore the directory from a copy")
	}
	of, known, err := readOwner(b.fsys, dir, tp)
	switch {
	case err != nil:
		return false, err
	case known && of.owns(id, tp.Partition):
		return false, nil
	case known:
		what, hint := of.instead(tp, id)
		return false, fault.At(fault.Storage, tp.Topic, tp.Partition, -1).Detailf("%s %s", dir, what).Try(hint)
	}
	if must {
		switch empty, err := emptied(b.fsys, dir); {
		case err != nil:
			return false, fault.At(fault.OfDisk(err), tp.Topic, tp.Partition, -1).Because(err)
		case empty:
			return false, lack("one without its files", hintLost)
		}
	}
	err = b.fsys.MkdirAll(dir)
	if err == nil {
		err = vfs.WriteFile(b.fsys, filepath.Join(dir, metadataFile), metadataText(id, tp.Partition))
	}
	if err != nil {
		return made, fault.At(fault.OfDisk(err), tp.Topic, tp.Partition, -1).Because(err)
	}
	return made, nil
}

// hintLost is what to do about a partition's directory that is lost.
const hintLost = "restore it from a copy; or close the broker and run `runnel repair --accept-loss`, which begins the partition anew, empty"

// instead says whose a directory is that should be that of a partition of a topic
// with this ID, and what to do.
func (o owner) instead(tp record.TopicPartition, id topic.ID) (what, hint string) {
	if o.ID != id {
		return fmt.Sprintf("belongs to topic ID %s, and topic %s has %s", o.ID, tp.Topic, id),
			"move that directory elsewhere, or restore the one that belongs here"
	}
	return fmt.Sprintf("is the directory of partition %d", o.partition),
		fmt.Sprintf("give it its name back, %s, and this one its own directory", record.TopicPartition{Topic: tp.Topic, Partition: o.partition})
}

// readOwner returns whose a partition's directory is, and whether it says so.
func readOwner(fsys vfs.FS, dir string, tp record.TopicPartition) (o owner, known bool, err error) {
	path := filepath.Join(dir, metadataFile)
	o.partition = -1
	text, err := vfs.ReadFile(fsys, path, metadataLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return o, false, nil
	}
	if err != nil {
		return o, false, fault.At(fault.OfDisk(err), tp.Topic, tp.Partition, -1).Because(err)
	}
	if o, ok := parseMetadata(string(text)); ok {
		return o, true, nil
	}
	return o, false, &fault.Corruption{
		Topic: tp.Topic, Partition: tp.Partition, Offset: -1, File: path,
		Expected: "version: 0 and topic_id:", Found: strconv.Quote(string(text)),
		Hint: "if the directory belongs to this partition, close the broker and run `runnel repair`, which writes the file anew",
	}
}

// parseMetadata reads partition.metadata. Lines that it does not know may be of a
// newer Kafka; ours must be whole.
func parseMetadata(text string) (o owner, ok bool) {
	o.partition = -1
	for line := range strings.Lines(text) {
		switch name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) {
		case "topic_id":
			id, err := topic.ParseID(strings.TrimSpace(value))
			if err != nil {
				return o, false
			}
			o.ID, ok = id, true
		case "partition":
			var n int32
			_, err := fmt.Sscan(value, &n)
			if err != nil || n < 0 || text != string(metadataText(o.ID, n)) {
				return o, false
			}
			o.partition = n
		}
	}
	return o, ok
}

// emptied reports whether a log's directory has neither segments nor snapshots.
func emptied(fsys vfs.FS, dir string) (bool, error) {
	files, err := fsys.ReadDir(dir)
	return !slices.ContainsFunc(files, func(e vfs.Entry) bool {
		switch filepath.Ext(e.Name) {
		case ".log", ".checkpoint":
			return true
		}
		return false
	}), err
}

// catalogueLost says what is there instead of the catalogue in a directory that
// once had one, for it was closed, or has partitions; nothing where all is well.
func catalogueLost(fsys vfs.FS, dir string, entries []vfs.Entry) (found string, err error) {
	path := filepath.Join(dir, metadataPartition.String())
	switch empty, err := emptied(fsys, path); {
	case errors.Is(err, fs.ErrNotExist):
		found = "none"
	case err != nil:
		return "", fault.At(fault.OfDisk(err), topic.ClusterMetadata, 0, -1).Because(err)
	case !empty:
		return "", nil
	default:
		found = "a directory without its files"
	}
	if hasEntry(entries, cleanFile) {
		return found, nil
	}
	for _, e := range entries {
		tp, suffix, ok := parseDir(e.Name)
		if !ok || !e.Dir || suffix != "" {
			continue
		}
		// A directory of such a name may be anything.
		if _, err := fsys.Stat(filepath.Join(dir, tp.String(), metadataFile)); err == nil {
			return found, nil
		}
	}
	return "", nil
}

const (
	expectedCatalogue = "the catalogue, which knows the topics"
	hintCatalogue     = "restore it from a copy; or run `runnel repair --accept-loss`, which makes one of what the partitions' directories say: the topics' settings are lost. " +
		"If the directory was emptied on purpose, delete it"
)

// ofRemoved reports whether a partition's directory belongs to a topic that was
// deleted.
func (b *Broker) ofRemoved(tp record.TopicPartition) bool {
	of, known, err := readOwner(b.fsys, b.path(tp), tp)
	if err != nil || !known {
		return false
	}
	_, removed := b.catalogue.Removed(of.ID)
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
