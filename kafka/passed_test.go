package kafka_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// cleaned is a batch whose last records compaction has removed: it has these
// values from base on, and ends at last.
func cleaned(t *testing.T, base, last int64, values ...string) []byte {
	t.Helper()
	b := record.NewBuilder(1 << 10)
	for _, v := range values {
		b.Add(1, nil, []byte(v), nil)
	}
	var raw []byte
	if len(values) > 0 {
		batch, err := b.Batch(nil, record.None, 0)
		require.NoError(t, err)
		raw = bytes.Clone(batch.Bytes)
	} else {
		b.Add(1, nil, nil, nil)
		batch, err := b.Batch(nil, record.None, 0)
		require.NoError(t, err)
		raw = bytes.Clone(batch.Bytes[:record.HeaderLen])
		binary.BigEndian.PutUint32(raw[8:], record.HeaderLen-12)
		binary.BigEndian.PutUint32(raw[57:], 0)
	}
	binary.BigEndian.PutUint64(raw, uint64(base))
	binary.BigEndian.PutUint32(raw[23:], uint32(last-base))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

// Compaction has removed a partition's last records: those at the end of a
// batch, and whole batches. A session still reaches the end, wherever it
// starts, and reads what is written after it.
func TestWhatCompactionLeftIsTheEnd(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.DefaultNumPartitions(1))
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	b := connect(t, cluster.ListenAddrs()[0])
	left := append(cleaned(t, 0, 4, "a", "b", "c"), cleaned(t, 5, 7)...)
	cluster.ControlKey(int16(kmsg.Fetch), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		req := kreq.(*kmsg.FetchRequest)
		if len(req.Topics) != 1 || req.Topics[0].Partitions[0].FetchOffset >= 8 {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.FetchResponse)
		asked := kmsg.NewFetchResponseTopic()
		asked.Topic, asked.TopicID = req.Topics[0].Topic, req.Topics[0].TopicID
		part := kmsg.NewFetchResponseTopicPartition()
		part.HighWatermark, part.LastStableOffset, part.RecordBatches = 8, 8, left
		asked.Partitions = append(asked.Partitions, part)
		resp.Topics = append(resp.Topics, asked)
		return resp, nil, true
	})
	for from, want := range map[int64][]string{0: {"a", "b", "c"}, 2: {"c"}, 3: nil, 6: nil} {
		t.Run(fmt.Sprint("from ", from), func(t *testing.T) {
			t.Parallel()
			ctx, at := t.Context(), record.TopicPartition{Topic: fmt.Sprint("latest", from)}
			require.NoError(t, b.CreateTopics(ctx, topic.Spec{Name: at.Topic}))
			p, err := producer.New(b)
			require.NoError(t, err)
			defer p.Close()
			send := func(value string) {
				_, err := p.Send(ctx, record.Record{Topic: at.Topic, Value: []byte(value)})
				require.NoError(t, err)
			}
			for range 8 {
				send("as it was")
			}
			s, err := b.OpenConsumer(ctx, consumer.Config{MaxRecords: 10, MaxBytes: 1 << 20, Start: topic.AtOffset(from)})
			require.NoError(t, err)
			defer s.Close()
			require.NoError(t, s.Assign(ctx, []record.TopicPartition{at}))
			var values []string
			read := func(to int64) {
				for now := from; now < to; {
					got, err := s.Fetch(ctx, consumer.UntilDone, nil)
					require.NoError(t, err)
					require.Greater(t, got.Next, now)
					now, err = s.Position(ctx, at)
					require.NoError(t, err)
					require.Equal(t, got.Next, now)
					for _, r := range got.Records {
						values = append(values, string(r.Value))
					}
				}
			}
			read(8)
			require.Equal(t, want, values)
			send("behind")
			from = 8
			read(9)
			require.Equal(t, append(want, "behind"), values)
		})
	}
}
