package layout

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// partition.metadata has the ID of the topic that a directory belongs to, as Kafka
// writes it, and an additional line, which Kafka ignores, with the partition's number
// and the CRC-32C of everything up to that number:
//
//	version: 0
//	topic_id: 3FlKrvG_R3mJwlMBnGHDQw
//	partition: 3 5537fb63
const (
	MetadataFile  = "partition.metadata"
	MetadataLimit = 4096 // more bytes than that are something else

	ReplicaFile = "runnel-replica" // in the directory of a partition's replica, of which others have copies
)

// Owner is the partition that a directory belongs to.
type Owner struct {
	topic.ID
	Partition int32 // -1: the directory does not say
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// MetadataText is what the file holds.
func MetadataText(id topic.ID, partition int32) []byte {
	text := fmt.Appendf(KafkaMetadata(id), "partition: %d", partition)
	return fmt.Appendf(text, " %08x\n", crc32.Checksum(text, castagnoli))
}

// KafkaMetadata is the file as Kafka writes it, without the additional line.
func KafkaMetadata(id topic.ID) []byte { return fmt.Appendf(nil, "version: 0\ntopic_id: %s\n", id) }

// Owns reports whether a directory belongs to a topic's partition, or may.
func (o Owner) Owns(id topic.ID, partition int32) bool {
	return o.ID == id && (o.Partition == partition || o.Partition < 0)
}

// Claim ensures that a partition's directory exists and belongs to the topic with this
// ID. It reports whether it created the directory, whose name is not durable yet then.
// A directory that belongs to another partition is fault.Storage, and is not changed.
// One that must exist, and is missing or was emptied, is a *fault.Corruption.
func Claim(fsys vfs.FS, dir string, tp record.TopicPartition, id topic.ID, must bool) (made bool, err error) {
	lack := func(found, hint string) error {
		return &fault.Corruption{
			Topic: tp.Topic, Partition: tp.Partition, Offset: -1, File: dir, Expected: "the partition's directory", Found: found, Hint: hint,
		}
	}
	switch e, err := fsys.Stat(dir); {
	case errors.Is(err, fs.ErrNotExist) && must:
		return false, lack("none", HintLost)
	case errors.Is(err, fs.ErrNotExist):
		made = true
	case err == nil && !e.Dir:
		return false, lack("a file", "move the file elsewhere, and restore the directory from a copy")
	}
	of, known, err := ReadOwner(fsys, dir, tp)
	switch {
	case err != nil:
		return false, err
	case known && of.Owns(id, tp.Partition):
		return false, nil
	case known:
		what, hint := of.Instead(tp, id)
		return false, fault.At(fault.Storage, tp.Topic, tp.Partition, -1).Detailf("%s %s", dir, what).Try(hint)
	}
	if must {
		switch empty, err := Emptied(fsys, dir); {
		case err != nil:
			return false, fault.At(fault.OfDisk(err), tp.Topic, tp.Partition, -1).Because(err)
		case empty:
			return false, lack("one without its files", HintLost)
		}
	}
	err = fsys.MkdirAll(dir)
	if err == nil {
		err = vfs.WriteFile(fsys, filepath.Join(dir, MetadataFile), MetadataText(id, tp.Partition))
	}
	if err != nil {
		return made, fault.At(fault.OfDisk(err), tp.Topic, tp.Partition, -1).Because(err)
	}
	return made, nil
}

// HintLost is the hint for a partition's directory that is missing.
const HintLost = "restore it from a copy; or close the broker and run `runnel repair --accept-loss`, which recreates the partition, empty"

// Instead describes the owner of a directory that should belong to a partition of a
// topic with this ID, and what to do.
func (o Owner) Instead(tp record.TopicPartition, id topic.ID) (what, hint string) {
	if o.ID != id {
		return fmt.Sprintf("belongs to topic ID %s, and topic %s has %s", o.ID, tp.Topic, id),
			"move that directory elsewhere, or restore the one that belongs here"
	}
	return fmt.Sprintf("is the directory of partition %d", o.Partition),
		fmt.Sprintf("give it its name back, %s, and this one its own directory", record.TopicPartition{Topic: tp.Topic, Partition: o.Partition})
}

// ReadOwner returns the owner of a partition's directory; known is false if the
// directory doesn't say.
func ReadOwner(fsys vfs.FS, dir string, tp record.TopicPartition) (o Owner, known bool, err error) {
	path := filepath.Join(dir, MetadataFile)
	o.Partition = -1
	text, err := vfs.ReadFile(fsys, path, MetadataLimit)
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
		Hint: "if the directory belongs to this partition, close the broker and run `runnel repair`, which rewrites the file",
	}
}

// parseMetadata parses partition.metadata. It ignores unknown lines, which a newer Kafka
// may write; the additional line must be sound.
func parseMetadata(text string) (o Owner, ok bool) {
	o.Partition = -1
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
			if err != nil || n < 0 || text != string(MetadataText(o.ID, n)) {
				return o, false
			}
			o.Partition = n
		}
	}
	return o, ok
}
