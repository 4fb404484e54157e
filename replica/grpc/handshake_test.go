package grpc_test

import (
	"context"
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
	"github.com/runnel-go/runnel/replica/transporttest"
)

// started returns a node on loopback.
func started(t *testing.T, id replica.NodeID, h replica.Handler) *grpc.Transport {
	node, err := grpc.New("orders", "127.0.0.1:0", grpc.Plaintext(), grpc.HandshakeTimeout(time.Hour))
	require.NoError(t, err)
	t.Cleanup(func() { _ = node.Close() })
	require.NoError(t, node.Start(id, h))
	return node
}

// stranger calls a node's method with these metadata, and sends a message.
func stranger(t *testing.T, address, method string, given metadata.MD, says []byte) error {
	conn, err := google.NewClient("passthrough:///"+address, google.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ctx = metadata.NewOutgoingContext(ctx, given)
	call, err := conn.NewStream(ctx, &google.StreamDesc{ClientStreams: true, ServerStreams: true}, method, google.ForceCodecV2(plain{}))
	if err != nil {
		return err
	}
	_ = call.SendMsg(says)
	return call.RecvMsg(new([]byte))
}

// What a stranger says is not of this protocol ends the call alone, with a reason.
func TestStrangersAreShownOut(t *testing.T) {
	b := started(t, 2, shouting{})
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

	heard := shouting{up: make(chan replica.NodeID, 1)}
	a := started(t, 1, heard)
	a.SetPeers(map[replica.NodeID]string{2: b.Addr()})
	<-heard.up
}

// One of TLS and Plaintext is given.
func TestSecurityIsSaid(t *testing.T) {
	config := transporttest.Certificate(t)
	for name, options := range map[string][]grpc.Option{
		"neither":   nil,
		"both":      {grpc.Plaintext(), grpc.TLS(config)},
		"no config": {grpc.TLS(nil)},
	} {
		_, err := grpc.New("orders", "127.0.0.1:0", options...)
		require.ErrorIs(t, err, fault.InvalidConfig, name)
		require.ErrorContains(t, err, "grpc.Plaintext", name)
	}
}
