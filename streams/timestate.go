package streams

import (
	"context"
	"encoding/base64"
	"encoding/binary"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/record"
)

// Where a task continues, its time does too: the time of each partition is committed
// with its offset. The metadata of the offset is what Kafka Streams writes there, base64
// of
//
//	version (1 byte, 2) | the partition's time (8 bytes, in milliseconds; -1: none)
//
// Behind it Kafka may have what its processors remember, which is left out here.
const (
	timeVersion  = 2
	timeMetadata = 1 + 8
)

// encodeTime returns the metadata of an offset.
func encodeTime(ms int64) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64([]byte{timeVersion}, uint64(ms)))
}

// decodeTime returns the time in an offset's metadata, and -1 if there is none: a tool that
// resets an application's offsets writes none.
func decodeTime(metadata string) int64 {
	b, err := base64.StdEncoding.DecodeString(metadata)
	if err != nil || len(b) < timeMetadata || b[0] == 0 || b[0] > timeVersion {
		return -1
	}
	return max(int64(binary.BigEndian.Uint64(b[1:])), -1)
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
			o.Metadata = encodeTime(at.sources[tp.Topic].time())
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
		t.tasks[t.app.plan.taskOf(tp)].resumeTime(tp.Topic, decodeTime(o.Metadata))
	}
	return nil
}
