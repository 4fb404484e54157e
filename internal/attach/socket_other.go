//go:build !unix

package attach

import "net"

// endpoint is a socket that listens.
type endpoint struct{ *net.UnixListener }

// listenAt listens at an address.
func listenAt(address string) (*endpoint, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: address, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	return &endpoint{l}, nil
}

// accept waits for the next client.
func (e *endpoint) accept() (stream, error) { return e.Accept() }

// dialTo connects to an address.
func dialTo(address string) (stream, error) {
	return net.DialTimeout("unix", address, helloPatience)
}
