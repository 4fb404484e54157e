package replica

import (
	"bufio"
	"context"
	"encoding/binary"
	"time"

	"github.com/runnel-go/runnel/fault"
)

// StreamCalls is the kind of the stream on which a node asks another one's broker. Each
// has one request and one answer:
//
//	request: length 4 | bytes
//	answer:  length 4 | bytes, none if no broker serves yet
const StreamCalls StreamKind = 2

// maxCall is how many bytes a request or an answer has at the most.
const maxCall = 16 << 20

// callAlone is how long an answer may take whose caller sets no limit.
const callAlone = 2 * time.Minute

// Call brings a request to another node's broker and returns the answer; see
// runnel.Replication.
func (n *Node) Call(ctx context.Context, node int32, request []byte) ([]byte, error) {
	if len(request) > maxCall {
		return nil, fault.Newf(fault.RecordListTooLarge, "a request of %d bytes to node %d", len(request), node)
	}
	ctx, cancel := context.WithTimeout(ctx, callAlone)
	defer cancel()
	stream, err := n.cfg.Transport.Open(ctx, NodeID(node), StreamCalls)
	if err != nil {
		return nil, fault.Newf(fault.NetworkException, "node %d", node).Because(err)
	}
	defer stream.Close()
	if _, err = stream.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(request))), request...)); err == nil {
		err = stream.CloseWrite()
	}
	var answer []byte
	if err == nil {
		answer, err = readFrame(bufio.NewReader(stream), maxCall)
	}
	if err != nil {
		return nil, fault.Newf(fault.UnknownOutcome, "a request to node %d", node).Because(err)
	}
	if len(answer) == 0 {
		return nil, fault.Newf(fault.NetworkException, "node %d answers no requests yet", node)
	}
	return answer, nil
}

// Serve sets what answers the requests of other nodes; see runnel.Replication.
func (n *Node) Serve(answer func(ctx context.Context, request []byte) []byte) {
	n.answer.Store(&answer)
}

// serveCall answers one request: with nothing, where no broker serves yet.
func (n *Node) serveCall(stream Stream) {
	request, err := readFrame(bufio.NewReader(stream), maxCall)
	answer := n.answer.Load()
	if err != nil {
		return
	}
	var b []byte
	if answer != nil {
		b = (*answer)(n.ctx, request)
	}
	if len(b) > maxCall {
		return
	}
	_, _ = stream.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
}
