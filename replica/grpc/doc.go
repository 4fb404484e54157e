// Package grpc connects the nodes of a cluster over gRPC, encrypted by mutual TLS. It is for
// networks where everything is gRPC: where a mesh routes it, and where interceptors and
// stats handlers watch it. Package tcp needs no other module and costs less of a processor.
//
// [New] listens on an address and returns a [Transport], which implements
// [replica.Transport]. Addresses in SetPeers are host:port. The package is a module of its
// own, so that no other program depends on gRPC.
//
// # Calls
//
// A node makes two calls to each of its peers that do not end, one for each lane, and sends its
// frames as their messages; the peer makes two of its own for the other direction. Each has a
// connection of its own: calls that share one would share its kernel's buffer, and a
// control frame would wait behind the bulk frames that are in it. A third connection
// carries all streams to the peer, each a call.
//
// The control lane carries an empty message every interval, which the peer answers. gRPC's
// own pings are too rare for that: ten seconds apart at least. Without an answer within
// the timeout (see [KeepAlive]) all connections to the peer are closed, the streams that it
// opened are broken, and PeerDown is called. Then, as after every failure, the node connects
// again after a pause, which grows from 10 ms to 1 s and is random by half.
//
// # What the peer may do
//
// Everything is bounded:
//
//   - 1,024 connections may be open; further ones wait. A handshake must be over within
//     [HandshakeTimeout]. So a flood of strangers can keep nodes out for as long: where
//     strangers reach the port, a firewall should not let them.
//   - A frame is at most as large as [MaxFrame] allows. gRPC's memory grows with the bytes that
//     arrive.
//   - Frames that the handler keeps count against [Budget]. A bulk lane over it is not received
//     from, and gRPC's flow control stops the peer; a control lane is, and drops frames, so that
//     pings are answered.
//   - Each call holds 1 MiB, beside one message, that arrived and was not received yet.
//   - A node has one call for each lane, the latest, and up to [MaxStreams] streams. Up to 256
//     nodes may connect that are no peers.
//   - A second process that says it is a node whose process is connected is refused, and both
//     sides log that.
//
// # Messages
//
// There is no protocol buffer in it. The service is runnel.replica.v1.Node, with the methods Control,
// Bulk and Stream, each with messages in both directions. The metadata of a call are
// runnel-cluster-bin, runnel-from, runnel-to, runnel-process (a random number, the same as
// long as the process lives) and, for a stream, runnel-kind, all numbers in decimal. Metadata
// that come back before any message accept the call. A call that is refused ends with a status, whose trailer
// runnel-code is the number of the error in package fault.
//
// A message of a lane is empty, which is a ping or its answer, or a frame, with big-endian
// numbers:
//
//	header bytes u32 | slices u32 | slices × length u32 | header | payload
//
// A message of a stream is some of its bytes, at most 64 KiB; an empty one says that
// nothing follows, and a stream that ends without it is broken. No checksum is needed: TLS has
// one, and so have record batches.
package grpc
