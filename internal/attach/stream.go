package attach

import (
	"io"
	"time"
)

// stream is a connection, of a socket or of a test.
type stream interface {
	io.ReadWriteCloser
	SetDeadline(t time.Time) error
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

// halfCloser is a stream that can end one direction: the other side then reads
// the end, and may still write.
type halfCloser interface{ CloseWrite() error }
