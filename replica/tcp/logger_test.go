package tcp_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/replica"
	"github.com/runnel-go/runnel/replica/tcp"
)

// lines is a logger that keeps what it gets.
type lines chan string

func (l lines) Info(message string, attrs ...any)  { l <- fmt.Sprint("INFO ", message, attrs) }
func (l lines) Warn(message string, attrs ...any)  { l <- fmt.Sprint("WARN ", message, attrs) }
func (l lines) Error(message string, attrs ...any) { l <- fmt.Sprint("ERROR ", message, attrs) }

// An operator sees from the logs of either side why two nodes do not meet, and what became of those that did.
func TestTheLogSaysWhy(t *testing.T) {
	atA, atB := make(lines, 100), make(lines, 100)
	a, _ := start(t, "orders", 1, tcp.Plaintext(), tcp.Logger(atA))
	b, _ := start(t, "payments", 2, tcp.Plaintext(), tcp.Logger(atB))
	a.SetPeers(map[replica.NodeID]string{2: b.Addr()})
	for _, line := range []string{<-atA, <-atB} {
		require.Contains(t, line, "WARN ")
		require.Contains(t, line, `node 1 is of cluster "orders", and the one it dialed, node 2, of cluster "payments"`)
	}
	require.NoError(t, b.Close())

	b, _ = start(t, "orders", 2, tcp.Plaintext(), tcp.Logger(atB))
	a.SetPeers(map[replica.NodeID]string{2: b.Addr()})
	for line := range atA {
		if line == fmt.Sprint("INFO a peer is up", []any{"node", 1, "peer", 2, "address", b.Addr()}) {
			break
		}
		require.Contains(t, line, "a peer cannot be reached") // of the old address
	}
	require.NoError(t, b.Close())
	require.Contains(t, <-atA, "WARN a peer is down")
}

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
