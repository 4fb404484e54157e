package runnel_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/share"
	"github.com/runnel-go/runnel/topic"
)

// A worker in another process shares the queue of the process that holds the directory.
func ExampleShareGroups() {
	ctx := context.Background()
	dir, remove := tempDir()
	defer remove()
	broker, err := runnel.Open(dir, runnel.ShareGroups()) // in one process
	must(err)
	defer broker.Close()
	must(broker.CreateTopics(ctx, topic.Spec{Name: "jobs"}))
	p, err := producer.New(broker)
	must(err)
	defer p.Close()
	_, err = p.Send(ctx, record.Record{Topic: "jobs", Value: []byte("sweep the floor")})
	must(err)

	remote, err := runnel.Attach(dir) // in another one
	must(err)
	defer remote.Close()
	worker, err := share.New(remote, share.Group("workers"), share.Topics("jobs"))
	must(err)
	defer worker.Close()
	d, err := worker.Receive(ctx)
	must(err)
	fmt.Println(string(d.Record.Value), "attempt", d.Attempt)
	must(d.Ack(ctx))
	// Output: sweep the floor attempt 1
}

// A broker serves share groups to other processes if it was told to, or has consumers itself.
func TestShareGroupsAreServedWhereTheBrokerHasThem(t *testing.T) {
	dir := t.TempDir()
	b, err := runnel.Open(dir)
	require.NoError(t, err)
	defer b.Close()
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "jobs", Partitions: 1}))
	r := attachTo(t, dir)
	_, err = share.New(r, share.Group("workers"), share.Topics("jobs"))
	require.ErrorIs(t, err, fault.UnsupportedVersion)
	require.ErrorContains(t, err, "runnel.ShareGroups()")
	_, err = r.ShareGroups(t.Context())
	require.ErrorIs(t, err, fault.UnsupportedVersion)
	own := queue(t, b, "workers", "jobs")
	require.NoError(t, own.Close())
	c := queue(t, r, "workers", "jobs")
	sendValues(t, b, "jobs", "one")
	require.NoError(t, receive(t, c).Ack(t.Context()))
}

// What an attached process has locked is available when its connection ends.
func TestShareLocksEndWithTheConnection(t *testing.T) {
	dir := t.TempDir()
	b, err := runnel.Open(dir, runnel.ShareGroups())
	require.NoError(t, err)
	defer b.Close()
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "jobs", Partitions: 1}))
	sendValues(t, b, "jobs", numbers(3)...)
	r, err := runnel.Attach(dir)
	require.NoError(t, err)
	ann := queue(t, r, "workers", "jobs", share.LockTime(time.Hour), share.Prefetch(2))
	first := receive(t, ann)
	require.Equal(t, "0", string(first.Record.Value))
	waiting := make(chan error)
	idle := queue(t, r, "idle", "jobs", share.From(topic.Latest()))
	go func() {
		_, err := idle.Receive(t.Context())
		waiting <- err
	}()
	require.NoError(t, r.Close())
	require.ErrorIs(t, <-waiting, fault.Closed)
	require.Error(t, first.Ack(t.Context()))
	bob := queue(t, b, "workers", "jobs")
	got := map[string]int{}
	for range 3 {
		d := receive(t, bob)
		got[string(d.Record.Value)] = d.Attempt
		require.NoError(t, d.Ack(t.Context()))
	}
	require.Equal(t, 2, got["0"], "it was delivered before")
	require.Equal(t, 1, got["2"])
}
