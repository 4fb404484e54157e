package runnel

import (
	"context"
	"errors"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/attach"
	"github.com/runnel-go/runnel/internal/wire"
)

// A request to another node's broker, and its answer:
//
//	request: version 1 | kind 1 | catalogue 8 | fields of the kind
//	answer:  version 1 | catalogue 8 | error | fields of the kind, unless there is an error
//
// catalogue is how far its sender has followed the catalogue. The other side follows that
// far before it looks at the fields: a topic that they name is there.
const requestVersion = 1

// requestKind is what a request is about.
type requestKind int8

// The kinds have these numbers between nodes.
const (
	requestChange requestKind = iota + 1 // of the catalogue
	requestGroups                        // what a node knows of partitions' replicas
	requestConsumerGroups
	requestTransactions
	requestProducers
	requestShareGroups
	requestKey // the records of a key
)

// requestHandler answers the requests of a kind.
type requestHandler func(ctx context.Context, fields []byte) (answer []byte, err error)

func (b *Broker) requestHandler(k requestKind) requestHandler {
	switch k {
	case requestChange:
		return b.serveChange
	case requestGroups:
		return b.serveGroups
	case requestConsumerGroups:
		return b.groups.Serve
	case requestTransactions:
		return b.transactions.Serve
	case requestProducers:
		return b.serveProducers
	case requestShareGroups:
		return b.serveShares
	case requestKey:
		return b.serveKey
	}
	return nil
}

// ask has another node answer a request. Its errors are that node's, or else
// fault.NetworkException where the request had no effect, and fault.UnknownOutcome where it
// may have had one.
func (b *Broker) ask(ctx context.Context, node int32, kind requestKind, fields []byte) ([]byte, error) {
	var w wire.Writer
	w.Int8(requestVersion)
	w.Int8(int8(kind))
	w.Int64(b.followed.Load())
	answer, err := b.replication.Call(ctx, node, append(w.B, fields...))
	if err != nil {
		return nil, unanswered{err}
	}
	fields, catalogue, failed, err := readAnswer(answer)
	if err == nil {
		err = b.followTo(ctx, catalogue)
	}
	if err != nil {
		return nil, unanswered{fault.Newf(fault.UnknownOutcome, "the answer of node %d", node).Because(err)}
	}
	return fields, failed
}

// readAnswer reads an answer. failed is the other side's error.
func readAnswer(answer []byte) (fields []byte, catalogue int64, failed, err error) {
	r := wire.NewReader(answer)
	if v := r.Int8(); v != requestVersion {
		r.Fail("an answer of version %d", v)
	}
	catalogue, failed = r.Int64(), attach.ReadError(&r)
	if err := r.Err(); err != nil {
		return nil, 0, nil, err
	}
	return answer[len(answer)-r.Len():], catalogue, failed, nil
}

// followFor is how long a request waits until this node has followed the catalogue as far
// as the node that asks.
const followFor = 5 * time.Second

// answer answers another node's request.
func (b *Broker) answer(ctx context.Context, request []byte) []byte {
	fields, err := b.answerFields(ctx, request)
	if errors.Is(err, fault.Closed) { // this broker, and not the one that asks
		err = fault.Newf(fault.NetworkException, "node %d is closing", b.node())
	}
	var w wire.Writer
	w.Int8(requestVersion)
	w.Int64(b.followed.Load())
	attach.WriteError(&w, err)
	return append(w.B, fields...)
}

func (b *Broker) answerFields(ctx context.Context, request []byte) ([]byte, error) {
	r := wire.NewReader(request)
	version, kind, catalogue := r.Int8(), requestKind(r.Int8()), r.Int64()
	handler := b.requestHandler(kind)
	switch {
	case r.Err() != nil:
		return nil, r.Err()
	case version != requestVersion || handler == nil:
		return nil, fault.Newf(fault.UnsupportedVersion, "a request of version %d and kind %d", version, kind).
			Try("run the same version on all nodes")
	}
	soon, cancel := context.WithTimeout(ctx, followFor)
	defer cancel()
	if err := b.followTo(soon, catalogue); err != nil {
		return nil, fault.Newf(fault.NetworkException, "node %d", b.node()).Because(err)
	}
	return handler(ctx, request[len(request)-r.Len():])
}

// followTo waits until the topics of this process are what the catalogue says up to an
// offset.
func (b *Broker) followTo(ctx context.Context, offset int64) error {
	for {
		changed := b.host.MetadataChanged()
		if b.followed.Load() >= offset {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fault.Newf(fault.TimedOut, "following the catalogue up to offset %d", offset).Because(ctx.Err())
		case <-b.host.Closing():
			return fault.Closed
		}
	}
}
