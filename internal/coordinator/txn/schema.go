package txn

import (
	"slices"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/wire"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// StateTopic is the specification with which __transaction_state is created at its first
// use. One process needs few partitions; Kafka's 50 spread over many brokers.
var StateTopic = topic.Spec{
	Name: topic.TransactionState, Partitions: 4,
	Config: topic.Config{Cleanup: topic.Compact, SegmentBytes: 100 << 20, MaxMessageBytes: 64 << 20},
}

// Record is a key and a value for __transaction_state. A nil Value is a tombstone.
type Record struct{ Key, Value []byte }

// Tagged fields of TransactionLogValue.
const (
	tagPreviousID    = 0
	tagNextID        = 1
	tagClientVersion = 2

	// Not Kafka's, whose readers pass over them.
	tagEnds  = 1000
	tagUnset = 1001
)

// risingEpochs is the version of transactions in which each has an epoch of its own:
// Kafka's TV2.
const risingEpochs = 2

func encodeKey(id string) ([]byte, error) {
	var w wire.Writer
	w.Int16(0)
	w.String(id)
	return w.B, w.Err()
}

// decodeKey decodes a key. ok is false for a kind of key that is not a transaction's.
func decodeKey(b []byte) (id string, ok bool, err error) {
	r := wire.NewReader(b)
	if kind := r.Int16(); kind != 0 {
		return "", false, r.Err()
	}
	id = r.String()
	return id, true, r.End()
}

// value is TransactionLogValue.
type value struct {
	Identity
	previousID int64 // the producer ID of the last transaction; -1 for none or the same. Kafka writes the same, too
	nextID     int64 // the producer ID that the next transaction gets; -1 if it keeps its own
	timeout    time.Duration
	state      State
	partitions []record.TopicPartition // sorted
	updated    int64                   // milliseconds
	started    int64                   // milliseconds; -1 if there is no transaction
	version    int16                   // of transactions, of the last one

	// ends, unless nil, has for each of partitions the end of what the transaction wrote. It
	// is committed if all of that is there after a crash.
	ends []End

	// unset is the transaction before, whose markers a crash may undo; or nil.
	unset *Ending
}

// End is where a partition's log ended when a transaction was to be committed.
type End struct {
	Topic  topic.ID
	Offset int64
}

func (v value) encode() ([]byte, error) {
	w := wire.Writer{B: make([]byte, 0, 128+64*len(v.partitions))} // about
	w.Int16(1)
	w.Int64(v.ProducerID)
	w.Int16(v.Epoch)
	w.Int32(int32(min(v.timeout.Milliseconds(), 1<<31-1)))
	w.Int8(int8(v.state))
	if v.state == Empty {
		w.Uvarint(0) // null
	} else {
		encodePartitions(&w, v.partitions)
	}
	w.Int64(v.updated)
	w.Int64(v.started)
	id := func(v int64) []byte { var w wire.Writer; w.Int64(v); return w.B }
	var tags []func()
	if v.previousID >= 0 {
		tags = append(tags, func() { w.Tag(tagPreviousID, id(v.previousID)) })
	}
	if v.nextID >= 0 {
		tags = append(tags, func() { w.Tag(tagNextID, id(v.nextID)) })
	}
	if v.version > 0 {
		tags = append(tags, func() { w.Tag(tagClientVersion, []byte{byte(v.version >> 8), byte(v.version)}) })
	}
	if v.ends != nil {
		ends := wire.Writer{B: make([]byte, 0, 5+24*len(v.ends))}
		ends.CompactArrayLen(len(v.ends))
		for _, e := range v.ends {
			ends.UUID(e.Topic)
			ends.Int64(e.Offset)
		}
		tags = append(tags, func() { w.Tag(tagEnds, ends.B) })
	}
	if u := v.unset; u != nil {
		var unset wire.Writer
		unset.Int64(u.ProducerID)
		unset.Int16(u.Epoch)
		unset.Bool(u.Commit)
		encodePartitions(&unset, u.Partitions)
		if err := unset.Err(); err != nil {
			return nil, err
		}
		tags = append(tags, func() { w.Tag(tagUnset, unset.B) })
	}
	w.Tags(len(tags))
	for _, tag := range tags {
		tag()
	}
	return w.B, w.Err()
}

// encodePartitions writes an array of topics with their partitions.
func encodePartitions(w *wire.Writer, all []record.TopicPartition) {
	topics := 0
	for i := range all {
		if i == 0 || all[i].Topic != all[i-1].Topic {
			topics++
		}
	}
	w.CompactArrayLen(topics)
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].Topic == all[0].Topic {
			n++
		}
		w.CompactString(all[0].Topic)
		w.CompactArrayLen(n)
		for _, tp := range all[:n] {
			w.Int32(tp.Partition)
		}
		w.NoTags()
		all = all[n:]
	}
}

func decodeValue(b []byte) (value, error) {
	r := wire.NewReader(b)
	version := r.Int16()
	if r.Err() == nil && (version < 0 || version > 1) {
		return value{}, fault.Newf(fault.UnsupportedFormat, "TransactionLogValue of version %d", version)
	}
	v := value{Identity: Identity{r.Int64(), r.Int16()}, previousID: -1, nextID: -1}
	v.timeout, v.state = time.Duration(r.Int32())*time.Millisecond, State(r.Int8())
	if version == 0 {
		for n := r.ArrayLen(6); n > 0; n-- {
			name := r.String()
			for m := r.ArrayLen(4); m > 0; m-- {
				v.partitions = append(v.partitions, record.TopicPartition{Topic: name, Partition: r.Int32()})
			}
		}
	} else {
		v.partitions = decodePartitions(&r)
	}
	v.updated, v.started = r.Int64(), r.Int64()
	if version > 0 {
		r.Tags(func(number uint32, field *wire.Reader) {
			switch number {
			case tagPreviousID:
				v.previousID = field.Int64()
			case tagNextID:
				v.nextID = field.Int64()
			case tagClientVersion:
				v.version = field.Int16()
			case tagEnds:
				v.ends = []End{}
				for n := field.CompactArrayLen(24); n > 0; n-- {
					v.ends = append(v.ends, End{field.UUID(), field.Int64()})
				}
			case tagUnset:
				v.unset = &Ending{Identity: Identity{field.Int64(), field.Int16()}, Commit: field.Bool()}
				v.unset.Partitions = sorted(decodePartitions(field))
			}
		})
	}
	if r.Err() == nil && (v.state < Empty || v.state > Dead) {
		r.Fail("a transaction in state %d", v.state)
	}
	n, whole := len(v.partitions), slices.IsSortedFunc(v.partitions, record.TopicPartition.Compare)
	if v.partitions = sorted(v.partitions); r.Err() == nil && v.ends != nil && (!whole || len(v.partitions) != n || len(v.ends) != n) {
		r.Fail("a transaction in %d partitions with the ends of %d", n, len(v.ends))
	}
	return v, r.End()
}

func decodePartitions(r *wire.Reader) (all []record.TopicPartition) {
	for n := r.CompactArrayLen(3); n > 0; n-- {
		name := r.CompactString()
		m := r.CompactArrayLen(4)
		for all = slices.Grow(all, max(m, 0)); m > 0; m-- {
			all = append(all, record.TopicPartition{Topic: name, Partition: r.Int32()})
		}
		r.Tags(nil)
	}
	return all
}
