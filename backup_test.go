package runnel_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/datadir"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// backupOf returns a backup.
func backupOf(t *testing.T, b *runnel.Broker) []byte {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, b.Backup(t.Context(), &out))
	return out.Bytes()
}

// restored opens what a backup holds, which must be as if it had been closed.
func restored(t *testing.T, backup []byte) *runnel.Broker {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "restored")
	require.NoError(t, datadir.Restore(t.Context(), dir, bytes.NewReader(backup)))
	found, err := datadir.Inspect(t.Context(), dir, nil)
	require.NoError(t, err)
	require.True(t, found.Clean)
	require.Equal(t, log.Note, found.Worst(), "%v", found)
	b := openDir(t, dir)
	require.True(t, b.Recovery().Clean)
	require.Empty(t, b.Recovery().Missing)
	require.Empty(t, b.Recovery().Orphans)
	return b
}

// valuesOf reads a partition from its start to its high watermark.
func valuesOf(t *testing.T, b *runnel.Broker, tp record.TopicPartition) (values []string) {
	t.Helper()
	p := describe(t, b, tp.Topic).Partitions[tp.Partition]
	if p.HighWatermark == p.StartOffset {
		return nil
	}
	c, err := consumer.New(b, consumer.Assign(tp))
	require.NoError(t, err)
	defer c.Close()
	for next := p.StartOffset; next < p.HighWatermark; {
		batch, err := c.Poll(t.Context())
		require.NoError(t, err)
		for _, r := range batch {
			values = append(values, string(r.Value))
			next = r.Offset + 1
		}
	}
	return values
}

func TestBackup(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) *runnel.Broker{
		"directory": func(t *testing.T) *runnel.Broker { return openDir(t, t.TempDir()) },
		"memory": func(t *testing.T) *runnel.Broker {
			b, err := runnel.OpenMemory()
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, b.Close()) })
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t)
			require.NoError(t, b.CreateTopics(t.Context(),
				topic.Spec{Name: "orders", Partitions: 3, Config: topic.Config{SegmentBytes: 1 << 20}},
				topic.Spec{Name: "gone"}, topic.Spec{Name: "emptied"}, topic.Spec{Name: "unused"}))
			require.NoError(t, b.DeleteTopics(t.Context(), "gone"))
			var want []string
			tp := record.TopicPartition{Topic: "orders", Partition: 1}
			for i := range 20 {
				value := fmt.Sprint(i)
				write(t, b, tp, value)
				want = append(want, value)
			}
			_, err := b.DeleteRecords(t.Context(), map[record.TopicPartition]int64{tp: 7})
			require.NoError(t, err)
			emptied := record.TopicPartition{Topic: "emptied"}
			write(t, b, emptied, "a", "b", "c")
			_, err = b.DeleteRecords(t.Context(), map[record.TopicPartition]int64{emptied: 3})
			require.NoError(t, err)
			committed := map[record.TopicPartition]consumer.Offset{tp: {Offset: 12, Metadata: "m"}}
			require.NoError(t, b.SetGroupOffsets(t.Context(), "g", committed))

			r := restored(t, backupOf(t, b))
			require.Equal(t, want[7:], valuesOf(t, r, tp))
			for _, name := range []string{"orders", "emptied", "unused"} {
				before, after := describe(t, b, name), describe(t, r, name)
				require.Equal(t, before.ID, after.ID)
				require.Equal(t, before.Config, after.Config)
				for i, p := range before.Partitions {
					require.Equal(t, p.StartOffset, after.Partitions[i].StartOffset, "%s-%d", name, i)
					require.Equal(t, p.HighWatermark, after.Partitions[i].HighWatermark, "%s-%d", name, i)
				}
			}
			offsets, err := r.GroupOffsets(t.Context(), "g")
			require.NoError(t, err)
			require.EqualValues(t, 12, offsets[tp].Offset)
			require.Equal(t, "m", offsets[tp].Metadata)
			names, err := r.Topics(t.Context())
			require.NoError(t, err)
			require.Equal(t, []string{"emptied", "orders", "unused"}, names)
			write(t, r, emptied, "d")
			require.EqualValues(t, 4, describe(t, r, "emptied").Partitions[0].HighWatermark, "it goes on where it was")
		})
	}
}

