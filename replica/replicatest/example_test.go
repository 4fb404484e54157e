package replicatest_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica/replicatest"
	"github.com/runnel-go/runnel/topic"
)

// What a test does that takes the leader of a topic away. In a real one, t is the
// *testing.T, and a bubble of testing/synctest around it saves the waiting.
func ExampleCluster() {
	t := &example{}
	c := replicatest.Cluster(t, 3)
	defer t.end()

	for created := false; !created; { // on the node that leads the catalogue, once there is one
		for _, id := range c.Running() {
			err := c.Broker(id).CreateTopics(t.Context(), topic.Spec{Name: "orders", Partitions: 1})
			created = created || err == nil
			if err != nil && !fault.Retriable(err) && fault.CodeOf(err) != fault.TopicExists {
				t.Fatalf("%v", err)
			}
		}
	}

	orders := record.TopicPartition{Topic: "orders"}
	c.Crash(c.AwaitLeader(orders))
	p, err := producer.New(c.Broker(c.AwaitLeader(orders)))
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer p.Close()
	_, err = p.Send(t.Context(), record.Record{Topic: "orders", Value: []byte("still there")})
	fmt.Println("error:", err)
	fmt.Println("running:", len(c.Running()))
	// Output:
	// error: <nil>
	// running: 2
}

// example is a testing.TB of an example.
type example struct {
	testing.TB
	cleanups []func()
}

func (e *example) Helper()                           {}
func (e *example) Name() string                      { return "ExampleCluster" }
func (e *example) Context() context.Context          { return context.Background() }
func (e *example) Failed() bool                      { return false }
func (e *example) Cleanup(f func())                  { e.cleanups = append(e.cleanups, f) }
func (e *example) Errorf(format string, args ...any) { fmt.Printf(format+"\n", args...) }
func (e *example) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (e *example) end() {
	for _, f := range e.cleanups {
		f()
	}
}
