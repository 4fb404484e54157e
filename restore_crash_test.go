package runnel

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// tinyBackup returns a backup of a topic orders with three records.
func tinyBackup(t testing.TB, fsys vfs.FS) []byte {
	t.Helper()
	b, err := openFixture(fsys)
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Partitions: 2}))
	p, err := producer.New(b, producer.Partitioner(topic.ManualPartitioner))
	require.NoError(t, err)
	for i := range 3 {
		_, err := p.Send(t.Context(), record.Record{Topic: "orders", Value: fmt.Append(nil, i)})
		require.NoError(t, err)
	}
	require.NoError(t, p.Close())
	var out bytes.Buffer
	require.NoError(t, b.Backup(t.Context(), &out))
	return out.Bytes()
}

// wholeOrRefused opens a directory in which a restore was interrupted: it is
// refused, or holds all of the backup, or is empty and nothing was there.
func wholeOrRefused(t *testing.T, fsys vfs.FS, what string) (whole bool) {
	t.Helper()
	if _, err := fsys.Stat("/srv/data"); err != nil {
		return false
	}
	entries, err := fsys.ReadDir("/srv/data")
	require.NoError(t, err, what)
	b, err := openFixture(fsys)
	if err != nil {
		require.ErrorContains(t, err, "that was not completely restored", what)
		return false
	}
	defer func() { require.NoError(t, b.Close(), what) }()
	if _, err := b.host.Topic("orders"); errors.Is(err, fault.UnknownTopic) {
		require.Empty(t, entries, "%s: taken for a new directory", what)
		return false
	}
	require.True(t, b.Recovery().Clean, what)
	require.Empty(t, b.Recovery().Missing, what)
	p, err := b.host.Partition(record.TopicPartition{Topic: "orders"})
	require.NoError(t, err, what)
	require.EqualValues(t, 3, p.HighWatermark(), what)
	require.NoError(t, b.Verify(t.Context()), what)
	return true
}

// TestPowerLossWhileRestoring takes the power away at every change of the disk:
// half a backup is never taken for a data directory.
func TestPowerLossWhileRestoring(t *testing.T) {
	backup := tinyBackup(t, vfs.NewCrashable())
	disk := vfs.NewCrashable()
	fsys := vfs.NewFaulty(disk)
	n := 0
	fsys.Add(vfs.Rule{On: vfs.OpChange, Do: func() {
		n++
		for i := range losses + 2 {
			loss := vfs.Loss{Kept: vfs.KeepNone}
			switch {
			case i == 1:
				loss.Kept = vfs.KeepAll
			case i > 1:
				loss = vfs.RandomLoss(uint64(n*losses + i))
			}
			wholeOrRefused(t, disk.After(loss), fmt.Sprintf("change %d, %+v", n, loss))
		}
	}})
	require.NoError(t, restore(t.Context(), fsys, "/srv/data", bytes.NewReader(backup)))
	require.True(t, wholeOrRefused(t, disk.Crash(vfs.Loss{Kept: vfs.KeepNone}), "restored"))
}

// TestRestoreOnFailingDisk lets every operation fail once: the restore says so,
// and leaves nothing that opens as something else than all.
func TestRestoreOnFailingDisk(t *testing.T) {
	backup := tinyBackup(t, vfs.NewCrashable())
	for skip := 0; ; skip++ {
		memory := vfs.NewMemory()
		fsys := vfs.NewFaulty(memory)
		failed := false
		fsys.Add(vfs.Rule{On: vfs.OpAny, Skip: skip, Times: 1, Err: syscall.EIO, Do: func() { failed = true }})
		err := restore(t.Context(), fsys, "/srv/data", bytes.NewReader(backup))
		if !failed {
			require.NoError(t, err)
			require.Greater(t, skip, 50)
			return
		}
		if err != nil {
			require.ErrorIs(t, err, syscall.EIO, "operation %d", skip)
		}
		whole := wholeOrRefused(t, memory, fmt.Sprintf("operation %d", skip))
		require.Equal(t, err == nil, whole, "operation %d: %v", skip, err)
	}
}

