// Package tcp connects the nodes of a cluster over TCP, encrypted by mutual TLS.
//
// [New] listens on an address and returns a [Transport], which implements
// [replica.Transport]. Addresses in SetPeers are host:port.
//
// # Connections
//
// A node dials two connections to each of its peers, one for each lane, and sends its
// frames through them; the peer dials two of its own for the other direction. With one
// connection for both lanes, a control frame would wait behind the bulk frames that the
// kernel has already accepted, up to several megabytes. With one connection for both
// directions, two nodes that dial each other at once would have to agree on which one
// stays.
//
// Every stream is a connection of its own: the kernel does its flow control, and a slow
// stream holds up nothing else.
//
// A control lane carries a ping every interval, which the peer answers. Without an
// answer within the timeout (see [KeepAlive]) both lanes and all streams of the peer are
// closed, and PeerDown is called. So they are when a bulk lane makes no progress for 30
// timeouts. Then, as after every failure, the node dials again after a pause, which
// grows from 10 ms to 1 s and is random by half. A peer that connects to us ends the
// pause.
//
// # What the peer may do
//
// What is not of this protocol closes its connection. Everything is bounded:
//
//   - 128 connections may be in the middle of their handshake. One more closes the
//     oldest, so that connections that say nothing keep no honest peer out.
//   - A handshake must be over within [HandshakeTimeout]; its messages have at most 1 KiB.
//   - A frame is at most as large as [MaxFrame] allows. Memory grows with the bytes that
//     arrive, by 64 KiB at a time, unless a frame of that size has arrived on the
//     connection before.
//   - Frames that the handler keeps count against [Budget]. A bulk lane over it is not
//     read; a control lane is, and drops frames, so that pings are answered.
//   - A node has one connection for each lane, the latest, and up to [MaxStreams]
//     streams. Up to 256 nodes may connect that are no peers.
//   - A second process that says it is a node whose process is connected and alive is refused, and
//     both sides log that.
//
// Limits and the protocol's version should be the same on all nodes.
//
// # Bytes
//
// All numbers are big-endian, all checksums CRC-32C. A connection begins with one
// message from each side, the dialing side first. The form of its first 8 bytes never
// changes:
//
//	"RNLT" | version u16 | length u16 | so many bytes | checksum of all before u32
//
// The dialing side's bytes are
//
//	purpose u8 (0 control, 1 bulk, 2 stream) | stream kind u8 | from u64 | to u64 | process u64 | cluster u8 + bytes
//
// and the answer's
//
//	code i16 (package fault's, or 0) | node u64 | cluster u8 + bytes | detail u16 + bytes
//
// A lane is a sequence of frames:
//
//	"RF" | version u8 | kind u8 (0 frame, 1 ping, 2 pong)
//	header bytes u32 | slices u32 | payload bytes u32
//	checksum of what follows the head u32 | checksum of the head so far u32
//	slices × length u32 | header | payload
//
// A stream is a sequence of chunks in each direction, the last one empty; what ends
// without an empty chunk is broken:
//
//	length u32, at most 64 KiB | checksum of length and bytes u32 | bytes
package tcp
