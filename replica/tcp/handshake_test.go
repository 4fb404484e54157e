package tcp_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/replica"
	"github.com/runnel-go/runnel/replica/tcp"
	"github.com/runnel-go/runnel/replica/transporttest"
)

// ear is a handler that says what happens, over channels with room enough.
type ear struct {
	frames chan *replica.Frame
	up     chan replica.NodeID
}

func newEar() *ear {
	return &ear{frames: make(chan *replica.Frame, 1000), up: make(chan replica.NodeID, 1000)}
}

func (e *ear) HandleFrame(_ replica.NodeID, _ replica.Lane, f *replica.Frame) { e.frames <- f }

func (e *ear) HandleStream(replica.NodeID, replica.StreamKind, replica.Stream) {}

func (e *ear) PeerUp(peer replica.NodeID) { e.up <- peer }

func (e *ear) PeerDown(replica.NodeID, error) {}

// patient has nodes take a slow machine for nothing else: not for a dead peer, nor for one
// that is no node.
var patient = [...]tcp.Option{tcp.KeepAlive(10*time.Second, 10*time.Minute), tcp.HandshakeTimeout(10 * time.Minute)}

// start returns a started node on loopback, which is patient unless the options differ.
func start(t testing.TB, cluster string, id replica.NodeID, options ...tcp.Option) (*tcp.Transport, *ear) {
	node, err := tcp.New(cluster, "127.0.0.1:0", append(patient[:], options...)...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = node.Close() })
	e := newEar()
	require.NoError(t, node.Start(id, e))
	return node, e
}

// A thousand connections say nothing. Two honest nodes meet all the same, at once.
func TestHalfOpenConnectionsKeepNoOneOut(t *testing.T) {
	b, atB := start(t, "orders", 2, tcp.Plaintext(), tcp.HandshakeTimeout(time.Minute))
	var silent []net.Conn
	defer func() {
		for _, c := range silent {
			_ = c.Close()
		}
	}()
	for i := range 1000 {
		c, err := net.Dial("tcp", b.Addr())
		require.NoError(t, err)
		silent = append(silent, c)
		if i%2 == 0 { // half of them begin to speak
			_, _ = c.Write([]byte("RNLT\x00\x01"))
		}
	}
	a, atA := start(t, "orders", 1, tcp.Plaintext())
	a.SetPeers(map[replica.NodeID]string{2: b.Addr()})
	<-atA.up
	require.True(t, a.Send(2, replica.LaneControl, &replica.Frame{Header: []byte("hello")}))
	require.Equal(t, "hello", string((<-atB.frames).Header))

	open := silent
	for late := time.Now().Add(time.Minute); len(open) > 128 && time.Now().Before(late); {
		open = slices.DeleteFunc(slices.Clone(open), func(c net.Conn) bool {
			_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
			_, err := c.Read(make([]byte, 1))
			ne, ok := errors.AsType[net.Error](err)
			return !ok || !ne.Timeout()
		})
	}
	require.LessOrEqual(t, len(open), 128, "connections that are kept")
}

// What comes from the network and is not of this protocol closes its connection.
func TestStrangersAreShownOut(t *testing.T) {
	b, _ := start(t, "orders", 2, tcp.Plaintext(), tcp.HandshakeTimeout(300*time.Millisecond))
	for name, says := range map[string]string{
		"a browser":                "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"a length beyond limits":   "RNLT\x00\x01\xff\xff" + string(make([]byte, 100)),
		"a wrong checksum":         "RNLT\x00\x01\x00\x01\x00\x00\x00\x00\x00",
		"one that says too little": "RNLT",
		"one that says nothing":    "",
	} {
		c, err := net.Dial("tcp", b.Addr())
		require.NoError(t, err, name)
		_, err = c.Write([]byte(says))
		require.NoError(t, err, name)
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		n, err := c.Read(make([]byte, 1))
		require.Zero(t, n, name)
		require.NotErrorIs(t, err, context.DeadlineExceeded, name)
		require.NoError(t, c.Close())
	}
	a, atA := start(t, "orders", 1, tcp.Plaintext())
	a.SetPeers(map[replica.NodeID]string{2: b.Addr()})
	<-atA.up
}

// One of TLS and Plaintext is given.
func TestSecurityIsSaid(t *testing.T) {
	config := transporttest.Certificate(t)
	for name, options := range map[string][]tcp.Option{
		"neither":   nil,
		"both":      {tcp.Plaintext(), tcp.TLS(config)},
		"no config": {tcp.TLS(nil)},
	} {
		_, err := tcp.New("orders", "127.0.0.1:0", options...)
		require.ErrorIs(t, err, fault.InvalidConfig, name)
		require.ErrorContains(t, err, "tcp.Plaintext", name)
	}
}
