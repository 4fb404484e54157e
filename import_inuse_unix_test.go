//go:build unix

package runnel_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/datadir"
	"github.com/runnel-go/runnel/fault"
)

// kafkaLockVariable makes this test's process hold Kafka's lock on the file it names.
const kafkaLockVariable = "RUNNEL_TEST_KAFKA_LOCK"

// A broker that runs has its directory to itself.
func TestImportOfDirectoryInUse(t *testing.T) {
	if path := os.Getenv(kafkaLockVariable); path != "" {
		holdAsJava(t, path)
		return
	}
	from := runnel.KafkaDirectory(t)
	holder := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestImportOfDirectoryInUse$")
	holder.Env = append(os.Environ(), kafkaLockVariable+"="+filepath.Join(from, ".lock"))
	in, err := holder.StdinPipe()
	require.NoError(t, err)
	out, err := holder.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, holder.Start())
	_, err = bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "data")
	_, err = datadir.Import(t.Context(), dir, []string{from}, datadir.ImportOptions{})
	require.ErrorIs(t, err, fault.Storage)
	require.ErrorContains(t, err, "is in use by a broker")
	require.ErrorContains(t, err, "stop the broker")
	require.NoDirExists(t, dir)
	require.NoError(t, in.Close())
	_, _ = io.Copy(io.Discard, out)
	require.NoError(t, holder.Wait())
	_, err = datadir.Import(t.Context(), dir, []string{from}, datadir.ImportOptions{Topics: []string{"kappend"}})
	require.NoError(t, err)
}

// holdAsJava locks a file as Java's FileChannel.tryLock does, until standard input ends.
func holdAsJava(t *testing.T, path string) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart}))
	_, err = os.Stdout.WriteString("held\n")
	require.NoError(t, err)
	_, _ = io.Copy(io.Discard, os.Stdin)
}
