package replica

import (
	"bufio"
	"context"
	"encoding/binary"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/wire"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
)

// StreamBatches is the kind of the stream on which a node asks another one for batches
// that its own log has lost. There is one request, and answers up to the end:
//
//	request: length 4 | version 1 | headers 1 | topic 16 | partition 4 | from 8 | to 8 | index 8 | offset 8 | term 8 | checksum 4
//	answer:  length 4 | 0 | whole batches, in order, or their headers alone
//	         length 4 | 1                         the end: these were all
//	         length 4 | 2 | final 1 | detail      a refusal
//
// Lengths do not count themselves. Index to checksum are where the log is known to have
// ended. A node that has that very batch has the same ones before it, and answers; any
// other one refuses. A refusal that is final would be the same next time.
const StreamBatches StreamKind = 4

const (
	batchesVersion = 1
	batchesLen     = 2 + groupLen + 5*8 + 4
	batchesBytes   = 1 << 20 // in an answer, unless a single batch is larger
)

// Kinds of answers.
const (
	answerBatches = 0
	answerEnd     = 1
	answerRefused = 2
)

// batchesRequest asks for the batches of the offsets from one to before another, of a log
// that ended so.
type batchesRequest struct {
	group    GroupID
	headers  bool
	from, to int64
	end      ending
}

func (q *batchesRequest) encode() []byte {
	b := binary.BigEndian.AppendUint32(nil, batchesLen)
	b = append(b, batchesVersion, 0)
	if q.headers {
		b[len(b)-1] = 1
	}
	b = q.group.append(b)
	for _, v := range [...]uint64{uint64(q.from), uint64(q.to), q.end.index, uint64(q.end.offset), q.end.term} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return binary.BigEndian.AppendUint32(b, q.end.sum)
}

// parseBatchesRequest decodes what encode encoded, without the length.
func parseBatchesRequest(b []byte) (q batchesRequest, err error) {
	if len(b) != batchesLen || b[0] != batchesVersion || b[1] > 1 {
		return q, malformed("a request for batches of %d bytes", len(b))
	}
	q.group, q.headers = parseGroup(b[2:]), b[1] == 1
	field := func(i int) uint64 { return binary.BigEndian.Uint64(b[2+groupLen+8*i:]) }
	q.from, q.to = int64(field(0)), int64(field(1))
	q.end = ending{field(2), int64(field(3)), field(4), binary.BigEndian.Uint32(b[batchesLen-4:])}
	if q.from < 0 || q.from >= q.to || q.to > q.end.offset {
		return q, malformed("a request for the batches from offset %d to %d of a log that ends at %d", q.from, q.to, q.end.offset)
	}
	return q, nil
}

// refusal is why another node gives no batches.
type refusal struct {
	node   NodeID
	final  bool
	detail string
}

func (r *refusal) Error() string { return "node " + r.node.String() + ": " + r.detail }

// serveBatches answers one request for batches.
func (n *Node) serveBatches(stream Stream) {
	b, err := readFrame(bufio.NewReader(stream), batchesLen)
	if err != nil {
		return
	}
	q, err := parseBatchesRequest(b)
	if err != nil {
		return
	}
	answer := func(kind byte, parts ...[]byte) error {
		size := 1
		for _, p := range parts {
			size += len(p)
		}
		header := append(binary.BigEndian.AppendUint32(nil, uint32(size)), kind)
		for _, p := range append([][]byte{header}, parts...) {
			if _, err := stream.Write(p); err != nil {
				return err
			}
		}
		return nil
	}
	refuse := func(final bool, detail string) {
		var w wire.Writer
		w.Bool(final)
		w.String(detail[:min(len(detail), maxAnswer/2)])
		_ = answer(answerRefused, w.B)
	}
	r, ok := n.Replica(q.group)
	if !ok {
		refuse(false, "it has no replica of the partition that runs")
		return
	}
	p := r.part.Load()
	truncations := p.Truncations()
	final, why, err := give(p, p.Settings().Keyed, q, func(run []byte) error { return answer(answerBatches, run) })
	switch {
	case err != nil:
	case why != "":
		refuse(final, why)
	case p.Truncations() != truncations || r.part.Load() != p:
		// What was read was this log's only if nothing was cut off meanwhile.
		refuse(false, "its log was cut meanwhile")
	default:
		_ = answer(answerEnd)
	}
}

