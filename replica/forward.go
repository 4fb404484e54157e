package replica

import (
	"bufio"
	"encoding/binary"
	"errors"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/wire"
	"github.com/runnel-go/runnel/record"
)

// StreamAppends is the kind of the stream on which a node sends appends to another one
// that leads, and gets their outcomes:
//
//	request: length 4 | number 8 | topic 16 | partition 4 | demand 1 | offset 8 | batch
//	answer:  length 4 | number 8 | code 2 | final 1 | offset 8 | epoch 4 | detail | hint
//
// Demand and offset are a condition. Of one that does not hold, the answer's offset and
// epoch are what is there instead.
//
// Lengths do not count themselves. Appends to one partition take effect in the order of
// their requests, and their answers come in any order.
const StreamAppends StreamKind = 1

const (
	requestHeaderLen = 8 + groupLen + conditionLen // with the number
	conditionLen     = 1 + 8
	maxRequest       = 128 << 20
	maxAnswer        = 1 << 10
	waitingAppends   = 1 << 10 // of one stream; the peer's further requests wait in the stream
)

// forward sends a batch to the leader's node, and calls done with what became of it:
// fault.NetworkException if it certainly did not arrive, fault.UnknownOutcome if it may
// have.
func (n *Node) forward(to NodeID, g GroupID, batch []byte, condition record.Condition, done func(Result)) {
	header := append(g.append(nil), byte(condition.Demand))
	header = binary.BigEndian.AppendUint64(header, uint64(condition.Offset))
	n.link(to, StreamAppends, maxAnswer).send(header, batch, func(answer []byte, err error) {
		var result Result
		if err == nil {
			result, err = parseAnswer(answer, condition)
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
	code, final, detail, hint, epoch := fault.Code(0), false, "", "", int32(-1)
	if c, ok := errors.AsType[*fault.Conflict](result.Err); ok {
		code, result.Offset, epoch = fault.PreconditionFailed, c.Have, c.HaveEpoch
	} else if result.Err != nil {
		code = fault.CodeOf(result.Err)
		detail = result.Err.Error()
		if e, ok := errors.AsType[*fault.Error](result.Err); ok {
			final, detail, hint = e.Final, e.Detail, e.Hint
		}
	}
	w.Int16(int16(code))
	w.Bool(final)
	w.Int64(result.Offset)
	w.Int32(epoch)
	w.String(detail[:min(len(detail), maxAnswer/2)])
	w.String(hint[:min(len(hint), maxAnswer/4)])
	binary.BigEndian.PutUint32(w.B[begin:], uint32(len(w.B)-begin-4))
	return w.B
}

// parseAnswer decodes an answer without its number, to an append under a condition.
func parseAnswer(b []byte, condition record.Condition) (result Result, err error) {
	r := wire.NewReader(b)
	code, final := fault.Code(r.Int16()), r.Bool()
	result.Offset = r.Int64()
	epoch := r.Int32()
	detail, hint := r.String(), r.String()
	if err := r.End(); err != nil {
		return result, malformed("an answer").Because(err)
	}
	switch {
	case code == fault.PreconditionFailed:
		c := &fault.Conflict{Key: condition.Demand.OfKey(), Want: condition.Offset, Have: result.Offset, HaveEpoch: epoch}
		if condition.Demand == record.KeyAbsent {
			c.Want = -1
		}
		result = Result{-1, c}
	case code != 0:
		e := fault.Newf(code, "%s", detail)
		e.Hint = hint
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
		c := record.Condition{Demand: record.Demand(b[8+groupLen]), Offset: int64(binary.BigEndian.Uint64(b[8+groupLen+1:]))}
		if !c.Valid() {
			return
		}
		p.part.Load().AppendIf(b[requestHeaderLen:], c, judged{p, answering{a, waiting, number}}) // which the partition ends
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
