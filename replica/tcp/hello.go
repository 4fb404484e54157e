package tcp

import (
	"encoding/binary"
	"hash/crc32"
	"io"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/replica"
)

// protocolVersion is the version of everything but the first 8 bytes of a
// connection.
const protocolVersion = 1

const (
	greeting  = "RNLT"
	helloHead = len(greeting) + 2 + 2
	maxHello  = 1 << 10
)

// purpose is what a connection is for.
type purpose uint8

const (
	purposeControl purpose = iota // as the lanes
	purposeBulk
	purposeStream
)

// hello is what the dialing side says first.
type hello struct {
	version  uint16
	purpose  purpose
	kind     replica.StreamKind
	from, to replica.NodeID
	process  uint64 // a random number, the same for all connections of a process
	cluster  string
}

// answer is what the accepting side says to a hello. The connection is accepted if
// code is 0.
type answer struct {
	version uint16
	code    fault.Code
	node    replica.NodeID
	cluster string
	detail  string
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal returns a whole message with these bytes.
func seal(version uint16, body []byte) []byte {
	b := append([]byte(nil), greeting...)
	b = binary.BigEndian.AppendUint16(b, version)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	b = append(b, body...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// unseal reads a message.
func unseal(r io.Reader) (version uint16, body []byte, err error) {
	head := make([]byte, helloHead, helloHead+maxHello+4)
	if _, err := io.ReadFull(r, head); err != nil {
		return 0, nil, err
	}
	n := int(binary.BigEndian.Uint16(head[len(greeting)+2:]))
	if string(head[:len(greeting)]) != greeting || n > maxHello {
		return 0, nil, fault.Newf(fault.InvalidRequest, "it does not speak the protocol between nodes: it began with %q", head)
	}
	whole := head[:helloHead+n+4]
	if _, err := io.ReadFull(r, whole[helloHead:]); err != nil {
		return 0, nil, err
	}
	if sum := crc32.Checksum(whole[:helloHead+n], castagnoli); sum != binary.BigEndian.Uint32(whole[helloHead+n:]) {
		return 0, nil, fault.Newf(fault.InvalidRequest, "the first message does not match its checksum")
	}
	return binary.BigEndian.Uint16(head[len(greeting):]), whole[helloHead : helloHead+n], nil
}

func (h hello) bytes() []byte {
	b := []byte{byte(h.purpose), byte(h.kind)}
	b = binary.BigEndian.AppendUint64(b, uint64(h.from))
	b = binary.BigEndian.AppendUint64(b, uint64(h.to))
	b = binary.BigEndian.AppendUint64(b, h.process)
	b = append(b, byte(len(h.cluster)))
	return seal(h.version, append(b, h.cluster...))
}

// readHello reads a hello. Of one in another version, only the version is known.
func readHello(r io.Reader) (h hello, err error) {
	version, b, err := unseal(r)
	if err != nil || version != protocolVersion {
		return hello{version: version}, err
	}
	if len(b) < 27 || len(b) != 27+int(b[26]) {
		return h, fault.Newf(fault.InvalidRequest, "a first message of %d bytes", len(b))
	}
	return hello{
		version: version, purpose: purpose(b[0]), kind: replica.StreamKind(b[1]),
		from: replica.NodeID(binary.BigEndian.Uint64(b[2:])), to: replica.NodeID(binary.BigEndian.Uint64(b[10:])),
		process: binary.BigEndian.Uint64(b[18:]), cluster: string(b[27:]),
	}, nil
}

func (a answer) bytes() []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(a.code))
	b = binary.BigEndian.AppendUint64(b, uint64(a.node))
	b = append(b, byte(len(a.cluster)))
	b = append(b, a.cluster...)
	detail := a.detail[:min(len(a.detail), 512)]
	b = binary.BigEndian.AppendUint16(b, uint16(len(detail)))
	return seal(a.version, append(b, detail...))
}

// readAnswer reads an answer. Of one in another version, only the version is known.
func readAnswer(r io.Reader) (a answer, err error) {
	version, b, err := unseal(r)
	if err != nil || version != protocolVersion {
		return answer{version: version}, err
	}
	malformed := fault.Newf(fault.InvalidRequest, "an answer of %d bytes", len(b))
	if len(b) < 11 || len(b) < 13+int(b[10]) {
		return a, malformed
	}
	cluster, rest := b[11:11+int(b[10])], b[11+int(b[10]):]
	if len(rest) != 2+int(binary.BigEndian.Uint16(rest)) {
		return a, malformed
	}
	return answer{
		version: version, code: fault.Code(binary.BigEndian.Uint16(b)),
		node: replica.NodeID(binary.BigEndian.Uint64(b[2:])), cluster: string(cluster), detail: string(rest[2:]),
	}, nil
}

// judge returns how a node answers a hello.
func (t *Transport) judge(h hello) answer {
	self := t.hub.Self
	a := answer{version: protocolVersion, node: self, cluster: t.hub.Cluster}
	switch {
	case h.version != protocolVersion:
		a.code = fault.UnsupportedVersion
	case h.cluster != t.hub.Cluster:
		a.code = fault.InconsistentClusterID
	case h.to != self:
		a.code = fault.InvalidVoterKey
	case h.from == 0 || h.from == self:
		a.code, a.detail = fault.InvalidRequest, "the node that dials says it is node "+h.from.String()
	case h.purpose > purposeStream:
		a.code, a.detail = fault.InvalidRequest, "a connection of an unknown purpose"
	}
	return a
}

// refusal returns the error for an answer that is no acceptance, nil for one that is.
// Both sides of a connection know hello and answer, and have the same error.
func refusal(h hello, a answer) *fault.Error {
	switch {
	case a.version != h.version:
		return fault.Newf(fault.UnsupportedVersion, "node %v speaks version %d of the protocol between nodes, and the one it dialed as node %v version %d", h.from, h.version, h.to, a.version).
			Try("upgrade the older one")
	case a.code == 0:
		return nil
	case a.code == fault.InconsistentClusterID:
		return fault.Newf(a.code, "node %v is of cluster %q, and the one it dialed, node %v, of cluster %q", h.from, h.cluster, a.node, a.cluster).
			Try("correct the address, or the cluster's name")
	case a.code == fault.InvalidVoterKey:
		return fault.Newf(a.code, "node %v dialed node %v, and reached node %v", h.from, h.to, a.node).Try("correct the address")
	}
	return fault.Newf(a.code, "node %v refuses node %v: %s", a.node, h.from, a.detail)
}