// TestBackupLarge has more than one piece of a log, and batches that are longer
// than what is read at once.
func TestBackupLarge(t *testing.T) {
	b := openDir(t, t.TempDir())
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "large", Config: topic.Config{MaxMessageBytes: 16 << 20, SegmentBytes: 5 << 20}}))
	tp := record.TopicPartition{Topic: "large"}
	var want []string
	for i := range 12 {
		value := string(bytes.Repeat([]byte{byte('a' + i)}, (1+i%3)<<20))
		write(t, b, tp, value)
		want = append(want, value)
	}
	backup := backupOf(t, b)
	pieces := 0
	for archive := tar.NewReader(bytes.NewReader(backup)); ; {
		h, err := archive.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		if filepath.Dir(h.Name) == "large-0" {
			pieces++
		}
	}
	require.Greater(t, pieces, 3)
	require.Equal(t, want, valuesOf(t, restored(t, backup), tp))
}

// TestBackupWhileBusy takes backups while records are sent and deleted, offsets
// are committed, and topics come and go. Each has everything that was
// acknowledged before, nothing that was never sent, and no offset beyond it.
func TestBackupWhileBusy(t *testing.T) {
	b := openDir(t, t.TempDir(), runnel.DefaultDurability(topic.OS))
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Partitions: 2, Config: topic.Config{SegmentBytes: 1 << 20}}, topic.Spec{Name: "short"}))
	ctx, stop := context.WithCancel(t.Context())
	var work sync.WaitGroup
	var mu sync.Mutex
	acked := [2]int64{}
	begun := make(chan struct{})
	for n := range int32(2) {
		work.Go(func() {
			p, err := producer.New(b, producer.Partitioner(topic.ManualPartitioner))
			if err != nil {
				t.Error(err)
				return
			}
			defer p.Close()
			tp := record.TopicPartition{Topic: "orders", Partition: n}
			for i := int64(0); ctx.Err() == nil; i++ {
				value := fmt.Appendf(make([]byte, 0, 600), "%d:", i)
				at, err := p.Send(context.Background(), record.Record{Topic: "orders", Partition: n, Value: value[:600]})
				if err != nil || at.Offset != i {
					t.Errorf("sent %d: at %d, %v", i, at.Offset, err)
					return
				}
				mu.Lock()
				acked[n] = i + 1
				mu.Unlock()
				if i == 100 && n == 0 {
					close(begun)
				}
				if i%50 == 0 {
					if err := b.SetGroupOffsets(context.Background(), "g", map[record.TopicPartition]consumer.Offset{tp: {Offset: i + 1}}); err != nil {
						t.Error(err)
					}
				}
				if i%3000 == 2999 {
					if _, err := b.DeleteRecords(context.Background(), map[record.TopicPartition]int64{tp: i - 2000}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	work.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			if err := b.DeleteTopics(context.Background(), "short"); err != nil {
				t.Error(err)
			}
			if err := b.CreateTopics(context.Background(), topic.Spec{Name: "short", Partitions: 1 + i%3}); err != nil {
				t.Error(err)
			}
		}
	})
	<-begun
	type taken struct {
		before [2]int64
		bytes  []byte
	}
	var all []taken
	for range 8 {
		mu.Lock()
		before := acked
		mu.Unlock()
		all = append(all, taken{before, backupOf(t, b)})
	}
	stop()
	work.Wait()
	for _, k := range all {
		r := restored(t, k.bytes)
		committed, err := r.GroupOffsets(t.Context(), "g")
		require.NoError(t, err)
		for n, p := range describe(t, r, "orders").Partitions {
			tp := record.TopicPartition{Topic: "orders", Partition: int32(n)}
			require.GreaterOrEqual(t, p.HighWatermark, k.before[n])
			require.LessOrEqual(t, committed[tp].Offset, p.HighWatermark)
			for i, value := range valuesOf(t, r, tp) {
				require.Equal(t, fmt.Sprintf("%d:", p.StartOffset+int64(i)), value[:len(fmt.Sprint(p.StartOffset+int64(i)))+1])
			}
		}
		require.NoError(t, r.Close())
	}
}

// smallBackup returns a backup of a broker with little in it.
func smallBackup(t testing.TB) []byte {
	t.Helper()
	b, err := runnel.OpenMemory()
	require.NoError(t, err)
	defer b.Close()
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Partitions: 2}))
	p, err := producer.New(b)
	require.NoError(t, err)
	defer p.Close()
	for i := range 3 {
		_, err := p.Send(t.Context(), record.Record{Topic: "orders", Key: []byte{byte(i)}, Value: []byte("value")})
		require.NoError(t, err)
	}
	var out bytes.Buffer
	require.NoError(t, b.Backup(t.Context(), &out))
	return out.Bytes()
}

