package grpc_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	google "google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/replica"
	"github.com/runnel-go/runnel/replica/grpc"
)

// ear is a handler that says what happens, over channels with room enough.
type ear struct {
	up     chan replica.NodeID
	down   chan error
	stream func(replica.Stream)
}

func (e *ear) HandleFrame(_ replica.NodeID, _ replica.Lane, f *replica.Frame) { f.Done() }
func (e *ear) PeerUp(peer replica.NodeID)                                     { e.up <- peer }
func (e *ear) PeerDown(_ replica.NodeID, cause error)                         { e.down <- cause }

func (e *ear) HandleStream(_ replica.NodeID, _ replica.StreamKind, s replica.Stream) {
	if e.stream != nil {
		e.stream(s)
	}
}

// patient has nodes take a slow machine for nothing else: not for a dead peer, nor for one
// that is no node.
var patient = [...]grpc.Option{grpc.KeepAlive(10*time.Second, 10*time.Minute), grpc.HandshakeTimeout(10 * time.Minute)}

// start returns a started node on loopback, which is patient unless the options differ.
func start(t testing.TB, cluster string, id replica.NodeID, options ...grpc.Option) (*grpc.Transport, *ear) {
	node, err := grpc.New(cluster, "127.0.0.1:0", append(patient[:], options...)...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = node.Close() })
	e := &ear{up: make(chan replica.NodeID, 1000), down: make(chan error, 1000), stream: func(s replica.Stream) { _, _ = io.Copy(s, s) }}
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
func dial(t *testing.T, a *grpc.Transport, address string) error {
	a.SetPeers(map[replica.NodeID]string{2: address})
	s, err := a.Open(soon(t), 2, 1)
	if err == nil {
		require.NoError(t, s.Close())
	}
	return err
}

func TestWrongClusterIsRefusedByName(t *testing.T) {
	a, _ := start(t, "orders", 1, grpc.Plaintext())
	b, _ := start(t, "payments", 2, grpc.Plaintext())
	err := dial(t, a, b.Addr())
	require.ErrorIs(t, err, fault.InconsistentClusterID)
	for _, part := range []string{"node 1", "node 2", `"orders"`, `"payments"`, b.Addr()} {
		require.ErrorContains(t, err, part)
	}
	require.ErrorIs(t, a.PeerError(2), fault.InconsistentClusterID)
	require.False(t, a.Send(2, replica.LaneControl, &replica.Frame{}))
}

// Of two processes with one number, the one that is connected stays, and both sides say that
// there is another one. When it ends, the other one may take its place.
func TestTwoProcessesThatAreOneNode(t *testing.T) {
	atA := make(lines, 1000)
	a, _ := start(t, "orders", 1, grpc.Plaintext(), grpc.Logger(atA))
	first, atFirst := start(t, "orders", 2, grpc.Plaintext())
	first.SetPeers(map[replica.NodeID]string{1: a.Addr()})
	<-atFirst.up

	atSecond := make(lines, 1000)
	second, earOfSecond := start(t, "orders", 2, grpc.Plaintext(), grpc.Logger(atSecond))
	second.SetPeers(map[replica.NodeID]string{1: a.Addr()})
	for _, log := range []lines{atA, atSecond} {
		require.Contains(t, <-log, "two processes say that they are node 2")
	}
	_, err := second.Open(soon(t), 1, 1)
	require.ErrorIs(t, err, fault.DuplicateBroker)
	require.True(t, first.Send(1, replica.LaneControl, &replica.Frame{}), "the first one is not disturbed")
	require.Empty(t, atFirst.down)

	require.NoError(t, first.Close())
	require.Equal(t, replica.NodeID(1), <-earOfSecond.up)
}

// A process whose machine is gone, which no one was told of, keeps its successor out for a few timeouts, and not longer.
func TestASilentProcessIsReplaced(t *testing.T) {
	wires := newWires()
	t.Cleanup(wires.end)
	hasty := grpc.KeepAlive(50*time.Millisecond, 200*time.Millisecond)
	a, _ := start(t, "orders", 1, hasty, grpc.Plaintext())
	first, atFirst := start(t, "orders", 2, hasty, grpc.Plaintext())
	first.SetPeers(map[replica.NodeID]string{1: wires.proxy(t, a.Addr()).Addr().String()})
	<-atFirst.up
	wires.Cut()

	second, atSecond := start(t, "orders", 2, hasty, grpc.Plaintext())
	second.SetPeers(map[replica.NodeID]string{1: a.Addr()})
	require.Equal(t, replica.NodeID(1), <-atSecond.up)
}

