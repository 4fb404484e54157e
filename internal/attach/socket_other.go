//go:build !linux

package attach

import "net"

// listenPrivately listens on a socket. Its file's mode is up to the umask until
// Listen changes it.
func listenPrivately(address string) (*net.UnixListener, error) {
	return net.ListenUnix("unix", &net.UnixAddr{Name: address, Net: "unix"})
}
