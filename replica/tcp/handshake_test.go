package tcp_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/replica"
	"github.com/runnel-go/runnel/replica/tcp"
)

// ear is a handler that says what happens, over channels with room enough.
type ear struct {
	frames chan *replica.Frame
	up     chan replica.NodeID
	down   chan error
	stream func(replica.Stream)
}

func newEar() *ear {
	return &ear{frames: make(chan *replica.Frame, 1000), up: make(chan replica.NodeID, 1000), down: make(chan error, 1000)}
}

func (e *ear) HandleFrame(_ replica.NodeID, _ replica.Lane, f *replica.Frame) { e.frames <- f }
func (e *ear) PeerUp(peer replica.NodeID)                                     { e.up <- peer }
func (e *ear) PeerDown(_ replica.NodeID, cause error)                         { e.down <- cause }

func (e *ear) HandleStream(_ replica.NodeID, _ replica.StreamKind, s replica.Stream) {
	if e.stream != nil {
		e.stream(s)
	}
}

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

// soon is a context for what should not take long.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// dial has node 1 open a stream to what it takes for node 2, and returns the error.
func dial(t *testing.T, a *tcp.Transport, address string) error {
	a.SetPeers(map[replica.NodeID]string{2: address})
	s, err := a.Open(soon(t), 2, 1)
	if err == nil {
		require.NoError(t, s.Close())
	}
	return err
}

func TestWrongClusterIsRefusedByName(t *testing.T) {
	a, _ := start(t, "orders", 1, tcp.Plaintext())
	b, _ := start(t, "payments", 2, tcp.Plaintext())
	err := dial(t, a, b.Addr())
	require.ErrorIs(t, err, fault.InconsistentClusterID)
	for _, part := range []string{"node 1", "node 2", `"orders"`, `"payments"`, b.Addr()} {
		require.ErrorContains(t, err, part)
	}
	require.False(t, fault.Retriable(err))
	require.False(t, a.Send(2, replica.LaneControl, &replica.Frame{}))
}

func TestWrongNodeIsRefusedByName(t *testing.T) {
	a, _ := start(t, "orders", 1, tcp.Plaintext())
	b, _ := start(t, "orders", 3, tcp.Plaintext())
	err := dial(t, a, b.Addr())
	require.ErrorIs(t, err, fault.InvalidVoterKey)
	for _, part := range []string{"node 1", "node 2", "node 3", b.Addr()} {
		require.ErrorContains(t, err, part)
	}
}

func TestTwoNodesWithOneIDDoNotMeet(t *testing.T) {
	a, _ := start(t, "orders", 1, tcp.Plaintext())
	b, _ := start(t, "orders", 2, tcp.Plaintext())
	other, _ := start(t, "orders", 2, tcp.Plaintext())
	require.NoError(t, dial(t, a, b.Addr()))
	other.SetPeers(map[replica.NodeID]string{2: b.Addr(), 7: b.Addr()})
	_, err := other.Open(soon(t), 7, 1)
	require.ErrorIs(t, err, fault.InvalidVoterKey)
}

// PeerError says why a peer's lanes are not connected, and nil once they are.
func TestPeerErrorSaysWhy(t *testing.T) {
	a, atA := start(t, "orders", 1, tcp.Plaintext())
	require.ErrorIs(t, a.PeerError(2), fault.NetworkException)
	require.ErrorContains(t, a.PeerError(2), "no address")
	b, _ := start(t, "orders", 2, tcp.Plaintext())
	a.SetPeers(map[replica.NodeID]string{2: b.Addr()})
	<-atA.up
	require.NoError(t, a.PeerError(2))
	require.NoError(t, b.Close())
	require.ErrorIs(t, <-atA.down, fault.NetworkException)
	require.ErrorIs(t, a.PeerError(2), fault.NetworkException)
	require.ErrorContains(t, a.PeerError(2), b.Addr())
}

func TestTLSOnOneSideAlone(t *testing.T) {
	ca := newAuthority(t)
	plain, _ := start(t, "orders", 1, tcp.Plaintext(), tcp.HandshakeTimeout(time.Second/2))
	secure, _ := start(t, "orders", 2, tcp.TLS(ca.node(t, "node-2")))
	require.Error(t, dial(t, plain, secure.Addr()))

	secure, _ = start(t, "orders", 1, tcp.TLS(ca.node(t, "node-1")), tcp.HandshakeTimeout(time.Second/2))
	plain, _ = start(t, "orders", 2, tcp.Plaintext())
	require.Error(t, dial(t, secure, plain.Addr()))
}

func TestForeignCertificatesAreRefused(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	b, _ := start(t, "orders", 2, tcp.TLS(ours.node(t, "node-2")))

	stranger := theirs.node(t, "node-1")
	a, _ := start(t, "orders", 1, tcp.TLS(stranger))
	require.ErrorIs(t, dial(t, a, b.Addr()), fault.ClusterAuthorization, "the dialing side does not trust the other's authority")

	stranger = theirs.node(t, "node-1")
	stranger.RootCAs = ours.pool
	a, _ = start(t, "orders", 1, tcp.TLS(stranger))
	require.ErrorIs(t, dial(t, a, b.Addr()), fault.ClusterAuthorization, "nor the accepting side")

	misplaced := ours.node(t, "node-1")
	misplaced.ServerName = "elsewhere"
	a, _ = start(t, "orders", 1, tcp.TLS(misplaced))
	require.ErrorIs(t, dial(t, a, b.Addr()), fault.ClusterAuthorization, "a certificate that is not valid for the address")

	a, _ = start(t, "orders", 1, tcp.TLS(ours.node(t, "node-1")))
	require.NoError(t, dial(t, a, b.Addr()))
}

