package replica

import (
	"encoding/binary"
	"fmt"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// Kind says what a Message is. The numbers are raft's and part of the wire format.
type Kind uint8

// The messages between replicas of a partition.
const (
	KindAppend         Kind = 3
	KindAppendReply    Kind = 4
	KindVote           Kind = 5
	KindVoteReply      Kind = 6
	KindSnapshot       Kind = 7
	KindHeartbeat      Kind = 8
	KindHeartbeatReply Kind = 9
	KindTimeoutNow     Kind = 14
	KindPreVote        Kind = 17
	KindPreVoteReply   Kind = 18

	// KindRest is the Node's and not raft's: the leader says that it rests, and that the
	// receiver may, whose log ends with this Index in this Term. Core.Step refuses it.
	KindRest Kind = 128

	// KindJoin and KindJoinReply are the Node's: what a replica that has nothing asks the
	// others, and their answer. See newcomer.
	KindJoin      Kind = 129
	KindJoinReply Kind = 130
)

var kindNames = map[Kind]string{
	KindAppend: "append", KindAppendReply: "append reply", KindVote: "vote", KindVoteReply: "vote reply",
	KindSnapshot: "snapshot", KindHeartbeat: "heartbeat", KindHeartbeatReply: "heartbeat reply",
	KindTimeoutNow: "timeout now", KindRest: "rest", KindJoin: "join", KindJoinReply: "join reply", KindPreVote: "pre-vote", KindPreVoteReply: "pre-vote reply",
}

// String returns the kind's name.
func (k Kind) String() string {
	if name, ok := kindNames[k]; ok {
		return name
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Message is what one replica tells another one of the same partition. Messages may
// be lost, doubled, delayed and reordered. What a Message points to is immutable.
type Message struct {
	Kind     Kind
	From, To ID
	Term     uint64

	// Index and LogTerm are those of the batch before Batches in an append, and of
	// the last batch in the sender's log in a vote. In a reply Index is how far the
	// logs agree, or the one that was refused.
	Index, LogTerm uint64

	Commit     uint64
	Origin     uint32 // of the sender's group; 0 if it does not know
	Reject     bool
	RejectHint uint64
	Context    []byte

	// Snapshot is the place at which the receiver's log begins again, because the
	// sender no longer has what lies before it.
	Snapshot *Start

	// Batches are whole record batches, stamped with offset and leader epoch.
	Batches [][]byte
}

// Limits of what a message may carry beside its batches.
const (
	maxContext = 64
	maxMembers = 128
)

const messageHeaderLen = 2 + 2 + 8*7 + 4

// Flags of a message's header.
const (
	flagReject   = 1 << 0
	flagSnapshot = 1 << 1
)

// AppendHeader appends the encoding of all of the message but its batches, which
// travel beside it as they are.
func (m *Message) AppendHeader(dst []byte) []byte {
	var flags byte
	if m.Reject {
		flags |= flagReject
	}
	if m.Snapshot != nil {
		flags |= flagSnapshot
	}
	dst = append(dst, byte(m.Kind), flags)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(m.Context)))
	for _, v := range [...]uint64{uint64(m.From), uint64(m.To), m.Term, m.Index, m.LogTerm, m.Commit, m.RejectHint} {
		dst = binary.BigEndian.AppendUint64(dst, v)
	}
	dst = binary.BigEndian.AppendUint32(dst, m.Origin)
	dst = append(dst, m.Context...)
	if m.Snapshot != nil {
		dst = m.Snapshot.append(dst)
	}
	return dst
}

// ParseMessage decodes a header that AppendHeader encoded, and splits the batches
// that came with it, in slices of one or several. The message shares all these
// bytes. ParseMessage checks lengths and batch headers; Core.Step checks the rest.
func ParseMessage(header []byte, batches ...[]byte) (Message, error) {
	if len(header) < messageHeaderLen {
		return Message{}, malformed("%d bytes are no message", len(header))
	}
	flags, context := header[1], int(binary.BigEndian.Uint16(header[2:]))
	field := func(i int) uint64 { return binary.BigEndian.Uint64(header[4+8*i:]) }
	m := Message{
		Kind: Kind(header[0]), From: ID(field(0)), To: ID(field(1)), Term: field(2), Index: field(3),
		LogTerm: field(4), Commit: field(5), RejectHint: field(6), Reject: flags&flagReject != 0,
		Origin: binary.BigEndian.Uint32(header[messageHeaderLen-4:]),
	}
	if _, ok := kindNames[m.Kind]; !ok || flags&^(flagReject|flagSnapshot) != 0 {
		return Message{}, malformed("a message of kind %d with flags %#x", header[0], flags)
	}
	rest := header[messageHeaderLen:]
	if context > maxContext || context > len(rest) {
		return Message{}, malformed("a context of %d bytes", context)
	}
	if context > 0 {
		m.Context = rest[:context:context]
	}
	rest = rest[context:]
	if flags&flagSnapshot != 0 {
		s, n, err := parseStart(rest)
		if err != nil {
			return Message{}, err
		}
		m.Snapshot, rest = &s, rest[n:]
	}
	if len(rest) > 0 {
		return Message{}, malformed("%d bytes behind the message", len(rest))
	}
	for _, b := range batches {
		for len(b) > 0 {
			h, err := record.ParseHeader(b)
			if err != nil {
				return Message{}, malformed("a batch").Because(err)
			}
			if h.Size() > len(b) {
				return Message{}, malformed("a batch of %d bytes of which %d are there", h.Size(), len(b))
			}
			m.Batches = append(m.Batches, b[:h.Size():h.Size()])
			b = b[h.Size():]
		}
	}
	return m, nil
}

// malformed is the error for what a sound peer never sends.
func malformed(format string, args ...any) *fault.Error {
	return fault.Newf(fault.InvalidRequest, format, args...)
}

// toRaft returns the message as the library wants it. Its entries share the bytes
// of the batches.
func (m *Message) toRaft() (*pb.Message, error) {
	kind := pb.MessageType(m.Kind)
	r := &pb.Message{
		Type: &kind, From: new(uint64(m.From)), To: new(uint64(m.To)), Term: &m.Term, Index: &m.Index, LogTerm: &m.LogTerm,
		Commit: &m.Commit, Reject: &m.Reject, RejectHint: &m.RejectHint, Context: m.Context,
	}
	if m.Snapshot != nil {
		r.Snapshot = m.Snapshot.toRaft()
	}
	for i, b := range m.Batches {
		e, err := entryOf(m.Index+1+uint64(i), b)
		if err != nil {
			return nil, err
		}
		r.Entries = append(r.Entries, e)
	}
	return r, nil
}

// fromRaft returns a message of the library's, without its entries.
func fromRaft(r *pb.Message) (Message, error) {
	m := Message{
		Kind: Kind(r.GetType()), From: ID(r.GetFrom()), To: ID(r.GetTo()), Term: r.GetTerm(), Index: r.GetIndex(), LogTerm: r.GetLogTerm(),
		Commit: r.GetCommit(), Reject: r.GetReject(), RejectHint: r.GetRejectHint(), Context: r.GetContext(),
	}
	if _, ok := kindNames[m.Kind]; !ok {
		return Message{}, fmt.Errorf("a message of type %v for another replica", r.GetType())
	}
	if r.GetType() == pb.MsgSnap {
		s, err := startFromRaft(r.GetSnapshot())
		if err != nil {
			return Message{}, err
		}
		m.Snapshot = &s
	}
	return m, nil
}
