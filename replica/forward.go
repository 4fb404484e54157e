package replica

import (
	"bufio"
	"encoding/binary"
	"errors"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/wire"
)

// StreamAppends is the kind of the stream on which a node sends appends to another one
// that leads, and gets their outcomes:
//
//	request: length 4 | number 8 | topic 16 | partition 4 | batch
//	answer:  length 4 | number 8 | code 2 | final 1 | offset 8 | detail
//
// Lengths do not count themselves. Appends to one partition take effect in the order of
// their requests, and their answers come in any order.
const StreamAppends StreamKind = 1

const (
	requestHeaderLen = 8 + groupLen // with the number
	maxRequest       = 128 << 20
	maxAnswer        = 1 << 10
	waitingAppends   = 1 << 10 // of one stream; the peer's further requests wait in the stream
)

// forward sends a batch to the leader's node, and calls done with what became of it:
// fault.NetworkException if it certainly did not arrive, fault.UnknownOutcome if it may
// have.
func (n *Node) forward(to NodeID, g GroupID, batch []byte, done func(Result)) {
	n.link(to, StreamAppends, maxAnswer).send(g.append(nil), batch, func(answer []byte, err error) {
		var result Result
		if err == nil {
			result, err = parseAnswer(answer)
		}
		if err != nil {
			result = Result{-1, err}
		}
		done(result)
	})
}

func appendAnswer(dst []byte, number uint64, result Result) []byte {
	begin := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	w := wire.Writer{B: dst}
	w.Int64(int64(number))
	code, final, detail := fault.Code(0), false, ""
	if result.Err != nil {
		code = fault.CodeOf(result.Err)
		detail = result.Err.Error()
		if e, ok := errors.AsType[*fault.Error](result.Err); ok {
			final, detail = e.Final, e.Detail
		}
	}
	w.Int16(int16(code))
	w.Bool(final)
	w.Int64(result.Offset)
	w.String(detail[:min(len(detail), maxAnswer/2)])
	binary.BigEndian.PutUint32(w.B[begin:], uint32(len(w.B)-begin-4))
	return w.B
}

// parseAnswer decodes an answer without its number.
func parseAnswer(b []byte) (result Result, err error) {
	r := wire.NewReader(b)
	code, final := fault.Code(r.Int16()), r.Bool()
	result.Offset = r.Int64()
	detail := r.String()
	if err := r.End(); err != nil {
		return result, malformed("an answer").Because(err)
	}
	if code != 0 {
		e := fault.Newf(code, "%s", detail)
		e.Final = final
		result.Err = e
	}
	return result, nil
}

// serveAppends appends what another node sends, and answers.
func (n *Node) serveAppends(stream Stream) {
	a, waiting := newAnswers(), make(tokens, waitingAppends)
	defer a.serve(stream)()
	r := bufio.NewReader(stream)
	for {
		b, err := readFrame(r, maxRequest)
		if err != nil || len(b) < requestHeaderLen || !a.take(waiting) {
			return
		}
		number, g := binary.BigEndian.Uint64(b), parseGroup(b[8:])
		p, ok := n.Replica(g)
		if !ok {
			a.give(appendAnswer(nil, number, Result{-1, fault.Newf(fault.NotLeader, "node %v has no replica of the partition", n.cfg.ID)}), waiting)
			continue
		}
		p.part.Load().Append(b[requestHeaderLen:], nil, judged{p, answering{a, waiting, number}}) // which the partition ends
	}
}

// answering is the Completion of one append.
type answering struct {
	*answers
	waiting tokens
	number  uint64
}

// Appended implements partition.Completion.
func (a answering) Appended(base int64, err error) {
	a.give(appendAnswer(nil, a.number, Result{base, err}), a.waiting)
}
