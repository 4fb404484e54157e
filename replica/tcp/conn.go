package tcp

import (
	"bufio"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// conn is a TCP connection, with TLS or without. One goroutine may read and another
// one write.
type conn struct {
	*socket
	tls *tls.Conn     // nil without TLS
	r   *bufio.Reader // over tls or the socket
}

// socket is a TCP connection as TLS sees it: each read and each write has its own deadline, and
// writes can be gathered.
type socket struct {
	net.Conn
	patience time.Duration // how long one read may wait; 0: as long as it takes

	// TLS writes under a lock of its own, so this one is for gather alone.
	mu       sync.Mutex
	stall    time.Duration // how long a write may make no progress; 0: as long as it takes
	gathers  bool
	gathered []byte
}

// maxGathered is how many bytes are gathered before they are written after all.
const maxGathered = 256 << 10

func newConn(raw net.Conn) *conn {
	c := &conn{socket: &socket{Conn: raw}}
	c.r = bufio.NewReaderSize(c.socket, step)
	return c
}

// secure has TLS speak through the connection.
func (c *conn) secure(t *tls.Conn) {
	c.tls = t
	c.r = bufio.NewReaderSize(t, step)
}

// established ends the deadlines of the handshake.
func (c *conn) established(patience, stall time.Duration) {
	_ = c.SetDeadline(time.Time{})
	c.patience = patience
	c.mu.Lock()
	c.stall = stall
	c.mu.Unlock()
}

// write writes all buffers, and consumes the slice.
func (c *conn) write(bufs net.Buffers) error {
	if c.tls == nil {
		c.mu.Lock()
		stall := c.stall
		c.mu.Unlock()
		return persist(c.Conn, stall, func() (int64, error) { return bufs.WriteTo(c.Conn) })
	}
	c.gather(true)
	for _, b := range bufs {
		if len(b) == 0 {
			continue
		}
		if _, err := c.tls.Write(b); err != nil {
			return err
		}
	}
	return c.gather(false)
}

// persist repeats a write until it is done, or makes no progress for stall.
func persist(raw net.Conn, stall time.Duration, write func() (int64, error)) error {
	for {
		if stall > 0 {
			_ = raw.SetWriteDeadline(time.Now().Add(stall))
		}
		n, err := write()
		if n == 0 || stall == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
}

// Read is net.Conn's.
func (s *socket) Read(p []byte) (int, error) {
	if s.patience > 0 {
		_ = s.SetReadDeadline(time.Now().Add(s.patience))
	}
	return s.Conn.Read(p)
}

// Write is net.Conn's, for TLS.
func (s *socket) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gathered = append(s.gathered, p...)
	if s.gathers && len(s.gathered) < maxGathered {
		return len(p), nil
	}
	return len(p), s.flush()
}

// gather makes writes wait for the next call, which writes them.
func (s *socket) gather(on bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gathers = on
	if on {
		return nil
	}
	return s.flush()
}

func (s *socket) flush() error {
	rest := s.gathered
	s.gathered = s.gathered[:0]
	return persist(s.Conn, s.stall, func() (int64, error) {
		n, err := s.Conn.Write(rest)
		rest = rest[n:]
		return int64(n), err
	})
}
