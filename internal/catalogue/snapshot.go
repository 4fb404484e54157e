package catalogue

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/wire"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// SnapshotID says which records of the log a snapshot replaces: all before Offset. The
// last of them was written in leader epoch Epoch.
type SnapshotID struct {
	Offset int64
	Epoch  int32
}

// snapshotSuffix ends the names of snapshots, Kafka's.
const snapshotSuffix = ".checkpoint"

// FileName returns the name of the snapshot's file, Kafka's:
// 00000000000000001042-0000000003.checkpoint.
func (id SnapshotID) FileName() string {
	return fmt.Sprintf("%020d-%010d%s", id.Offset, id.Epoch, snapshotSuffix)
}

// ParseSnapshotName reads the name of a snapshot's file, and reports whether it
// is one.
func ParseSnapshotName(name string) (id SnapshotID, ok bool) {
	offset, epoch, _ := strings.Cut(strings.TrimSuffix(name, snapshotSuffix), "-")
	o, err := strconv.ParseInt(offset, 10, 64)
	if err != nil {
		return id, false
	}
	e, err := strconv.ParseInt(epoch, 10, 32)
	if err != nil {
		return id, false
	}
	id = SnapshotID{Offset: o, Epoch: int32(e)}
	return id, o >= 0 && e >= 0 && id.FileName() == name
}

// Records returns records from which Apply builds a Catalogue equal to c. Deleted topics
// come first, each created and removed again, because KRaft has no other record for them.
func (c *Catalogue) Records() [][]byte {
	var values [][]byte
	for _, name := range slices.Sorted(maps.Keys(c.levels)) {
		values = append(values, featureLevelRecord{name: name, level: c.levels[name]}.encode())
	}
	removed := make([]string, 0, len(c.removed))
	for id := range c.removed {
		removed = append(removed, string(id[:]))
	}
	slices.Sort(removed) // so that equal catalogues have equal snapshots
	for _, s := range removed {
		id := topic.ID([]byte(s))
		values = append(values, topicRecord{name: c.removed[id], id: id}.encode(), removeTopicRecord{id: id}.encode())
	}
	for _, name := range c.Names() {
		t := c.topics[name]
		values = append(values, topicRecord{name: name, id: t.ID}.encode())
		values = append(values, configure(name, topic.Config{}, t.Config)...)
		for n, p := range t.Partitions {
			values = append(values, partitionRecord{number: int32(n), id: t.ID, Partition: p}.encode())
		}
	}
	if c.producerIDs != (producerIDsRecord{}) {
		values = append(values, c.producerIDs.encode())
	}
	return values
}

// Forget forgets deleted topics, except those for which keep returns true: these still
// have files on the disk.
func (c *Catalogue) Forget(keep func(id topic.ID, name string) bool) {
	maps.DeleteFunc(c.removed, func(id topic.ID, name string) bool { return !keep(id, name) })
}

// Control records of a snapshot, KRaft's.
const (
	controlHeader = 3
	controlFooter = 4
)

// snapshotBatch is the largest batch of a snapshot, in bytes.
const snapshotBatch = 1 << 20

// EncodeSnapshot returns the bytes of a snapshot with these records. at is the time of
// the last record that it replaces, and now the time at which it is written, both in
// milliseconds.
func EncodeSnapshot(id SnapshotID, at, now int64, values [][]byte) ([]byte, error) {
	s := snapshotWriter{id: id, now: now, batch: record.NewBuilder(snapshotBatch)}
	var header, footer wire.Writer
	header.Int16(0) // version
	header.Int64(at)
	header.NoTags()
	footer.Int16(0) // version
	footer.NoTags()
	s.add(controlKey(controlHeader), header.B)
	s.flush(record.AttrControl)
	for _, v := range values {
		s.add(nil, v)
	}
	s.flush(0)
	s.add(controlKey(controlFooter), footer.B)
	s.flush(record.AttrControl)
	return s.out, s.err
}

// controlKey returns the key of a control record.
func controlKey(kind int16) []byte {
	var w wire.Writer
	w.Int16(0) // version
	w.Int16(kind)
	return w.B
}

