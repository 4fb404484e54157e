package memory_test

import (
	"fmt"

	"github.com/runnel-go/runnel/replica"
	"github.com/runnel-go/runnel/replica/memory"
)

// printer is a replica.Handler that prints what it gets.
type printer struct {
	up    chan replica.NodeID
	frame chan string
}

func (p printer) HandleFrame(from replica.NodeID, lane replica.Lane, f *replica.Frame) {
	p.frame <- fmt.Sprintf("%s from node %v, %v", f.Header, from, lane)
	f.Done()
}

func (p printer) HandleStream(replica.NodeID, replica.StreamKind, replica.Stream) {}

func (p printer) PeerUp(peer replica.NodeID) { p.up <- peer }

func (p printer) PeerDown(replica.NodeID, error) {}

func ExampleNew() {
	network := memory.New()
	a, b := network.Node("a"), network.Node("b")
	defer a.Close()
	defer b.Close()

	atA, atB := printer{make(chan replica.NodeID, 1), nil}, printer{nil, make(chan string, 1)}
	_ = a.Start(1, atA)
	_ = b.Start(2, atB)
	a.SetPeers(map[replica.NodeID]string{2: "b"})
	fmt.Println("node", <-atA.up, "is up")

	fmt.Println(a.Send(2, replica.LaneControl, &replica.Frame{Header: []byte("hello")}))
	fmt.Println(<-atB.frame)

	network.Cut(1, 2)
	// Output:
	// node 2 is up
	// true
	// hello from node 1, control
}