// TestRestoreRefusesTruncated restores no backup that was cut short, and leaves
// nothing of it.
func TestRestoreRefusesTruncated(t *testing.T) {
	backup := smallBackup(t)
	dir := t.TempDir()
	whole := bytes.LastIndex(backup, []byte("complete ")) + len("complete 00000000\n")
	for cut := 0; cut < whole; cut += 151 {
		err := datadir.Restore(t.Context(), dir, bytes.NewReader(backup[:cut]))
		require.ErrorIs(t, err, fault.CorruptMessage, "cut at %d", cut)
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, e := range entries {
			require.Equal(t, ".lock", e.Name())
		}
	}
	require.NoError(t, datadir.Restore(t.Context(), dir, bytes.NewReader(backup)), "nothing is in the way of a whole one")
}

func TestRestoreRefuses(t *testing.T) {
	archive := func(names ...string) []byte {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		for _, name := range names {
			require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}))
		}
		require.NoError(t, w.Close())
		return out.Bytes()
	}
	for _, test := range []struct {
		name    string
		archive []byte
		says    string
	}{
		{"nothing", nil, "ends before its list"},
		{"no tar", bytes.Repeat([]byte("backup "), 1000), "no tar archive"},
		{"a way out", archive("../../etc/passwd"), "not a file of a backup"},
		{"an absolute path", archive("/etc/passwd"), "not a file of a backup"},
		{"a way out behind a partition", archive("orders-0/../../x.log"), "not a file of a backup"},
		{"a foreign file", archive("orders-0/README"), "not a file of a backup"},
		{"no list", archive("orders-0/partition.metadata"), "ends before its list"},
		{"an empty list", archive("runnel.backup"), "list of contents begins with"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "restored")
			err := datadir.Restore(t.Context(), dir, bytes.NewReader(test.archive))
			require.ErrorIs(t, err, fault.CorruptMessage)
			require.ErrorContains(t, err, test.says)
		})
	}
	full := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(full, "mine"), nil, 0o644))
	err := datadir.Restore(t.Context(), full, bytes.NewReader(smallBackup(t)))
	require.ErrorIs(t, err, fault.InvalidRequest)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := filepath.Join(t.TempDir(), "restored")
	require.ErrorIs(t, datadir.Restore(ctx, dir, bytes.NewReader(smallBackup(t))), context.Canceled)
}

// A restore that is killed leaves the marker that it made first, or the file that
// was to become the marker. Both are damage to Inspect, and Open refuses them.
func TestInterruptedRestoreIsFound(t *testing.T) {
	for _, name := range []string{".runnel_restoring", ".runnel_restoring.tmp"} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, ".lock"), nil, 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
		_, err := runnel.Open(dir)
		require.ErrorIs(t, err, fault.Storage, name)
		require.ErrorContains(t, err, "that was not completely restored", name)
		found, err := datadir.Inspect(t.Context(), dir, nil)
		require.NoError(t, err)
		require.Equal(t, log.Damage, found.Worst(), "%s: %v", name, found)
	}
}

func TestBackupEnds(t *testing.T) {
	b := openDir(t, t.TempDir())
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	full := fmt.Errorf("no space")
	require.ErrorIs(t, b.Backup(t.Context(), failingWriter{full}), full)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, b.Backup(ctx, io.Discard), context.Canceled)
	require.NoError(t, b.Close())
	require.ErrorIs(t, b.Backup(t.Context(), io.Discard), fault.Closed)
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }
