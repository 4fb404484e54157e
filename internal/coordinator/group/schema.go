package group

import (
	"bytes"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/wire"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// Record is a key and a value for __consumer_offsets. A nil Value is a
// tombstone.
type Record struct{ Key, Value []byte }

// Types of keys.
const (
	keyOffsetLegacy   int16 = 0
	keyOffset         int16 = 1
	keyClassic        int16 = 2
	keyGroup          int16 = 3
	keyMember         int16 = 5
	keyTargetMetadata int16 = 6
	keyTarget         int16 = 7
	keyCurrent        int16 = 8
)

// Tagged fields.
const (
	tagMetadataHash   = 0    // of ConsumerGroupMetadataValue
	tagTopicID        = 0    // of OffsetCommitValue
	tagSessionTimeout = 1000 // of ConsumerGroupMemberMetadataValue
	tagAssignorBytes  = 1001 // of the same
)

// key is a decoded key. Its kind determines which fields are set.
type key struct {
	kind      int16
	group     string
	member    string
	topic     string
	partition int32
}

func (k key) encode(w *wire.Writer) {
	w.Int16(k.kind)
	w.String(k.group)
	switch k.kind {
	case keyOffset:
		w.String(k.topic)
		w.Int32(k.partition)
	case keyMember, keyTarget, keyCurrent:
		w.String(k.member)
	}
}

// decodeKey decodes a key, and reports whether its kind is one of those above.
func decodeKey(b []byte) (key, bool, error) {
	r := wire.NewReader(b)
	k := key{kind: r.Int16()}
	switch k.kind {
	case keyOffsetLegacy, keyOffset:
		k.kind = keyOffset
		k.group, k.topic, k.partition = r.String(), r.String(), r.Int32()
	case keyClassic, keyGroup, keyTargetMetadata:
		k.group = r.String()
	case keyMember, keyTarget, keyCurrent:
		k.group, k.member = r.String(), r.String()
	default:
		return k, false, r.Err()
	}
	return k, true, r.End()
}

// offset is OffsetCommitValue.
type offset struct {
	offset      int64
	leaderEpoch int32
	metadata    string
	committed   int64 // milliseconds
	id          topic.ID
	order       int64 // its record's place among those of the log; not written
}

// offsetVersion is the first version with tagged fields, of which the topic's ID is
// one. Earlier versions are read, too.
const offsetVersion = 4

func (o offset) encode(w *wire.Writer) {
	w.Int16(offsetVersion)
	w.Int64(o.offset)
	w.Int32(o.leaderEpoch)
	w.CompactString(o.metadata)
	w.Int64(o.committed)
	w.Tags(1)
	w.Tag(tagTopicID, o.id[:])
}

func decodeOffset(b []byte) (offset, error) {
	r := wire.NewReader(b)
	version := r.Int16()
	o := offset{offset: r.Int64(), leaderEpoch: record.NoLeaderEpoch}
	if version < 0 || version > offsetVersion {
		return o, unknownVersion("OffsetCommitValue", version)
	}
	if version >= 3 {
		o.leaderEpoch = r.Int32()
	}
	if version < offsetVersion {
		o.metadata, o.committed = r.String(), r.Int64()
		if version == 1 {
			r.Int64() // when it expires
		}
		return o, r.End()
	}
	o.metadata, o.committed = r.CompactString(), r.Int64()
	r.Tags(func(number uint32, value *wire.Reader) {
		if number == tagTopicID {
			o.id = value.UUID()
		}
	})
	return o, r.End()
}

// groupMetadata is ConsumerGroupMetadataValue.
type groupMetadata struct {
	epoch int32
	hash  int64 // of the topics that members subscribe to, as they were at that epoch
}

func (g groupMetadata) encode(w *wire.Writer) {
	w.Int16(0)
	w.Int32(g.epoch)
	var tag wire.Writer
	tag.Int64(g.hash)
	w.Tags(1)
	w.Tag(tagMetadataHash, tag.B)
}

func decodeGroup(b []byte) (groupMetadata, error) {
	r, err := versionZero("ConsumerGroupMetadataValue", b)
	g := groupMetadata{epoch: r.Int32()}
	r.Tags(func(number uint32, value *wire.Reader) {
		if number == tagMetadataHash {
			g.hash = value.Int64()
		}
	})
	return g, first(err, r.End())
}

// memberMetadata is ConsumerGroupMemberMetadataValue, as far as it is used.
type memberMetadata struct {
	instanceID       string // empty: a dynamic member
	clientID         string
	topics           []string // sorted
	pattern          string   // a regular expression, or empty
	assignor         string   // empty: no preference
	rebalanceTimeout time.Duration
	sessionTimeout   time.Duration
	told             []byte // what it tells the assignor; nil: nothing
}

func (m memberMetadata) encode(w *wire.Writer) {
	w.Int16(0)
	w.CompactNullableString(orNull(m.instanceID))
	w.CompactNullableString(nil) // rack
	w.CompactString(m.clientID)
	w.CompactString("") // host: this process
	w.CompactArrayLen(len(m.topics))
	for _, name := range m.topics {
		w.CompactString(name)
	}
	w.CompactNullableString(orNull(m.pattern))
	w.Int32(millis(m.rebalanceTimeout))
	w.CompactNullableString(orNull(m.assignor))
	var tag wire.Writer
	tag.Int32(millis(m.sessionTimeout))
	if m.told == nil {
		w.Tags(1)
		w.Tag(tagSessionTimeout, tag.B)
		return
	}
	w.Tags(2)
	w.Tag(tagSessionTimeout, tag.B)
	var told wire.Writer
	told.CompactBytes(m.told)
	w.Tag(tagAssignorBytes, told.B)
}

func decodeMember(b []byte) (memberMetadata, error) {
	r, err := versionZero("ConsumerGroupMemberMetadataValue", b)
	var m memberMetadata
	m.instanceID = orEmpty(r.CompactNullableString())
	r.CompactNullableString()
	m.clientID = r.CompactString()
	r.CompactString()
	for n := r.CompactArrayLen(1); n > 0; n-- {
		m.topics = append(m.topics, r.CompactString())
	}
	m.pattern = orEmpty(r.CompactNullableString())
	m.rebalanceTimeout = time.Duration(r.Int32()) * time.Millisecond
	m.assignor = orEmpty(r.CompactNullableString())
	r.Tags(func(number uint32, value *wire.Reader) {
		if number == tagSessionTimeout {
			m.sessionTimeout = time.Duration(value.Int32()) * time.Millisecond
		}
		if number == tagAssignorBytes {
			m.told = bytes.Clone(value.CompactBytes())
		}
	})
	return m, first(err, r.End())
}

// current is ConsumerGroupCurrentMemberAssignmentValue.
type current struct {
	epoch, previousEpoch int32
	state                memberState
	assigned, revoking   partitions
}

func (c current) encode(w *wire.Writer) {
	w.Int16(0)
	w.Int32(c.epoch)
	w.Int32(c.previousEpoch)
	w.Int8(int8(c.state))
	c.assigned.encode(w)
	c.revoking.encode(w)
	w.NoTags()
}

func decodeCurrent(b []byte) (current, error) {
	r, err := versionZero("ConsumerGroupCurrentMemberAssignmentValue", b)
	c := current{epoch: r.Int32(), previousEpoch: r.Int32(), state: memberState(r.Int8())}
	c.assigned, c.revoking = decodePartitions(&r), decodePartitions(&r)
	r.Tags(nil)
	return c, first(err, r.End())
}

// encodeTargetEpoch writes ConsumerGroupTargetAssignmentMetadataValue.
func encodeTargetEpoch(w *wire.Writer, epoch int32) {
	w.Int16(0)
	w.Int32(epoch)
	w.NoTags()
}

func decodeTargetEpoch(b []byte) (int32, error) {
	r, err := versionZero("ConsumerGroupTargetAssignmentMetadataValue", b)
	epoch := r.Int32()
	r.Tags(nil)
	return epoch, first(err, r.End())
}

// encodeTarget writes ConsumerGroupTargetAssignmentMemberValue.
func encodeTarget(w *wire.Writer, p partitions) {
	w.Int16(0)
	p.encode(w)
	w.NoTags()
}

func decodeTarget(b []byte) (partitions, error) {
	r, err := versionZero("ConsumerGroupTargetAssignmentMemberValue", b)
	p := decodePartitions(&r)
	r.Tags(nil)
	return p, first(err, r.End())
}

// encode writes an array of structures, each a topic's ID and its partitions.
func (p partitions) encode(w *wire.Writer) {
	topics := 0
	for i := range p {
		if i == 0 || p[i].ID != p[i-1].ID {
			topics++
		}
	}
	w.CompactArrayLen(topics)
	for len(p) > 0 {
		n := 1
		for n < len(p) && p[n].ID == p[0].ID {
			n++
		}
		w.UUID(p[0].ID)
		w.CompactArrayLen(n)
		for _, one := range p[:n] {
			w.Int32(one.Number)
		}
		w.NoTags()
		p = p[n:]
	}
}

func decodePartitions(r *wire.Reader) partitions {
	var p partitions
	for topics := r.CompactArrayLen(18); topics > 0; topics-- {
		id := topic.ID(r.UUID())
		for n := r.CompactArrayLen(4); n > 0; n-- {
			p = append(p, Partition{ID: id, Number: r.Int32()})
		}
		r.Tags(nil)
	}
	return newPartitions(p)
}

// versionZero begins to decode a value whose only version is 0.
func versionZero(schema string, b []byte) (wire.Reader, error) {
	r := wire.NewReader(b)
	if version := r.Int16(); version != 0 && r.Err() == nil {
		return r, unknownVersion(schema, version)
	}
	return r, nil
}

func unknownVersion(schema string, version int16) error {
	return fault.Newf(fault.UnsupportedFormat, "%s of version %d", schema, version)
}

func first(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// millis returns d in milliseconds, rounded up so that no timeout becomes 0.
func millis(d time.Duration) int32 {
	const most = 1<<31 - 1
	ms := d / time.Millisecond
	if d%time.Millisecond > 0 { // and not d+…: the longest duration there is stands for ever
		ms++
	}
	return int32(min(ms, most))
}

// IsOffset reports whether a record's key is that of a committed offset.
func IsOffset(keyBytes []byte) bool {
	k, known, err := decodeKey(keyBytes)
	return err == nil && known && k.kind == keyOffset
}
