package runnel

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/datadir"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

var errNoMore = errors.New("no more")

// shortWriter takes so many bytes.
type shortWriter struct{ left int }

func (w *shortWriter) Write(b []byte) (int, error) {
	if w.left -= len(b); w.left < 0 {
		return 0, errNoMore
	}
	return len(b), nil
}

// TestRemoteBackup takes a backup in another process's place, which restores like
// the broker's own, and ends with its writer and its broker.
func TestRemoteBackup(t *testing.T) {
	dir := t.TempDir()
	b, err := Open(dir)
	require.NoError(t, err)
	defer b.Close()
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Partitions: 2, Config: topic.Config{SegmentBytes: 100_000}}))
	p, err := producer.New(b, producer.Partitioner(topic.ManualPartitioner))
	require.NoError(t, err)
	for i := range 1000 {
		p.SendAsync(t.Context(), record.Record{Topic: "orders", Partition: int32(i % 2), Value: bytes.Repeat([]byte{byte(i)}, 700)}, nil)
	}
	require.NoError(t, p.Flush(t.Context()))
	r, err := Attach(dir)
	require.NoError(t, err)
	defer r.Close()

	var out bytes.Buffer
	require.NoError(t, r.Backup(t.Context(), &out))
	to := t.TempDir()
	require.NoError(t, datadir.Restore(t.Context(), to, bytes.NewReader(out.Bytes())))
	copied, err := Open(to)
	require.NoError(t, err)
	defer copied.Close()
	for n := range int32(2) {
		tp := record.TopicPartition{Topic: "orders", Partition: n}
		var want, got []byte
		for _, batch := range batchesOf(t, b, tp) {
			want = append(want, batch.Bytes...)
		}
		for _, batch := range batchesOf(t, copied, tp) {
			got = append(got, batch.Bytes...)
		}
		require.True(t, bytes.Equal(want, got))
	}

	for left := 0; left < out.Len(); left += 50_000 {
		require.ErrorIs(t, r.Backup(t.Context(), &shortWriter{left}), errNoMore)
	}
	require.NoError(t, b.Close())
	require.ErrorIs(t, r.Backup(t.Context(), io.Discard), fault.Closed)
}
