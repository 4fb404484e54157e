package runnel_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/topic"
)

// attachTo attaches to the broker that holds dir until the test ends.
func attachTo(t *testing.T, dir string) *runnel.Remote {
	t.Helper()
	r, err := runnel.Attach(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

// Only this user may use the socket, and it is there exactly while the broker is
// open.
func TestSocketComesAndGoesWithTheBroker(t *testing.T) {
	dir := t.TempDir()
	b, err := runnel.Open(dir)
	require.NoError(t, err)
	path, err := b.Socket()
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, ".runnel.sock"), path)
	info, err := os.Lstat(path)
	require.NoError(t, err)
	require.Equal(t, os.ModeSocket|0o600, info.Mode())
	require.NoError(t, b.Close())
	require.NoFileExists(t, path)
	require.NoError(t, b.Close())

	_, err = runnel.Attach(dir)
	require.ErrorIs(t, err, fault.Closed)
	require.ErrorContains(t, err, "no broker listens in "+dir+", which no process has open")
	_, err = runnel.Attach(filepath.Join(dir, "nowhere"))
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorIs(t, err, fault.Closed)
	require.ErrorContains(t, err, "nowhere, which does not exist")
}

func TestNoSocket(t *testing.T) {
	dir := t.TempDir()
	b := openDir(t, dir, runnel.NoSocket())
	path, err := b.Socket()
	require.NoError(t, err)
	require.Empty(t, path)
	_, err = runnel.Attach(dir)
	require.ErrorIs(t, err, fault.Closed)
	require.ErrorContains(t, err, fmt.Sprintf(", which this process (%d) was the last to open", os.Getpid()))
	require.ErrorContains(t, err, "runnel.NoSocket")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		require.NotContains(t, e.Name(), "sock")
	}

	m, err := runnel.OpenMemory()
	require.NoError(t, err)
	defer m.Close()
	path, err = m.Socket()
	require.NoError(t, err)
	require.Empty(t, path)
}

// A killed process leaves its socket behind, and the next one replaces it.
func TestSocketOfAKilledProcess(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	require.NoError(t, err)
	child := exec.Command(self)
	child.Env = append(os.Environ(), holdVariable+"="+dir)
	_, err = child.StdinPipe()
	require.NoError(t, err)
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	line := make([]byte, len("holding\n"))
	_, err = out.Read(line)
	require.NoError(t, err)
	r := attachTo(t, dir)
	_, err = r.Topics(t.Context())
	require.NoError(t, err)

	require.NoError(t, child.Process.Kill())
	var exit *exec.ExitError
	require.True(t, errors.As(child.Wait(), &exit))
	require.FileExists(t, filepath.Join(dir, ".runnel.sock"))
	_, err = runnel.Attach(dir)
	require.ErrorIs(t, err, fault.Closed)
	_, err = r.Topics(t.Context())
	require.ErrorIs(t, err, fault.Closed)

	b := openDir(t, dir)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	names, err := attachTo(t, dir).Topics(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"orders"}, names)

	// Who was attached to the one before does not reach the next by accident.
	_, err = r.Topics(t.Context())
	require.ErrorIs(t, err, fault.Closed)
}

// A socket's address is short, and directories are not.
func TestSocketInALongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 40)+"data")
	b := openDir(t, dir)
	path, err := b.Socket()
	if runtime.GOOS != "linux" {
		require.Empty(t, path)
		require.ErrorContains(t, err, "a socket's at most")
		return
	}
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, ".runnel.sock"), path)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}))
	names, err := attachTo(t, dir).Topics(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"orders"}, names)
	require.NoError(t, b.Close())
	require.NoFileExists(t, path)
}

// What cannot listen opens nevertheless, and says why; a file of that name is
// not ours to remove.
func TestOpenWithoutSocket(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, ".runnel.sock")
	require.NoError(t, os.WriteFile(path, []byte("mine"), 0o600))
	b := openDir(t, dir)
	at, err := b.Socket()
	require.Empty(t, at)
	require.ErrorContains(t, err, "exists and is not a socket")
	require.NoError(t, b.Close())
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "mine", string(text))
}

// Close does not wait for clients: not for one that is silent, and not for one that does not
// listen.
func TestCloseWithSilentClients(t *testing.T) {
	dir := t.TempDir()
	b := openDir(t, dir)
	path, err := b.Socket()
	require.NoError(t, err)
	for range 3 {
		conn, err := net.Dial("unix", path)
		require.NoError(t, err)
		defer conn.Close()
	}
	attachTo(t, dir)
	require.NoError(t, b.Close())
}

// The error of the second one to open a directory says what to do instead.
func TestLockedPointsToAttach(t *testing.T) {
	dir := t.TempDir()
	openDir(t, dir)
	_, err := runnel.Open(dir)
	require.ErrorIs(t, err, fault.Locked)
	require.ErrorContains(t, err, "runnel.Attach")
}
