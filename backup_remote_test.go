package runnel

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// TestFilesThroughASocket writes files in any pieces: what is archived is what was
// sent, and what is not whole is not taken for whole.
func TestFilesThroughASocket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type file struct {
			name  string
			bytes []byte
		}
		var sent bytes.Buffer
		var want []file
		for range rapid.IntRange(0, 5).Draw(t, "files") {
			f := file{rapid.StringMatching(`[a-z][a-z./-]{0,198}[a-z]`).Draw(t, "name"), rapid.SliceOfN(rapid.Byte(), 0, 3000).Draw(t, "bytes")}
			require.NoError(t, writeFile(&sent, f.name, f.bytes))
			want = append(want, f)
		}
		var out bytes.Buffer
		r := &fileReader{archive: newArchive(&out)}
		for sent.Len() > 0 {
			piece := sent.Next(rapid.IntRange(1, 2000).Draw(t, "piece"))
			n, err := r.Write(piece)
			require.NoError(t, err)
			require.Len(t, piece, n)
		}
		require.Zero(t, r.left)
		require.Empty(t, r.head)
		require.NoError(t, r.archive.close())
		in := tar.NewReader(&out)
		for _, f := range want {
			h, err := in.Next()
			require.NoError(t, err)
			require.Equal(t, f.name, h.Name)
			got, err := io.ReadAll(in)
			require.NoError(t, err)
			require.True(t, bytes.Equal(f.bytes, got))
		}
		_, err := in.Next()
		require.ErrorIs(t, err, io.EOF)
	})
}

// FuzzFileReader: whatever comes from the other side makes an archive or an
// error, in memory that does not depend on what it says.
func FuzzFileReader(f *testing.F) {
	var good bytes.Buffer
	require.NoError(f, writeFile(&good, "orders-0/00000000000000000000.log", []byte("bytes")))
	f.Add(good.Bytes())
	f.Add([]byte{0, 1, 0x80, 0, 0, 0, 0, 0, 0, 0, 'x'})
	f.Add([]byte{0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &fileReader{archive: newArchive(io.Discard)}
		n, err := r.Write(b)
		require.True(t, err != nil || n == len(b))
		require.LessOrEqual(t, len(r.head), fileHeadLen+1<<16)
	})
}

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
	require.NoError(t, Restore(t.Context(), to, bytes.NewReader(out.Bytes())))
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
