package tcp_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/replica/tcp"
)

// lines is a logger that keeps what it gets.
type lines chan string

func (l lines) Info(message string, attrs ...any)  { l <- fmt.Sprint("INFO ", message, attrs) }
func (l lines) Warn(message string, attrs ...any)  { l <- fmt.Sprint("WARN ", message, attrs) }
func (l lines) Error(message string, attrs ...any) { l <- fmt.Sprint("ERROR ", message, attrs) }

// A flood of strangers gets a line a second, and not one each.
func TestStrangersDoNotFillTheLog(t *testing.T) {
	atB := make(lines, 1000)
	began := time.Now()
	b, _ := start(t, "orders", 2, tcp.Plaintext(), tcp.Logger(atB))
	for range 100 {
		c, err := net.Dial("tcp", b.Addr())
		require.NoError(t, err)
		_, err = c.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
		require.NoError(t, err)
		_, _ = c.Read(make([]byte, 1)) // until it is closed
		require.NoError(t, c.Close())
	}
	require.Contains(t, <-atB, "does not speak the protocol between nodes")
	require.NoError(t, b.Close())
	require.LessOrEqual(t, len(atB), 1+int(time.Since(began)/time.Second))
}