// lines is a logger that keeps what it gets.
type lines chan string

func (l lines) Info(message string, attrs ...any)  { l <- fmt.Sprint("INFO ", message, attrs) }
func (l lines) Warn(message string, attrs ...any)  { l <- fmt.Sprint("WARN ", message, attrs) }
func (l lines) Error(message string, attrs ...any) { l <- fmt.Sprint("ERROR ", message, attrs) }

func TestForeignCertificatesAreRefused(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	b, _ := start(t, "orders", 2, grpc.TLS(ours.node(t, "node-2")))

	a, _ := start(t, "orders", 1, grpc.TLS(theirs.node(t, "node-1")))
	require.ErrorIs(t, dial(t, a, b.Addr()), fault.ClusterAuthorization, "the calling side does not trust the other's authority")

	stranger := theirs.node(t, "node-1")
	stranger.RootCAs = ours.pool
	a, _ = start(t, "orders", 1, grpc.TLS(stranger))
	require.Error(t, dial(t, a, b.Addr()), "nor the accepting side")

	misplaced := ours.node(t, "node-1")
	misplaced.ServerName = "elsewhere"
	a, _ = start(t, "orders", 1, grpc.TLS(misplaced))
	require.ErrorIs(t, dial(t, a, b.Addr()), fault.ClusterAuthorization, "a certificate that is not valid for the address")

	a, _ = start(t, "orders", 1, grpc.Plaintext())
	require.Error(t, dial(t, a, b.Addr()), "no certificate")

	a, _ = start(t, "orders", 1, grpc.TLS(ours.node(t, "node-1")))
	require.NoError(t, dial(t, a, b.Addr()))
}

// A certificate names its node, and speaks for no other.
func TestVerifyNode(t *testing.T) {
	ca := newAuthority(t)
	verify := grpc.VerifyNode(func(node replica.NodeID, state tls.ConnectionState) error {
		if name := fmt.Sprintf("node-%v", node); state.PeerCertificates[0].Subject.CommonName != name {
			return errors.New("it is not for " + name)
		}
		return nil
	})
	b, _ := start(t, "orders", 2, grpc.TLS(ca.node(t, "node-2")), verify)
	a, _ := start(t, "orders", 1, grpc.TLS(ca.node(t, "node-1")), verify)
	require.NoError(t, dial(t, a, b.Addr()))

	impostor, _ := start(t, "orders", 1, grpc.TLS(ca.node(t, "node-9")))
	err := dial(t, impostor, b.Addr())
	require.ErrorIs(t, err, fault.ClusterAuthorization, "the accepting side checks")
	require.ErrorContains(t, err, "not for node-1")

	fake, _ := start(t, "orders", 2, grpc.TLS(ca.node(t, "node-9")))
	err = dial(t, a, fake.Addr())
	require.ErrorIs(t, err, fault.ClusterAuthorization, "the calling side checks")
	require.ErrorContains(t, err, "not for node-2")
}

