package grpc_test

import (
	"context"
	"fmt"
	"io"

	"github.com/runnel-go/runnel/replica"
	"github.com/runnel-go/runnel/replica/grpc"
)

// shouting is a replica.Handler that answers on streams, louder.
type shouting struct{ up chan replica.NodeID }

func (h shouting) HandleFrame(from replica.NodeID, _ replica.Lane, f *replica.Frame) { f.Done() }
func (h shouting) PeerUp(peer replica.NodeID)                                        { h.up <- peer }
func (h shouting) PeerDown(replica.NodeID, error)                                    {}

func (h shouting) HandleStream(from replica.NodeID, kind replica.StreamKind, s replica.Stream) {
	question, _ := io.ReadAll(s)
	_, _ = fmt.Fprintf(s, "node %v said %q on a stream of kind %d!", from, question, kind)
}

// Two nodes in one process. A program has one, with grpc.TLS in place of grpc.Plaintext.
func ExampleNew() {
	a, err := grpc.New("orders", "127.0.0.1:0", grpc.Plaintext())
	if err != nil {
		panic(err)
	}
	defer a.Close()
	b, err := grpc.New("orders", "127.0.0.1:0", grpc.Plaintext())
	if err != nil {
		panic(err)
	}
	defer b.Close()

	handler := shouting{up: make(chan replica.NodeID, 1)}
	_ = a.Start(1, handler)
	_ = b.Start(2, shouting{})
	a.SetPeers(map[replica.NodeID]string{2: b.Addr()})
	fmt.Println("node", <-handler.up, "is up")

	s, err := a.Open(context.Background(), 2, 7)
	if err != nil {
		panic(err)
	}
	defer s.Close()
	_, _ = io.WriteString(s, "hello")
	_ = s.CloseWrite()
	answer, _ := io.ReadAll(s)
	fmt.Println(string(answer))
	// Output:
	// node 2 is up
	// node 1 said "hello" on a stream of kind 7!
}
