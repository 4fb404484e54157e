package replica

import (
	"context"
	"io"
	"strconv"
)

// NodeID names a node of a cluster. The zero NodeID names none.
type NodeID uint64

// String returns the number in decimal.
func (id NodeID) String() string { return strconv.FormatUint(uint64(id), 10) }

// Lane is one of the two ways that frames take to a peer. Frames of one lane
// arrive in the order in which they were sent; a control frame never waits for bulk
// frames.
type Lane uint8

// The lanes.
const (
	LaneControl Lane = iota // small and urgent: heartbeats, votes, acknowledgements
	LaneBulk                // record batches

	Lanes = 2 // how many there are
)

// String returns "control" or "bulk".
func (l Lane) String() string {
	switch l {
	case LaneControl:
		return "control"
	case LaneBulk:
		return "bulk"
	}
	return "lane " + strconv.Itoa(int(l))
}

// Frame is one message between nodes. What its bytes mean is package replica's
// business: a transport carries them as they are. The receiver gets the same Header
// and as many slices of Payload with the same bytes; empty slices may become nil. A
// transport may refuse a frame of more than 65,536 slices.
//
// A frame has one owner at a time. Send takes it from its caller, and HandleFrame
// gives it to the handler. The owner calls Done once. Before that, no one changes the
// bytes; afterwards, they may be used again for something else.
type Frame struct {
	Header  []byte
	Payload [][]byte // raw record batches, which a transport need not copy

	// Release is called once, when the frame's owner no longer needs the bytes. It
	// may be nil. A transport calls the sender's Release on any goroutine, also on
	// the one that calls Send, so it must be quick and must not take a lock that is
	// held around Send.
	Release func()
}

// Done calls Release, if there is one.
func (f *Frame) Done() {
	if release := f.Release; release != nil {
		f.Release = nil
		release()
	}
}

// Size returns how many bytes Header and Payload have, which is what MaxFrame and
// memory budgets count.
func (f *Frame) Size() int {
	n := len(f.Header)
	for _, p := range f.Payload {
		n += len(p)
	}
	return n
}

// StreamKind says what a stream is for. The kinds are package replica's; a transport
// only carries the number.
type StreamKind uint8

// Stream is an ordered, reliable stream of bytes in each direction between two
// nodes. One goroutine may read while another one writes; CloseWrite and Close may be
// called at any time by any goroutine.
//
// Write waits while the peer does not read, so a stream holds a bounded number of
// bytes. Write keeps no reference to its argument.
//
// A stream breaks when the connection to the peer breaks, when either side's
// transport closes, and when the context of Open ends. Then Read and Write return an
// error: fault.NetworkException, fault.Closed (this side closed the stream or the
// transport), or the context's cause. What was written and not yet read may be lost.
type Stream interface {
	// Read returns io.EOF after everything that the peer wrote before its CloseWrite or
	// Close, and only then: a broken stream never looks like one that ended.
	io.Reader
	io.Writer

	// CloseWrite tells the peer that nothing follows. This side can go on reading.
	CloseWrite() error

	// Close ends both directions. What was written before arrives, if the peer reads on
	// and the connection holds. The peer's Write fails soon after. Close does not wait
	// for the peer, and does nothing the second time.
	Close() error
}

// Transport carries frames and streams between the nodes of a cluster. Those in the
// packages below are memory, for tests, and tcp, and grpc in a module of its own; package
// transporttest tests anyone's own.
//
// A transport serves one node. It is used in this order: SetPeers at any time; Start
// once; Send, Open and SetPeers from any number of goroutines at once; Close at any
// moment, also twice, also without Start.
//
// # Duties
//
// Frames. A transport may lose frames, and says so where it can: it keeps a bounded
// number of bytes for each peer and lane, and refuses what is beyond. It delivers a frame
// at most once, unaltered, and those of one sender and lane in the order of Send,
// also across reconnects. Between lanes there is no order.
//
// Peers. A transport connects to the peers of SetPeers by itself and keeps on trying,
// with growing pauses. It notices within a bounded time that a peer no longer
// answers. It accepts frames and streams from any node that proves to be of the
// cluster, whether a peer or not.
//
// Bounds. Whatever a peer sends or fails to send, a transport keeps bounded memory
// and a bounded number of goroutines for it, does not panic, and goes on serving the
// others. It allocates memory for what has arrived, not for what a peer announces.
type Transport interface {
	// Start begins to serve node self, and calls h from now on. It returns an error
	// if self is 0, h is nil, or the transport has been started or closed.
	Start(self NodeID, h Handler) error

	// Send takes the frame over, in any case, and calls its Done once. It never waits.
	// It returns false if the frame certainly does not arrive, so that the caller can
	// tell raft: there is no connection to that node, or its lane holds as many bytes
	// as are allowed, or the frame is larger than MaxFrame, or the transport is not
	// started or is closed. True promises nothing. A node cannot send to itself.
	Send(to NodeID, lane Lane, f *Frame) bool

	// MaxFrame returns the largest Size of a frame that Send accepts for a lane.
	MaxFrame(lane Lane) int

	// Open opens a stream to a peer, whose HandleStream is called with kind. It waits
	// until the peer has accepted or refused the stream; the error says why there is
	// none. When ctx ends, the stream breaks: ctx bounds the stream's life, and not
	// only the call.
	Open(ctx context.Context, to NodeID, kind StreamKind) (Stream, error)

	// SetPeers says which nodes there are, and where. It replaces what an earlier call
	// said: connections to a node that is gone, or has another address now, are closed,
	// and others stay. What an address looks like is the transport's business. SetPeers
	// keeps no reference to the map and does not wait. The transport's own node may be
	// in the map, and is ignored.
	SetPeers(peers map[NodeID]string)

	// Close ends everything: it breaks connections and streams, calls PeerDown for
	// each peer that is up, and returns when no goroutine of the transport is left and
	// every frame that was given to Send has been released. Frames that are queued may
	// be lost. Close waits for calls of the handler that are still running, so the
	// handler must not call it, and does not call the handler afterwards. A second call
	// waits likewise and returns nil.
	Close() error
}

// Handler gets what arrives. A transport calls its methods from goroutines of its own:
//
//   - HandleFrame never twice at once for the same node and lane;
//   - PeerUp and PeerDown never twice at once for the same node, and in turn: up, down, up;
//   - everything else concurrently.
//
// HandleFrame, PeerUp and PeerDown must return soon, because other frames wait behind
// them. They may call Send and SetPeers.
type Handler interface {
	// HandleFrame gets a frame from a node. The handler owns the frame, and must call
	// its Done when it no longer needs the bytes, now or later, on any goroutine. A
	// transport counts the bytes until then. When a lane from one node holds as many as
	// are allowed, the transport stops receiving from that lane, or drops what arrives;
	// other lanes and nodes go on. A handler over a budget of its own drops the frame
	// and calls Done.
	HandleFrame(from NodeID, lane Lane, f *Frame)

	// HandleStream gets a stream that another node opened, on a goroutine of its own.
	// The stream belongs to the handler, and is closed when HandleStream returns. It
	// must return when the stream breaks, since Close of the transport waits for it.
	HandleStream(from NodeID, kind StreamKind, s Stream)

	// PeerUp says that frames can be sent to a peer from now on.
	PeerUp(peer NodeID)

	// PeerDown says that the connection to a peer that was up is lost, and why: what was
	// sent and not answered may be lost, and Send returns false until the next PeerUp.
	// Streams to and from the peer are broken too. The cause is fault.Closed when this
	// side closed the connection.
	PeerDown(peer NodeID, cause error)
}
