package streams

import (
	"context"
	"encoding/base64"
	"encoding/binary"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/record"
)

// Where a task continues, its time does too: the time of each partition is committed
// with its offset, and with each of them what the task's nodes remember. The metadata of
// an offset is what Kafka Streams writes there, base64 of
//
//	version (1 byte, 2) | the partition's time (8 bytes, in milliseconds; -1: none)
//	| for each node that remembers a time: length (4 bytes) | name | time (8 bytes)
const (
	timeVersion  = 2
	timeMetadata = 1 + 8
)

// memory is a time that a node remembers, in milliseconds. It never goes back.
type memory struct {
	name string
	ms   *int64
}

// remembers makes a time of n's outlast the task.
func (w *wiring) remembers(n *node, ms *int64) {
	w.task.memories = append(w.task.memories, memory{n.name, ms})
}

// encodeTimes returns the metadata of an offset.
func encodeTimes(ms int64, memories []memory) string {
	b := binary.BigEndian.AppendUint64([]byte{timeVersion}, uint64(ms))
	for _, m := range memories {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(m.name))), m.name...)
		b = binary.BigEndian.AppendUint64(b, uint64(*m.ms))
	}
	return base64.StdEncoding.EncodeToString(b)
}

// decodeTimes returns the time in an offset's metadata, and -1 if there is none: a tool
// that resets an application's offsets writes none. It calls remembered for the times
// of nodes.
func decodeTimes(metadata string, remembered func(name string, ms int64)) int64 {
	b, err := base64.StdEncoding.DecodeString(metadata)
	if err != nil || len(b) < timeMetadata || b[0] == 0 || b[0] > timeVersion {
		return -1
	}
	for rest := b[timeMetadata:]; len(rest) >= 4; {
		n := int(binary.BigEndian.Uint32(rest))
		if rest = rest[4:]; n > len(rest)-8 {
			break
		}
		remembered(string(rest[:n]), int64(binary.BigEndian.Uint64(rest[n:])))
		rest = rest[n+8:]
	}
	return max(int64(binary.BigEndian.Uint64(b[1:])), -1)
}

// remember sets the time that a node of the task remembers, unless it is later already.
func (t *task) remember(name string, ms int64) {
	for _, m := range t.memories {
		if m.name == name {
			*m.ms = max(*m.ms, ms)
		}
	}
}

// resumeTime gives a source, and its task, the time as of a commit.
func (t *task) resumeTime(topic string, ms int64) {
	t.sources[topic].resume(ms)
	t.streamTime = max(t.streamTime, ms)
}

// stamp adds to offsets that are about to be committed the times that belong to them.
func (t *thread) stamp(offsets map[record.TopicPartition]consumer.Offset) {
	for tp, o := range offsets {
		if at, ok := t.tasks[t.app.plan.taskOf(tp)]; ok {
			o.Metadata = encodeTimes(at.sources[tp.Topic].time(), at.memories)
			offsets[tp] = o
		}
	}
}

// resumeTimes gives tasks that start the times as of the last commit of their
// partitions.
func (t *thread) resumeTimes(ctx context.Context, tps []record.TopicPartition) error {
	committed, err := t.in.Committed(ctx, tps...)
	if err != nil {
		return err
	}
	for tp, o := range committed {
		at := t.tasks[t.app.plan.taskOf(tp)]
		at.resumeTime(tp.Topic, decodeTimes(o.Metadata, at.remember))
	}
	return nil
}
