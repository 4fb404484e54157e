package runnel_test

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/topic"
)

// asSomebody runs do without the rights of root: as another user, where the test
// has them.
func asSomebody(t *testing.T, do func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		do()
		return
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		const nobody = 65534
		_, _, _ = syscall.RawSyscall(syscall.SYS_SETFSUID, nobody, 0, 0)
		do()
	}()
	<-ended
}

// Where the operating system does not allow something, the error says so, and
// whose the file is.
func TestPermissionIsDenied(t *testing.T) {
	above := t.TempDir()
	for _, dir := range []string{above, filepath.Dir(above)} { // anybody may pass
		require.NoError(t, os.Chmod(dir, 0o755))
	}
	dir := filepath.Join(above, "data")
	b := openDir(t, dir)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	send(t, b, "orders", "k", "v")
	require.NoError(t, b.Close())
	denied := func(err error, file string) {
		t.Helper()
		if err == nil {
			t.Error("it was allowed")
			return
		}
		for _, is := range []error{fault.PermissionDenied, os.ErrPermission} {
			require.ErrorIs(t, err, is)
		}
		require.NotErrorIs(t, err, fault.Storage)
		require.False(t, fault.Retriable(err))
		require.ErrorContains(t, err, file+" belongs to user ")
		require.ErrorContains(t, err, "and this process is user ")
	}
	reset := func(mode os.FileMode, file string) {
		t.Helper()
		require.NoError(t, os.Chmod(file, mode))
	}

	reset(0o600, dir) // only root may read it
	asSomebody(t, func() {
		_, err := runnel.Open(dir)
		denied(err, dir)
	})
	reset(0o755, dir)
	lock := filepath.Join(dir, ".lock")
	reset(0o400, lock)
	asSomebody(t, func() {
		_, err := runnel.Open(dir)
		denied(err, lock)
	})
	require.NoError(t, filepath.Walk(dir, func(path string, _ os.FileInfo, err error) error { return os.Chmod(path, 0o777) }))
	reset(0o555, dir) // read-only
	asSomebody(t, func() {
		_, err := runnel.Open(dir)
		denied(err, dir)
		_, err = runnel.Open(filepath.Join(dir, "more"))
		denied(err, dir)
	})
	reset(0o777, dir)
	partition := filepath.Join(dir, "orders-0")
	reset(0o000, partition)
	asSomebody(t, func() {
		b, err := runnel.Open(dir)
		if err != nil {
			t.Error(err)
			return
		}
		_, err = b.DescribeTopics(t.Context(), "orders")
		if err == nil {
			err = b.Recovery().Partitions[1].Err
		}
		denied(err, partition)
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	reset(0o700, partition)
	require.Equal(t, int64(1), stateOf(t, openDir(t, dir), "orders").HighWatermark)
}
