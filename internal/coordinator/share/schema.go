package share

import (
	"math"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/wire"
	"github.com/runnel-go/runnel/topic"
)

// StateTopic is the specification with which __share_group_state is created at its first
// use. Its coordinator deletes what a snapshot has made superfluous. One process needs few
// partitions; Kafka's 50 spread over many brokers.
var StateTopic = topic.Spec{
	Name: topic.ShareGroupState, Partitions: 4,
	Config: topic.Config{Retention: topic.Forever, SegmentBytes: 4 << 20, MaxMessageBytes: 64 << 20},
}

// Record is a key and a value for __share_group_state. A nil Value is a tombstone.
type Record struct{ Key, Value []byte }

// Kinds of keys.
const (
	keySnapshot int16 = 0
	keyUpdate   int16 = 1
)

// Delivery states, under Kafka's numbers.
const (
	stateAvailable int8 = 0
	stateAcked     int8 = 2
	stateArchived  int8 = 4
)

// nowhere is the start of a snapshot that Kafka writes before it knows where a group begins.
const nowhere = -1

// Tagged fields that Kafka does not have.
const (
	tagMember = 1000 // of a state batch: who has acquired it
	tagUntil  = 1001 // of a state batch: the time before which it is not delivered
	tagNumber = 1002 // of a state batch: the number of the acquisition
	tagSpent  = 1003 // of a state batch: it is acquired for its dead letter
	tagClock  = 1000 // of both values: the time of the command
	tagLater  = 1001 // of both values: stretches of offsets among which records wait for their time
)

// Key names a share-partition.
type Key struct {
	Group     string
	Topic     topic.ID
	Partition int32
}

func (k Key) encode(kind int16) ([]byte, error) {
	var w wire.Writer
	w.Int16(kind)
	w.String(k.Group)
	w.UUID(k.Topic)
	w.Int32(k.Partition)
	return w.B, w.Err()
}

// decodeKey decodes a key. ok is false for a kind that this version does not know.
func decodeKey(b []byte) (k Key, kind int16, ok bool, err error) {
	r := wire.NewReader(b)
	if kind = r.Int16(); kind != keySnapshot && kind != keyUpdate {
		return k, kind, false, r.Err()
	}
	k = Key{r.String(), topic.ID(r.UUID()), r.Int32()}
	return k, kind, true, r.End()
}

// batch is a state batch: a run, or offsets that are finished.
type batch struct {
	run
	state int8
}

// value is ShareSnapshotValue or ShareUpdateValue.
type value struct {
	snapshot       int32
	epoch          int32 // of a snapshot only
	start          int64 // nowhere in an update that does not change it
	created, clock int64 // milliseconds
	batches        []batch
	later          []later
	hasLater       bool // of an update: it replaces the stretches
}

func (v *value) encode(kind int16) ([]byte, error) {
	var w wire.Writer
	w.Int16(0)
	w.Int32(v.snapshot)
	if kind == keySnapshot {
		w.Int32(v.epoch)
	}
	w.Int32(0) // the leader epoch of the topic's partition: offsets are what counts here
	w.Int64(v.start)
	if kind == keySnapshot {
		w.Int64(v.created)
		w.Int64(v.clock)
	}
	w.CompactArrayLen(len(v.batches))
	for i := range v.batches {
		v.batches[i].encode(&w)
	}
	if !v.hasLater {
		w.Tags(1)
		w.Tag(tagClock, number(v.clock))
		return w.B, w.Err()
	}
	w.Tags(2)
	w.Tag(tagClock, number(v.clock))
	var stretches wire.Writer
	stretches.CompactArrayLen(len(v.later))
	for _, l := range v.later {
		for _, n := range [...]int64{l.first, l.last, l.passed, l.next, l.count} {
			stretches.Int64(n)
		}
	}
	w.Tag(tagLater, stretches.B)
	return w.B, w.Err()
}

func (b *batch) encode(w *wire.Writer) {
	w.Int64(b.first)
	w.Int64(b.last)
	w.Int8(b.state)
	w.Int16(b.count)
	n := 0
	if b.member != "" {
		n++
	}
	if b.until != 0 {
		n++
	}
	if b.acquisition != 0 {
		n++
	}
	if b.spent {
		n++
	}
	w.Tags(n)
	if b.member != "" {
		var member wire.Writer
		member.CompactString(b.member)
		w.Tag(tagMember, member.B)
	}
	if b.until != 0 {
		w.Tag(tagUntil, number(b.until))
	}
	if b.acquisition != 0 {
		w.Tag(tagNumber, number(b.acquisition))
	}
	if b.spent {
		w.Tag(tagSpent, nil)
	}
}

func number(v int64) []byte {
	var w wire.Writer
	w.Int64(v)
	return w.B
}

// batchSize is the least size of an encoded state batch.
const batchSize = 20

func decodeValue(kind int16, b []byte) (v value, err error) {
	r := wire.NewReader(b)
	if version := r.Int16(); r.Err() == nil && version != 0 {
		return v, fault.Newf(fault.UnsupportedFormat, "a share-partition's state of version %d", version)
	}
	v.snapshot = r.Int32()
	if kind == keySnapshot {
		v.epoch = r.Int32()
	}
	r.Int32()
	v.start = r.Int64()
	if kind == keySnapshot {
		v.created, v.clock = r.Int64(), r.Int64()
		if v.start < nowhere {
			r.Fail("a share-partition that starts at %d", v.start)
		}
	}
	for n := r.CompactArrayLen(batchSize); n > 0; n-- {
		v.batches = append(v.batches, decodeBatch(&r))
	}
	r.Tags(func(number uint32, field *wire.Reader) {
		switch number {
		case tagClock:
			v.clock = field.Int64()
		case tagLater:
			v.hasLater = true
			v.later = decodeLater(field)
		}
	})
	return v, r.End()
}

// laterSize is the size of an encoded stretch.
const laterSize = 40

func decodeLater(r *wire.Reader) (all []later) {
	for n := r.CompactArrayLen(laterSize); n > 0; n-- {
		l := later{r.Int64(), r.Int64(), r.Int64(), r.Int64(), r.Int64()}
		if l.first < 0 || l.last < l.first || l.last == math.MaxInt64 || len(all) > 0 && all[len(all)-1].last >= l.first {
			r.Fail("a stretch of the offsets %d to %d", l.first, l.last)
		}
		all = append(all, l)
	}
	return all
}

func decodeBatch(r *wire.Reader) batch {
	b := batch{run: run{first: r.Int64(), last: r.Int64()}, state: r.Int8()}
	b.count = r.Int16()
	r.Tags(func(number uint32, field *wire.Reader) {
		switch number {
		case tagMember:
			b.member = field.CompactString()
		case tagUntil:
			b.until = field.Int64()
		case tagNumber:
			b.acquisition = field.Int64()
		case tagSpent:
			b.spent = true
		}
	})
	if b.first < 0 || b.last < b.first || b.last == math.MaxInt64 {
		r.Fail("a state batch of the offsets %d to %d", b.first, b.last)
	}
	if b.state != stateAvailable && b.state != stateAcked && b.state != stateArchived {
		r.Fail("a state batch in state %d", b.state)
	}
	return b
}