// TestBackupOnFailingDisk ends a backup with an error when a file cannot be read
// or is damaged, and what was written is refused.
func TestBackupOnFailingDisk(t *testing.T) {
	memory := vfs.NewMemory()
	fsys := vfs.NewFaulty(memory)
	tinyBackup(t, memory)
	b, err := openFixture(fsys)
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	for _, test := range []struct {
		rule vfs.Rule
		err  error
	}{
		{vfs.Rule{On: vfs.OpRead, Times: 1, Err: syscall.EIO}, syscall.EIO},
		{vfs.Rule{On: vfs.OpRead, Match: func(path string) bool { return len(path) > 4 && path[len(path)-4:] == ".log" }, Spoil: func(p []byte) { p[len(p)-1] ^= 1 }}, fault.CorruptMessage},
	} {
		remove := fsys.Add(test.rule)
		var out bytes.Buffer
		require.ErrorIs(t, b.Backup(t.Context(), &out), test.err)
		remove()
		require.ErrorIs(t, restore(t.Context(), vfs.NewMemory(), "/srv/data", &out), fault.CorruptMessage)
	}
	var out bytes.Buffer
	require.NoError(t, b.Backup(t.Context(), &out))
	require.NoError(t, restore(t.Context(), vfs.NewMemory(), "/srv/data", &out))
}

// TestRestoreRefusesDamaged inverts each byte of a backup. What is restored in
// spite of that is the whole backup: the byte was of no meaning.
func TestRestoreRefusesDamaged(t *testing.T) {
	backup := tinyBackup(t, vfs.NewMemory())
	refused := 0
	for at := range backup {
		damaged := bytes.Clone(backup)
		damaged[at] ^= 0x41
		fsys := vfs.NewMemory()
		if restore(t.Context(), fsys, "/srv/data", bytes.NewReader(damaged)) != nil {
			refused++
			continue
		}
		require.True(t, wholeOrRefused(t, fsys, fmt.Sprint("byte ", at)))
	}
	require.Greater(t, refused, 1000)
}

// FuzzRestore restores bytes: they are refused, or make a directory that opens.
func FuzzRestore(f *testing.F) {
	backup := tinyBackup(f, vfs.NewMemory())
	f.Add(backup)
	f.Add(backup[:len(backup)/2])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		fsys := vfs.NewMemory()
		if restore(t.Context(), fsys, "/srv/data", bytes.NewReader(b)) != nil {
			return
		}
		broker, err := openFixture(fsys)
		require.NoError(t, err)
		require.NoError(t, broker.Verify(t.Context()))
		require.NoError(t, broker.Close())
	})
}

// rewritten returns an archive with the content of one file changed.
func rewritten(t *testing.T, backup []byte, name string, change func([]byte)) []byte {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	changed := false
	for r := tar.NewReader(bytes.NewReader(backup)); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		if h.Name == name {
			change(content)
			changed = true
		}
		require.NoError(t, w.WriteHeader(h))
		_, err = w.Write(content)
		require.NoError(t, err)
	}
	require.True(t, changed)
	require.NoError(t, w.Close())
	return out.Bytes()
}

// TestRestoreComparesChecksums refuses a backup of which a log's batches are sound,
// one by one, and are not those that were copied: the list at its end says so.
func TestRestoreComparesChecksums(t *testing.T) {
	backup := tinyBackup(t, vfs.NewCrashable())
	const segment = "orders-0/00000000000000000000.log"
	for name, change := range map[string]func([]byte){
		"another record": func(b []byte) {
			h, err := record.ParseHeader(b)
			require.NoError(t, err)
			b[h.Size()-2] ^= 1 // its value
			record.Seal(b[:h.Size()], h)
		},
		"another leader epoch": func(b []byte) { record.Stamp(b, 0, 7) },
	} {
		t.Run(name, func(t *testing.T) {
			fsys := vfs.NewMemory()
			err := restore(t.Context(), fsys, "/srv/data", bytes.NewReader(rewritten(t, backup, segment, change)))
			require.ErrorContains(t, err, "orders-0 is not what its list of contents says")
			require.False(t, wholeOrRefused(t, fsys, name))
		})
	}
	same := rewritten(t, backup, segment, func([]byte) {})
	require.NoError(t, restore(t.Context(), vfs.NewMemory(), "/srv/data", bytes.NewReader(same)))
}
