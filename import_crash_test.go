package runnel

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/fixture"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
)

// importInto imports two small topics of Kafka's.
func importInto(t *testing.T, fsys vfs.FS, from string) error {
	return fixture.Import(t.Context(), fsys, "/srv/data", []string{from}, []string{"kappend", "kcompact"})
}

// importedOrRefused opens a directory in which an import was interrupted: it is refused,
// or holds all of it, or is empty and nothing was there.
func importedOrRefused(t *testing.T, fsys vfs.FS, what string) (whole bool) {
	t.Helper()
	if _, err := fsys.Stat("/srv/data"); err != nil {
		return false
	}
	entries, err := fsys.ReadDir("/srv/data")
	require.NoError(t, err, what)
	if len(entries) == 0 {
		return false
	}
	b, err := openFixture(fsys)
	if err != nil {
		require.ErrorContains(t, err, "an import that is not complete", what)
		return false
	}
	defer func() { require.NoError(t, b.Close(), what) }()
	require.True(t, b.Recovery().Clean, what)
	require.Empty(t, b.Recovery().Missing, what)
	for tp, end := range map[record.TopicPartition]int64{
		{Topic: "kappend"}: 100, {Topic: "kappend", Partition: 1}: 100, {Topic: "kcompact"}: 12000,
	} {
		p, err := b.host.Partition(tp)
		require.NoError(t, err, what)
		require.Equal(t, end, p.HighWatermark(), "%s: %s", what, tp)
	}
	require.NoError(t, b.Verify(t.Context()), what)
	return true
}

// Power is lost at every change of the disk: half an import is never taken for a data
// directory, and the next one completes it.
func TestPowerLossWhileImporting(t *testing.T) {
	from := KafkaDirectory(t)
	disk := vfs.NewCrashable()
	fsys := vfs.NewFaulty(disk)
	n := 0
	fsys.Add(vfs.Rule{On: vfs.OpChange, Do: func() {
		n++
		for i, loss := range []vfs.Loss{{Kept: vfs.KeepNone}, {Kept: vfs.KeepAll}, vfs.RandomLoss(uint64(n))} {
			what := fmt.Sprintf("change %d, %+v", n, loss)
			after := disk.After(loss)
			importedOrRefused(t, after, what)
			if (n+i)%11 == 0 { // going on is slow, and equal after most changes
				again := disk.After(loss)
				require.NoError(t, importAgain(t, again, from), what)
				require.True(t, importedOrRefused(t, again, what), what)
			}
		}
	}})
	require.NoError(t, importInto(t, fsys, from))
	require.True(t, importedOrRefused(t, disk.Crash(vfs.Loss{Kept: vfs.KeepNone}), "imported"))
	require.Greater(t, n, 30)
}

// importAgain goes on with an import, which is complete already if its last change was
// the removal of the mark.
func importAgain(t *testing.T, fsys vfs.FS, from string) error {
	err := importInto(t, fsys, from)
	if fault.CodeOf(err) == fault.InvalidRequest && importedOrRefused(t, fsys, "complete") {
		return nil
	}
	return err
}

// Every operation fails once: the import says so, and the next one completes it.
func TestImportOnFailingDisk(t *testing.T) {
	from := KafkaDirectory(t)
	for skip := 0; ; skip++ {
		memory := vfs.NewMemory()
		fsys := vfs.NewFaulty(memory)
		failed := false
		fsys.Add(vfs.Rule{On: vfs.OpAny, Skip: skip, Times: 1, Err: syscall.EIO, Do: func() { failed = true }})
		err := importInto(t, fsys, from)
		if !failed {
			require.NoError(t, err)
			require.Greater(t, skip, 50)
			return
		}
		what := fmt.Sprintf("operation %d: %v", skip, err)
		if err != nil {
			require.ErrorIs(t, err, syscall.EIO, what)
			importedOrRefused(t, memory, what)
			require.NoError(t, importAgain(t, memory, from), what)
		}
		require.True(t, importedOrRefused(t, memory, what), what)
	}
}
