package replica

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/runnel-go/runnel/topic"
)

// GroupID names the replica group of one partition. It has the topic's ID and not its
// name, so that a message for a deleted topic never reaches one that took its name.
type GroupID struct {
	Topic     topic.ID
	Partition int32
}

// String returns the topic's ID and the partition's number.
func (g GroupID) String() string { return fmt.Sprintf("%v-%d", g.Topic, g.Partition) }

// append appends the ID's bytes.
func (g GroupID) append(dst []byte) []byte {
	return binary.BigEndian.AppendUint32(append(dst, g.Topic[:]...), uint32(g.Partition))
}

// parseGroup decodes what append appended.
func parseGroup(b []byte) (g GroupID) {
	copy(g.Topic[:], b)
	g.Partition = int32(binary.BigEndian.Uint32(b[len(g.Topic):]))
	return g
}

// sum tells groups apart where there is no room for the whole ID.
func (g GroupID) sum() uint32 {
	return crc32.Checksum(g.append(nil), castagnoli)
}

// An envelope is the messages of any groups that one frame carries to a node. The
// heartbeats of all groups that two nodes share so cost one frame for each tick.
//
//	header:  version 1 | number of messages 2 | messages
//	message: topic 16 | partition 4 | length of header 2 | number of batches 4 | header
//	payload: the batches of all messages, each a slice
type envelope struct {
	header   []byte
	payload  [][]byte
	messages int
	size     int // of header and payload
}

const (
	envelopeVersion   = 1
	envelopeHeaderLen = 3
	groupLen          = 16 + 4
	prefixLen         = groupLen + 2 + 4
)

// add adds a message, and reports whether there was room for it.
func (e *envelope) add(g GroupID, m *Message, limit int) bool {
	if e.messages == 0 {
		e.header = append(e.header[:0], envelopeVersion, 0, 0)
		e.size = envelopeHeaderLen
	}
	begin := len(e.header)
	e.header = g.append(e.header)
	e.header = append(e.header, 0, 0)
	e.header = binary.BigEndian.AppendUint32(e.header, uint32(len(m.Batches)))
	e.header = m.AppendHeader(e.header)
	length := len(e.header) - begin - prefixLen
	size := e.size + len(e.header) - begin
	for _, b := range m.Batches {
		size += len(b)
	}
	if e.messages > 0 && size > limit || e.messages == math.MaxUint16 || length > math.MaxUint16 {
		e.header = e.header[:begin]
		return false
	}
	binary.BigEndian.PutUint16(e.header[begin+groupLen:], uint16(length))
	e.messages++
	binary.BigEndian.PutUint16(e.header[1:], uint16(e.messages))
	e.payload = append(e.payload, m.Batches...)
	e.size = size
	return true
}

// frame returns the envelope as a frame, and empties it.
func (e *envelope) frame() *Frame {
	f := &Frame{Header: e.header, Payload: e.payload}
	*e = envelope{}
	return f
}

// emptyEnvelope returns a frame without messages.
func emptyEnvelope() *Frame { return &Frame{Header: []byte{envelopeVersion, 0, 0}} }

// openEnvelope calls fn for every message of a frame. The messages share the frame's
// bytes. An error says what is wrong with the frame; messages before it count.
func openEnvelope(header []byte, payload [][]byte, fn func(GroupID, Message)) error {
	if len(header) < envelopeHeaderLen || header[0] != envelopeVersion {
		return malformed("a frame of %d bytes is no envelope of version %d", len(header), envelopeVersion)
	}
	n, rest := int(binary.BigEndian.Uint16(header[1:])), header[envelopeHeaderLen:]
	for range n {
		if len(rest) < prefixLen {
			return malformed("an envelope ends within a message")
		}
		g := parseGroup(rest)
		length := int(binary.BigEndian.Uint16(rest[groupLen:]))
		batches := binary.BigEndian.Uint32(rest[groupLen+2:])
		rest = rest[prefixLen:]
		if length > len(rest) || uint64(batches) > uint64(len(payload)) {
			return malformed("a message of %d bytes and %d batches in an envelope of %d and %d", length, batches, len(rest), len(payload))
		}
		m, err := ParseMessage(rest[:length:length], payload[:batches:batches]...)
		if err != nil {
			return err
		}
		rest, payload = rest[length:], payload[batches:]
		fn(g, m)
	}
	if len(rest) > 0 || len(payload) > 0 {
		return malformed("an envelope has %d bytes and %d batches too many", len(rest), len(payload))
	}
	return nil
}
