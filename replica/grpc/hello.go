package grpc

import (
	"context"
	"crypto/tls"
	"errors"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	remote "google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/replica"
)

// hello is what the metadata of a call say.
type hello struct {
	cluster  string
	from, to replica.NodeID
	process  uint64
	kind     replica.StreamKind
}

const (
	keyCluster = "runnel-cluster-bin"
	keyFrom    = "runnel-from"
	keyTo      = "runnel-to"
	keyProcess = "runnel-process"
	keyKind    = "runnel-kind"
	keyCode    = "runnel-code"
)

// outgoing returns a context for a call with these metadata.
func (h hello) outgoing(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx,
		keyCluster, h.cluster, keyFrom, h.from.String(), keyTo, h.to.String(),
		keyProcess, strconv.FormatUint(h.process, 10), keyKind, strconv.Itoa(int(h.kind)))
}

// readHello reads the metadata of a call.
func readHello(ctx context.Context) (hello, error) {
	given, _ := metadata.FromIncomingContext(ctx)
	var errs []error
	text := func(key string) string {
		if values := given.Get(key); len(values) == 1 {
			return values[0]
		}
		errs = append(errs, fault.Newf(fault.InvalidRequest, "a call with %d values of %s", len(given.Get(key)), key))
		return ""
	}
	number := func(key string, bits int) uint64 {
		n, err := strconv.ParseUint(text(key), 10, bits)
		if err != nil {
			errs = append(errs, fault.Newf(fault.InvalidRequest, "a call whose %s is no number", key))
		}
		return n
	}
	h := hello{
		cluster: text(keyCluster),
		from:    replica.NodeID(number(keyFrom, 64)), to: replica.NodeID(number(keyTo, 64)),
		process: number(keyProcess, 64), kind: replica.StreamKind(number(keyKind, 8)),
	}
	return h, errors.Join(errs...)
}

// judge returns why a node refuses a call, or nil.
func (t *Transport) judge(ctx context.Context, h hello) error {
	switch {
	case h.cluster != t.hub.Cluster:
		return fault.Newf(fault.InconsistentClusterID, "node %v is of cluster %q, and the one it called, node %v, of cluster %q", h.from, h.cluster, t.hub.Self, t.hub.Cluster).
			Try("correct the address, or the cluster's name")
	case h.to != t.hub.Self:
		return fault.Newf(fault.InvalidVoterKey, "node %v called node %v, and reached node %v", h.from, h.to, t.hub.Self).Try("correct the address")
	case h.from == 0 || h.from == t.hub.Self:
		return fault.Newf(fault.InvalidRequest, "the node that calls node %v says that it is node %v", t.hub.Self, h.from)
	}
	return t.verifyNode(ctx, h.from)
}

// verifyNode asks the program whether the other side of a call is that node.
func (t *Transport) verifyNode(ctx context.Context, id replica.NodeID) error {
	var state tls.ConnectionState
	if p, ok := remote.FromContext(ctx); ok {
		info, _ := p.AuthInfo.(credentials.TLSInfo)
		state = info.State
	}
	return t.hub.VerifyNode(id, state)
}

// refuse ends a call with an error, whose code the trailer has.
func refuse(call grpc.ServerStream, err error) error {
	code, text := fault.CodeOf(err), err.Error()
	if code == fault.Closed {
		code = fault.NetworkException // Closed is what the side that closes says
	}
	if f := (*fault.Error)(nil); errors.As(err, &f) && f.Cause == nil {
		text = f.Detail // the code says the rest
	}
	call.SetTrailer(metadata.Pairs(keyCode, strconv.Itoa(int(code))))
	return status.Error(codes.FailedPrecondition, text)
}

// refused returns the error that a call's end and trailer stand for, or the call's own.
func refused(err error, trailer metadata.MD) error {
	if values := trailer.Get(keyCode); len(values) == 1 {
		if code, problem := strconv.ParseInt(values[0], 10, 16); problem == nil {
			return fault.Newf(fault.Code(code), "%s", status.Convert(err).Message())
		}
	}
	return err
}

// because returns the error for a call with another node that failed, naming
// both nodes and the address.
func (t *Transport) because(id replica.NodeID, address string, err error) error {
	code, hint := fault.NetworkException, ""
	switch text := status.Convert(err).Message(); {
	case fault.CodeOf(err) != fault.Unknown:
		code = fault.CodeOf(err)
	case status.Code(err) == codes.Unimplemented:
		code, hint = fault.UnsupportedVersion, "upgrade the older one"
	case strings.Contains(text, "tls: ") || strings.Contains(text, "x509: "):
		// gRPC hands on the text alone.
		code, hint = fault.ClusterAuthorization, "give each node a certificate that the others trust and that is valid for its address, and use TLS on all nodes or on none"
	}
	return fault.Newf(code, "node %v and node %v at %s", t.hub.Self, id, address).Because(err).Try(hint)
}