// A certificate names its node, and speaks for no other.
func TestVerifyNode(t *testing.T) {
	ca := newAuthority(t)
	verify := tcp.VerifyNode(func(node replica.NodeID, state tls.ConnectionState) error {
		if name := fmt.Sprintf("node-%v", node); state.PeerCertificates[0].Subject.CommonName != name {
			return errors.New("it is not for " + name)
		}
		return nil
	})
	b, _ := start(t, "orders", 2, tcp.TLS(ca.node(t, "node-2")), verify)
	a, _ := start(t, "orders", 1, tcp.TLS(ca.node(t, "node-1")), verify)
	require.NoError(t, dial(t, a, b.Addr()))

	impostor, _ := start(t, "orders", 1, tcp.TLS(ca.node(t, "node-9")))
	err := dial(t, impostor, b.Addr())
	require.ErrorIs(t, err, fault.ClusterAuthorization, "the accepting side checks")
	require.ErrorContains(t, err, "not for node-1")

	fake, _ := start(t, "orders", 2, tcp.TLS(ca.node(t, "node-9")))
	err = dial(t, a, fake.Addr())
	require.ErrorIs(t, err, fault.ClusterAuthorization, "the dialing side checks")
	require.ErrorContains(t, err, "not for node-2")
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
	a, _ := start(t, "orders", 1, tcp.Plaintext())
	err := dial(t, a, b.Addr())
	for late := time.Now().Add(time.Minute); err != nil && time.Now().Before(late); { // this one may be too slow for node 2
		err = dial(t, a, b.Addr())
	}
	require.NoError(t, err)
}

// A peer may not open more streams than it is allowed, and those that it has go on.
func TestStreamsAreLimited(t *testing.T) {
	b, atB := start(t, "orders", 2, tcp.Plaintext(), tcp.MaxStreams(3))
	require.NoError(t, b.Close())
	b, err := tcp.New("orders", "127.0.0.1:0", append(patient[:], tcp.Plaintext(), tcp.MaxStreams(3))...)
	require.NoError(t, err)
	defer b.Close()
	atB.stream = func(s replica.Stream) { _, _ = io.Copy(s, s) }
	require.NoError(t, b.Start(2, atB))
	a, _ := start(t, "orders", 1, tcp.Plaintext())
	a.SetPeers(map[replica.NodeID]string{2: b.Addr()})
	var open []replica.Stream
	for range 3 {
		s, err := a.Open(soon(t), 2, 1)
		require.NoError(t, err)
		open = append(open, s)
	}
	_, err = a.Open(soon(t), 2, 1)
	require.ErrorIs(t, err, fault.PolicyViolation)
	require.ErrorContains(t, err, "3 streams")
	for _, s := range open {
		_, err := s.Write([]byte("x"))
		require.NoError(t, err)
		_, err = io.ReadFull(s, make([]byte, 1))
		require.NoError(t, err)
		require.NoError(t, s.Close())
	}
}

// A node that starts after its peer has tried for a while is reached.
func TestAPeerThatStartsLateIsReached(t *testing.T) {
	placeholder, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := placeholder.Addr().String()
	require.NoError(t, placeholder.Close())

	a, atA := start(t, "orders", 1, tcp.Plaintext())
	a.SetPeers(map[replica.NodeID]string{2: address})
	require.Eventually(t, func() bool { return fault.CodeOf(a.PeerError(2)) == fault.NetworkException }, time.Minute, time.Millisecond)
	b, err := tcp.New("orders", address, tcp.Plaintext())
	require.NoError(t, err)
	defer b.Close()
	require.NoError(t, b.Start(2, newEar()))
	b.SetPeers(map[replica.NodeID]string{1: a.Addr()})
	require.Equal(t, replica.NodeID(2), <-atA.up)
}

func TestOptionsAreChecked(t *testing.T) {
	ca := newAuthority(t)
	for name, options := range map[string][]tcp.Option{
		"neither":       nil,
		"both":          {tcp.Plaintext(), tcp.TLS(ca.node(t, "n"))},
		"no config":     {tcp.TLS(nil)},
		"a certificate": {tcp.TLS(&tls.Config{RootCAs: ca.pool})},
		"no authority":  {tcp.TLS(&tls.Config{Certificates: ca.node(t, "n").Certificates})},
		"verifies none": {tcp.TLS(&tls.Config{Certificates: ca.node(t, "n").Certificates, RootCAs: ca.pool, InsecureSkipVerify: true})},
		"verify":        {tcp.Plaintext(), tcp.VerifyNode(func(replica.NodeID, tls.ConnectionState) error { return nil })},
		"small frames":  {tcp.Plaintext(), tcp.MaxFrame(1)},
		"small budget":  {tcp.Plaintext(), tcp.MaxFrame(1 << 20), tcp.Budget(1 << 20)},
		"no streams":    {tcp.Plaintext(), tcp.MaxStreams(0)},
		"keep alive":    {tcp.Plaintext(), tcp.KeepAlive(time.Second, time.Second)},
		"handshake":     {tcp.Plaintext(), tcp.HandshakeTimeout(0)},
	} {
		_, err := tcp.New("orders", "127.0.0.1:0", options...)
		require.ErrorIs(t, err, fault.InvalidConfig, name)
	}
	_, err := tcp.New("", "127.0.0.1:0", tcp.Plaintext())
	require.ErrorIs(t, err, fault.InvalidConfig)
	a, err := tcp.New("orders", "127.0.0.1:0", tcp.Plaintext())
	require.NoError(t, err)
	defer a.Close()
	_, err = tcp.New("orders", a.Addr(), tcp.Plaintext())
	require.ErrorIs(t, err, fault.InvalidConfig)
	require.ErrorContains(t, err, a.Addr())
}
