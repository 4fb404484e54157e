package memory_test

import (
	"sync/atomic"
	"testing"

	"github.com/runnel-go/runnel/replica"
	"github.com/runnel-go/runnel/replica/memory"
)

// counter is a handler that is done with every frame at once, and says when a round has
// arrived.
type counter struct {
	ear
	up    chan struct{}
	left  atomic.Int64
	round chan struct{}
}

func (c *counter) PeerUp(replica.NodeID) { c.up <- struct{}{} }

func (c *counter) HandleFrame(_ replica.NodeID, _ replica.Lane, f *replica.Frame) {
	f.Done()
	if c.left.Add(-1) == 0 {
		c.round <- struct{}{}
	}
}

// Batches of one partition on their way to a follower.
func BenchmarkBatches64KiB(b *testing.B) {
	const frames = 256
	network := memory.New()
	from, to := network.Node("a"), network.Node("b")
	defer from.Close()
	defer to.Close()
	sender, receiver := &counter{up: make(chan struct{}, 1)}, &counter{round: make(chan struct{}, 1)}
	_ = from.Start(1, sender)
	_ = to.Start(2, receiver)
	from.SetPeers(map[replica.NodeID]string{2: "b"})
	<-sender.up
	header, batch := make([]byte, 100), make([]byte, 64<<10)
	b.SetBytes(frames * int64(len(header)+len(batch)))
	b.ReportAllocs()
	for b.Loop() {
		receiver.left.Store(frames)
		for range frames {
			if !from.Send(2, replica.LaneBulk, &replica.Frame{Header: header, Payload: [][]byte{batch}}) {
				b.Fatal("a frame is refused")
			}
		}
		<-receiver.round
	}
}