// donor is a replica's log, as another one is given batches from it.
type donor interface {
	ReadLog(offset int64, maxBytes int, buf []byte) (log.Slice, error)
	StartOffset() int64
	HighWatermark() int64
}

// give gives another replica the batches that it asks for, or says why not. An error is write's.
func give(p donor, keyed bool, q batchesRequest, write func(batches []byte) error) (final bool, why string, err error) {
	if final, why := lacks(p, keyed, q.end); why != "" {
		return final, why, nil
	}
	for q.from < q.to {
		// Of the first batch the log may have deleted the first records: it is there as a whole.
		s, err := p.ReadLog(max(q.from, p.StartOffset()), batchesBytes, nil)
		if err != nil {
			return fault.CodeOf(err) == fault.OffsetOutOfRange, err.Error(), nil
		}
		run, next := upTo(s.Bytes, q.from, q.to)
		if len(run) == 0 {
			return true, "it has no batch that begins so and ends before: records were deleted", nil
		}
		if q.headers {
			run = headersOf(run)
		}
		err = write(run)
		s.Release()
		if err != nil {
			return false, "", err
		}
		q.from = next
	}
	return false, "", nil
}

// upTo returns the batches from the one that begins at an offset, or has it, to before
// another, and the offset after them.
func upTo(b []byte, from, to int64) (run []byte, next int64) {
	n, next := 0, from
	for n < len(b) {
		h, err := record.ParseHeader(b[n:])
		if err != nil || h.BaseOffset != next && (n > 0 || h.BaseOffset > next || h.NextOffset() <= next) || h.NextOffset() > to || h.Size() > len(b)-n {
			break
		}
		n += h.Size()
		next = h.NextOffset()
	}
	return b[:n], next
}

// lacks returns why a log does not have what another one ended with; "" if it
// has. It is final if the batch that it has in its place is committed.
func lacks(p donor, keyed bool, end ending) (final bool, why string) {
	s, err := p.ReadLog(end.offset-1, 1, nil)
	if err != nil {
		return false, err.Error()
	}
	defer s.Release()
	if len(s.Bytes) == 0 {
		return false, "its log is shorter"
	}
	h, err := record.ParseHeader(s.Bytes)
	switch {
	case err != nil:
		return false, err.Error()
	case h.NextOffset() == end.offset && uint64(h.LeaderEpoch) == end.term && (h.CRC == end.sum || keyed):
		return false, ""
	}
	return h.NextOffset() <= p.HighWatermark(), otherBatch
}

// headersOf returns the headers of batches.
func headersOf(b []byte) (headers []byte) {
	for len(b) > 0 {
		h, err := record.ParseHeader(b)
		if err != nil || h.Size() > len(b) {
			break
		}
		headers = append(headers, b[:record.HeaderLen]...)
		b = b[h.Size():]
	}
	return headers
}

// otherBatch is a refusal's detail.
const otherBatch = "its log has another batch where the lost one was"

// stalled is how long another node may be silent that sends batches.
const stalled = 30 * time.Second

// fetchBatches asks a node for batches, and gives them to write, as they are.
func (n *Node) fetchBatches(ctx context.Context, from NodeID, q batchesRequest, write func([]byte) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watch := time.AfterFunc(stalled, cancel)
	defer watch.Stop()
	stream, err := n.cfg.Transport.Open(ctx, from, StreamBatches)
	if err != nil {
		return &refusal{from, false, err.Error()}
	}
	defer stream.Close()
	if _, err := stream.Write(q.encode()); err != nil {
		return &refusal{from, false, err.Error()}
	}
	r := bufio.NewReader(stream)
	for {
		watch.Reset(stalled)
		b, err := readFrame(r, maxRequest)
		if err == nil && len(b) == 0 {
			err = malformed("an empty answer")
		}
		if err != nil {
			return &refusal{from, false, err.Error()}
		}
		switch b[0] {
		case answerBatches:
			if err := write(b[1:]); err != nil {
				return err
			}
		case answerEnd:
			return nil
		default:
			return parseRefusal(from, b)
		}
	}
}

func parseRefusal(from NodeID, b []byte) error {
	r := wire.NewReader(b[1:])
	refused := &refusal{from, r.Bool(), r.String()}
	if err := r.End(); err != nil || b[0] != answerRefused {
		return &refusal{from, false, malformed("an answer of kind %d", b[0]).Error()}
	}
	return refused
}