// A peer may not open more streams than it is allowed, and those that it has go on.
func TestStreamsAreLimited(t *testing.T) {
	b, _ := start(t, "orders", 2, grpc.Plaintext(), grpc.MaxStreams(3))
	a, _ := start(t, "orders", 1, grpc.Plaintext())
	a.SetPeers(map[replica.NodeID]string{2: b.Addr()})
	var open []replica.Stream
	for range 3 {
		s, err := a.Open(soon(t), 2, 1)
		require.NoError(t, err)
		open = append(open, s)
	}
	_, err := a.Open(soon(t), 2, 1)
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

// stranger calls a node's method with these metadata, and sends a message.
func stranger(t *testing.T, address, method string, given metadata.MD, says []byte) error {
	conn, err := google.NewClient("passthrough:///"+address, google.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	ctx := metadata.NewOutgoingContext(soon(t), given)
	call, err := conn.NewStream(ctx, &google.StreamDesc{ClientStreams: true, ServerStreams: true}, method, google.ForceCodecV2(plain{}))
	if err != nil {
		return err
	}
	_ = call.SendMsg(says)
	return call.RecvMsg(new([]byte))
}

// What a stranger says is not of this protocol ends the call alone, with a reason.
func TestStrangersAreShownOut(t *testing.T) {
	b, _ := start(t, "orders", 2, grpc.Plaintext())
	given := func(changes ...string) metadata.MD {
		md := metadata.Pairs("runnel-cluster-bin", "orders", "runnel-from", "1", "runnel-to", "2", "runnel-process", "3", "runnel-kind", "0")
		for i := 0; i < len(changes); i += 2 {
			md.Set(changes[i], changes[i+1])
		}
		return md
	}
	frame := []byte{255, 255, 255, 255, 0, 0, 0, 0}
	for name, c := range map[string]struct {
		method string
		given  metadata.MD
		says   []byte
		code   codes.Code
		reason string
	}{
		"no metadata":            {"Bulk", nil, nil, codes.FailedPrecondition, "runnel-cluster-bin"},
		"a number that is none":  {"Bulk", given("runnel-from", "x"), nil, codes.FailedPrecondition, "runnel-from"},
		"a kind beyond its byte": {"Stream", given("runnel-kind", "256"), nil, codes.FailedPrecondition, "runnel-kind"},
		"the node itself":        {"Bulk", given("runnel-from", "2"), nil, codes.FailedPrecondition, "says that it is node 2"},
		"an unknown method":      {"Other", given(), nil, codes.Unimplemented, "Other"},
		"no frame":               {"Control", given(), frame, codes.FailedPrecondition, "a frame of"},
		"too large a frame":      {"Bulk", given(), make([]byte, 17<<20), codes.ResourceExhausted, "larger than max"},
	} {
		err := stranger(t, b.Addr(), "/runnel.replica.v1.Node/"+c.method, c.given, c.says)
		require.Equal(t, c.code.String(), status.Code(err).String(), "%s: %v", name, err)
		require.ErrorContains(t, err, c.reason, name)
	}
	c, err := net.Dial("tcp", b.Addr())
	require.NoError(t, err)
	_, err = c.Write([]byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))
	require.NoError(t, err)
	_, err = io.ReadAll(c)
	require.NotErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, c.Close())

	a, _ := start(t, "orders", 1, grpc.Plaintext())
	require.NoError(t, dial(t, a, b.Addr()))
}

func TestOptionsAreChecked(t *testing.T) {
	ca := newAuthority(t)
	for name, options := range map[string][]grpc.Option{
		"neither":       nil,
		"both":          {grpc.Plaintext(), grpc.TLS(ca.node(t, "n"))},
		"no config":     {grpc.TLS(nil)},
		"a certificate": {grpc.TLS(&tls.Config{RootCAs: ca.pool})},
		"no authority":  {grpc.TLS(&tls.Config{Certificates: ca.node(t, "n").Certificates})},
		"verifies none": {grpc.TLS(&tls.Config{Certificates: ca.node(t, "n").Certificates, RootCAs: ca.pool, InsecureSkipVerify: true})},
		"verify":        {grpc.Plaintext(), grpc.VerifyNode(func(replica.NodeID, tls.ConnectionState) error { return nil })},
		"small frames":  {grpc.Plaintext(), grpc.MaxFrame(1)},
		"small budget":  {grpc.Plaintext(), grpc.MaxFrame(1 << 20), grpc.Budget(1 << 20)},
		"no streams":    {grpc.Plaintext(), grpc.MaxStreams(0)},
		"keep alive":    {grpc.Plaintext(), grpc.KeepAlive(time.Second, time.Second)},
		"handshake":     {grpc.Plaintext(), grpc.HandshakeTimeout(0)},
	} {
		_, err := grpc.New("orders", "127.0.0.1:0", options...)
		require.ErrorIs(t, err, fault.InvalidConfig, name)
	}
	_, err := grpc.New("", "127.0.0.1:0", grpc.Plaintext())
	require.ErrorIs(t, err, fault.InvalidConfig)
	a, err := grpc.New("orders", "127.0.0.1:0", grpc.Plaintext())
	require.NoError(t, err)
	defer a.Close()
	_, err = grpc.New("orders", a.Addr(), grpc.Plaintext())
	require.ErrorIs(t, err, fault.InvalidConfig)
	require.ErrorContains(t, err, a.Addr())
}
