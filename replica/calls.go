package replica

import (
	"bufio"
	"context"
	"encoding/binary"
	"sync"
	"time"

	"github.com/runnel-go/runnel/fault"
)

// StreamCalls is the kind of the stream on which a node asks another one's broker:
//
//	request: length 4 | number 8 | bytes
//	answer:  length 4 | number 8 | bytes, none if no broker serves yet
//
// Answers come in any order.
const StreamCalls StreamKind = 2

const (
	// maxCall is how many bytes a request or an answer has at the most, with its number.
	maxCall = 16 << 20

	// waitingCalls is how many requests of one stream are answered at a time, or their answers being sent: a
	// member's questions wait at its coordinator, one for each partition of __consumer_offsets.
	waitingCalls = 256

	// callAlone is how long an answer may take whose caller sets no limit.
	callAlone = 2 * time.Minute
)

// Call brings a request to another node's broker and returns the answer; see
// runnel.Replication.
func (n *Node) Call(ctx context.Context, node int32, request []byte) ([]byte, error) {
	if len(request) > maxCall-8 {
		return nil, fault.Newf(fault.RecordListTooLarge, "a request of %d bytes to node %d", len(request), node)
	}
	ctx, cancel := context.WithTimeout(ctx, callAlone)
	defer cancel()
	answer, err := n.link(NodeID(node), StreamCalls, maxCall).await(ctx, request)
	switch {
	case fault.CodeOf(err) == fault.NetworkException:
		return nil, fault.Newf(fault.NetworkException, "node %d", node).Because(err)
	case err != nil:
		return nil, fault.Newf(fault.UnknownOutcome, "a request to node %d", node).Because(err)
	case len(answer) == 0:
		return nil, fault.Newf(fault.NetworkException, "node %d answers no requests yet", node)
	}
	return answer, nil
}

// Serve sets what answers the requests of other nodes; see runnel.Replication.
func (n *Node) Serve(answer func(ctx context.Context, request []byte) []byte) {
	n.answer.Store(&answer)
}

// serveCalls answers another node's requests until the stream ends, and with it those that are being
// answered.
func (n *Node) serveCalls(stream Stream) {
	a, waiting := newAnswers(), make(tokens, waitingCalls)
	defer a.serve(stream)()
	ctx, end := context.WithCancel(n.ctx)
	var answering sync.WaitGroup
	defer answering.Wait()
	defer end()
	r := bufio.NewReader(stream)
	for {
		b, err := readFrame(r, maxCall)
		if err != nil || len(b) < 8 || !a.take(waiting) {
			return
		}
		answering.Go(func() { a.give(n.answerCall(ctx, b), waiting) })
	}
}

// answerCall returns the answer to a request as a frame: an empty one, where no broker serves yet.
func (n *Node) answerCall(ctx context.Context, request []byte) []byte {
	var b []byte
	if answer := n.answer.Load(); answer != nil {
		b = (*answer)(ctx, request[8:])
	}
	// One of more than maxCall bytes breaks the stream at the other side: the request had an effect, and none is known.
	frame := binary.BigEndian.AppendUint32(make([]byte, 0, 4+8+len(b)), uint32(8+len(b)))
	return append(append(frame, request[:8]...), b...)
}
