package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/wire"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
)

// StreamAsks is the kind of the stream on which a node asks another one about partitions:
// it reads what it has no copy of, as Kafka's consumers do from a fetch session, and has
// the leader do what only a leader can:
//
//	request: length 4 | number 8 | what 1 | level 1 | topic 16 | partition 4 | a 8 | b 8
//	answer:  length 4 | number 8 | error | view | value 8 | time 8 | found 1 | aborted | batches
//	error:   code 2 | final 1 | offset 8 | detail | hint
//	view:    start 8 | high 8 | visible 8 for each level | epoch 4 | leader 4 | voters 4
//	aborted: number 4 | producer 8, first 8, last 8 and last stable offset 8 of each
//
// Answers come in any order.
const StreamAsks StreamKind = 3

// asking is what a node wants to know.
type asking uint8

const (
	askView   asking = iota + 1 // nothing but the view
	askFetch                    // batches from offset a on, about b bytes of them
	askWait                     // the view, once offset a is visible, or after b milliseconds
	askEpoch                    // the leader epoch of offset a
	askTime                     // the first record of the time a, in milliseconds, or later
	askLatest                   // the latest offset: the leader's, confirmed by a majority
	askDelete                   // the start after records before offset a were deleted: the leader's
)

// ask is a request.
type ask struct {
	what  asking
	level partition.Isolation // of askFetch and askWait
	group GroupID
	a, b  int64
}

const (
	askLen   = 2 + groupLen + 8 + 8
	maxFetch = 8 << 20 // bytes of batches in an answer, unless one batch is larger
	maxReply = maxRequest
)

// view is what a replica knows of its partition.
type view struct {
	start, high int64
	visible     [levels]int64 // by level of isolation
	epoch       int32
	leader      int32 // a node; -1 where none is known
	voters      int32
}

// levels is how many levels of isolation there are.
const levels = int(partition.ReadCommitted) + 1

// reply is an answer.
type reply struct {
	view
	err     *fault.Error // without the partition's name
	value   int64        // of askEpoch, askTime, askLatest and askDelete
	ms      int64        // of askTime
	found   bool         // of askTime
	aborted log.Aborted  // of askFetch
	batches []byte       // of askFetch
}

func (q *ask) encode() []byte {
	b := q.group.append([]byte{byte(q.what), byte(q.level)})
	b = binary.BigEndian.AppendUint64(b, uint64(q.a))
	return binary.BigEndian.AppendUint64(b, uint64(q.b))
}

func parseAsk(b []byte) (q ask, err error) {
	if len(b) != askLen || asking(b[0]) < askView || asking(b[0]) > askDelete || int(b[1]) >= levels {
		return q, malformed("a question of %d bytes", len(b))
	}
	q.what, q.level, q.group = asking(b[0]), partition.Isolation(b[1]), parseGroup(b[2:])
	q.a, q.b = int64(binary.BigEndian.Uint64(b[2+groupLen:])), int64(binary.BigEndian.Uint64(b[2+groupLen+8:]))
	return q, nil
}

