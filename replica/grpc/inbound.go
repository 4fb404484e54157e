package grpc

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/hub"
	"github.com/runnel-go/runnel/replica"
)

// inbound is a call on which frames of one lane arrive.
type inbound struct {
	*hub.Inbound
	t    *Transport
	call grpc.ServerStream
	from replica.NodeID
	lane replica.Lane
}

// serveLane hands the frames of a call to the handler until the call ends. It
// takes the place of an earlier call for the same lane, after that one's last frame.
func (t *Transport) serveLane(call grpc.ServerStream, s *hub.Source, lane replica.Lane) error {
	in := &inbound{Inbound: s.Inbound(lane, func() {}), t: t, call: call, from: s.ID, lane: lane}
	problem := make(chan error, 1)
	t.hub.Work.Go(func() {
		err := in.receive()
		in.End()
		problem <- err
	})
	// gRPC's receiving ends when this returns, and in no other way.
	select {
	case err := <-problem:
		return err
	case <-in.Stop:
		return fault.Newf(fault.NetworkException, "node %v has called again, or node %v closes", s.ID, t.hub.Self)
	}
}

// receive accepts the call, and receives.
func (in *inbound) receive() error {
	if in.t.hub.Ctx.Err() != nil {
		return context.Cause(in.t.hub.Ctx) // Close came before this call was in its place
	}
	if err := in.call.SendHeader(nil); err != nil {
		return err
	}
	heard := func() {}
	if in.lane == replica.LaneControl {
		silent := time.AfterFunc(in.t.hub.Patience(), in.Cut)
		defer silent.Stop()
		heard = func() { silent.Reset(in.t.hub.Patience()) }
	}
	for {
		if err := in.next(); err != nil {
			return err
		}
		heard()
	}
}

// next receives one message. On a bulk lane it waits until there is room for its frame, and gRPC's flow control stops
// the peer.
func (in *inbound) next() error {
	m := incoming{pool: &in.t.hub.Buffers}
	if err := in.call.RecvMsg(&m); err != nil {
		return err
	}
	if len(m.buffer.Bytes) == 0 {
		return in.call.SendMsg(outgoing{})
	}
	f, err := decode(m.buffer.Bytes, in.t.hub.MaxFrame(in.lane))
	if err != nil {
		return err
	}
	select {
	case <-in.Stop:
		return nil // what comes now comes on another call
	default:
	}
	bytes := hub.Cost(f)
	keep, err := in.Reserve(bytes)
	if !keep {
		in.t.hub.Buffers.Put(m.buffer)
		return err
	}
	f.Release = func() {
		in.t.hub.Buffers.Put(m.buffer)
		in.Release(bytes)
	}
	in.t.hub.Handler.HandleFrame(in.from, in.lane, f)
	return nil
}