// snapshotWriter collects records in batches.
type snapshotWriter struct {
	id    SnapshotID
	now   int64
	next  int64 // offset, counted within the snapshot
	batch *record.Builder
	out   []byte
	err   error
}

func (s *snapshotWriter) add(key, value []byte) {
	if !s.batch.Add(s.now, key, value, nil) {
		s.flush(0)
		s.batch.Add(s.now, key, value, nil)
	}
}

func (s *snapshotWriter) flush(attributes int16) {
	if s.batch.Count() == 0 || s.err != nil {
		return
	}
	b, err := s.batch.Batch(nil, record.None, 0)
	if err != nil {
		s.err = err
		return
	}
	h := b.BatchHeader
	h.BaseOffset, h.LeaderEpoch = s.next, s.id.Epoch
	h.Attributes |= attributes
	s.out = append(s.out, record.Seal(b.Bytes, h).Bytes...)
	s.next = h.NextOffset()
	s.batch.Reset()
}

// Snapshot is what a snapshot's file holds.
type Snapshot struct {
	Catalogue *Catalogue
	Records   int64 // how many records it has
	Time      int64 // of the last record that it replaces, in milliseconds
}

// DecodeSnapshot folds a snapshot's bytes. It returns fault.CorruptMessage if the snapshot
// isn't whole, and fault.UnsupportedFormat if a newer program wrote it, each with the
// position in b.
func DecodeSnapshot(id SnapshotID, b []byte) (s Snapshot, pos int64, err error) {
	r := snapshotReader{id: id, Snapshot: Snapshot{Catalogue: New()}}
	for pos < int64(len(b)) {
		batch, err := record.Parse(b[pos:])
		if err == nil {
			err = r.batch(batch)
		}
		if err != nil {
			return Snapshot{}, pos, err
		}
		pos += int64(batch.Size())
	}
	if !r.ended {
		return Snapshot{}, pos, unfit("a snapshot without an end")
	}
	return r.Snapshot, pos, nil
}

// snapshotReader folds batch after batch.
type snapshotReader struct {
	Snapshot
	id           SnapshotID
	next         int64 // offset
	begun, ended bool
}

func (s *snapshotReader) batch(b record.Batch) error {
	switch {
	case b.BaseOffset != s.next || b.LeaderEpoch != s.id.Epoch:
		return unfit("a snapshot's batch of offset %d and epoch %d instead of %d and %d", b.BaseOffset, b.LeaderEpoch, s.next, s.id.Epoch)
	case s.ended:
		return unfit("a batch after the end of a snapshot")
	}
	s.next = b.NextOffset()
	it, err := b.Records(nil)
	if err != nil {
		return err
	}
	var r record.Record
	for it.Next(&r) {
		if b.Control() {
			err = s.control(r.Key, r.Value)
		} else {
			err = s.record(r.Value)
		}
		if err != nil {
			return err
		}
	}
	return it.Err()
}

func (s *snapshotReader) record(value []byte) error {
	if !s.begun || s.ended {
		return unfit("a record outside a snapshot's header and footer")
	}
	s.Records++
	return s.Catalogue.Apply(value)
}

func (s *snapshotReader) control(key, value []byte) error {
	k, v := wire.NewReader(key), wire.NewReader(value)
	version, kind := k.Int16(), k.Int16()
	if err := cmp.Or(check(version), k.End()); err != nil {
		return err
	}
	switch kind {
	case controlHeader:
		if s.begun {
			return unfit("a snapshot with two headers")
		}
		version, s.Time = v.Int16(), v.Int64()
		s.begun = true
	case controlFooter:
		version = v.Int16()
		s.ended = s.begun
	default:
		return nil // other control records, which only Kafka's controllers use
	}
	v.Tags(nil)
	return cmp.Or(check(version), v.End())
}

// check returns an error for an unknown version of a snapshot's control record.
func check(version int16) error {
	if version != 0 {
		return fault.Newf(fault.UnsupportedFormat, "a snapshot's control record of version %d", version)
	}
	return nil
}