// encode returns the answer as a frame.
func (y *reply) encode(number uint64) []byte {
	w := wire.Writer{B: make([]byte, 4, 256+len(y.batches))}
	w.Int64(int64(number))
	e := y.err
	if e == nil {
		e = &fault.Error{}
	}
	w.Int16(int16(e.Code))
	w.Bool(e.Final)
	w.Int64(e.Offset)
	w.String(e.Detail[:min(len(e.Detail), maxAnswer)])
	w.String(e.Hint[:min(len(e.Hint), maxAnswer)])
	w.Int64(y.start)
	w.Int64(y.high)
	for _, visible := range y.visible {
		w.Int64(visible)
	}
	w.Int32(y.epoch)
	w.Int32(y.leader)
	w.Int32(y.voters)
	w.Int64(y.value)
	w.Int64(y.ms)
	w.Bool(y.found)
	w.ArrayLen(len(y.aborted))
	for _, a := range y.aborted {
		w.Int64(a.ProducerID)
		w.Int64(a.FirstOffset)
		w.Int64(a.LastOffset)
		w.Int64(a.LastStable)
	}
	b := append(w.B, y.batches...)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

// parseReply decodes an answer without its number. It shares the bytes of the batches,
// which are whole and begin with sound headers; readers check the rest.
func parseReply(b []byte) (y reply, err error) {
	r := wire.NewReader(b)
	e := &fault.Error{Code: fault.Code(r.Int16()), Final: r.Bool(), Offset: r.Int64(), Detail: r.String(), Hint: r.String(), Partition: -1}
	if e.Code != 0 {
		y.err = e
	}
	y.start, y.high = r.Int64(), r.Int64()
	for i := range y.visible {
		y.visible[i] = r.Int64()
	}
	y.epoch, y.leader, y.voters = r.Int32(), r.Int32(), r.Int32()
	y.value, y.ms, y.found = r.Int64(), r.Int64(), r.Bool()
	for range r.ArrayLen(4 * 8) {
		y.aborted = append(y.aborted, log.AbortedTxn{ProducerID: r.Int64(), FirstOffset: r.Int64(), LastOffset: r.Int64(), LastStable: r.Int64()})
	}
	if err := r.Err(); err != nil {
		return y, malformed("an answer").Because(err)
	}
	if y.start < 0 || slices.Min(y.visible[:]) < 0 || y.high < slices.Max(y.visible[:]) {
		return y, malformed("an answer of a partition from %d to %d, visible up to %v", y.start, y.high, y.visible)
	}
	if b = b[len(b)-r.Len():]; len(b) > 0 {
		y.batches = b[:len(b):len(b)]
	}
	for next := int64(-1); len(b) > 0; {
		h, err := record.ParseHeader(b)
		if err != nil {
			return y, malformed("a batch").Because(err)
		}
		if h.Size() > len(b) || h.BaseOffset < 0 || next >= 0 && h.BaseOffset != next {
			return y, malformed("a batch of %d bytes of which %d are there, at offset %d", h.Size(), len(b), h.BaseOffset)
		}
		next, b = h.NextOffset(), b[h.Size():]
	}
	return y, nil
}

// errorIn returns an error as an answer has it.
func errorIn(err error) *fault.Error {
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return fault.Newf(fault.CodeOf(err), "%v", err)
	}
	known := *e
	if known.Cause != nil {
		if known.Detail != "" {
			known.Detail += ": "
		}
		known.Detail += known.Cause.Error()
	}
	return &known
}

// ask asks another node. An error says that there is no answer.
func (n *Node) ask(ctx context.Context, to NodeID, q ask) (reply, error) {
	b, err := n.link(to, StreamAsks, maxReply).await(ctx, q.encode())
	if err != nil {
		return reply{}, err
	}
	return parseReply(b)
}

// isElsewhere reports whether an error says that another replica may have the answer.
func isElsewhere(err error) bool {
	switch fault.CodeOf(err) {
	case fault.NotLeader, fault.LeaderNotAvailable, fault.NetworkException, fault.UnknownOutcome, fault.Closed, fault.UnknownTopic:
		return true
	}
	return false
}

const (
	askFor   = 30 * time.Second      // how long a leader is looked for: Kafka's request.timeout.ms
	askAgain = 50 * time.Millisecond // how soon after it was not found
	askAlone = 3 * time.Second       // how long one node may take that is not the only one to ask
)

// leaderAsker is a handle that knows how to reach the partition's leader.
type leaderAsker interface {
	askOnce(ctx context.Context, q ask) (reply, error) // fails as isElsewhere says where the leader was not found
	place() (topic string, number int32, gone <-chan struct{})
}

// askLeader asks the partition's leader, whichever node that is, until it answers. What
// is asked may take effect twice.
func askLeader(ctx context.Context, h leaderAsker, q ask) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	topic, number, gone := h.place()
	for {
		y, err := h.askOnce(ctx, q)
		if err == nil && y.err == nil {
			return y, nil
		}
		if y.err != nil {
			y.err.Topic, y.err.Partition = topic, number
			err = y.err
		}
		if !isElsewhere(err) {
			return y, err
		}
		timer := time.NewTimer(askAgain)
		select {
		case <-timer.C:
		case <-gone:
			timer.Stop()
			return y, fault.At(fault.Closed, topic, number, -1)
		case <-ctx.Done():
			timer.Stop()
			return y, fault.At(fault.LeaderNotAvailable, topic, number, -1).Because(err)
		}
	}
}
