package attach

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A client that finds a socket's queue full tries again until there is room, or
// helloPatience has passed.
func TestDialComesBackToACrowd(t *testing.T) {
	dir := t.TempDir()
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	socket := os.NewFile(uintptr(fd), "socket")
	defer socket.Close()
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrUnix{Name: filepath.Join(dir, SocketName)}))
	require.NoError(t, syscall.Listen(fd, 0))
	first, err := net.Dial("unix", filepath.Join(dir, SocketName))
	require.NoError(t, err)
	defer first.Close()

	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_, err := dial(t.Context(), dir)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, helloPatience, time.Since(began))

		go func() {
			time.Sleep(crowdPause / 2)
			let, _, err := syscall.Accept(fd)
			if err == nil {
				err = syscall.Close(let)
			}
			if err != nil {
				t.Error(err)
			}
		}()
		conn, err := dial(t.Context(), dir)
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	})
}
