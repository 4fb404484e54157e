package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica"
	"github.com/runnel-go/runnel/replica/memory"
	"github.com/runnel-go/runnel/replica/tcp"
	"github.com/runnel-go/runnel/topic"
)

// copies is how many nodes there are, and copies of each record.
const copies = 3

// trio is three brokers in this process, on three nodes.
type trio struct {
	nodes   [copies]*replica.Node
	brokers [copies]*runnel.Broker
	leader  *runnel.Broker // of the benchmarks' partition
}

// onLoopback are three transports over TCP on loopback.
func onLoopback() (transports [copies]replica.Transport, peers map[replica.NodeID]string, err error) {
	peers = map[replica.NodeID]string{}
	for i := range transports {
		t, err := tcp.New("bench", "127.0.0.1:0", tcp.Plaintext())
		if err != nil {
			return transports, nil, err
		}
		transports[i], peers[replica.NodeID(i+1)] = t, t.Addr()
	}
	return transports, peers, nil
}

// inProcess are three transports of a network within this process.
func inProcess() (transports [copies]replica.Transport, peers map[replica.NodeID]string, err error) {
	network := memory.New()
	peers = map[replica.NodeID]string{}
	for i := range transports {
		t := network.Node(fmt.Sprint("node-", i+1))
		transports[i], peers[replica.NodeID(i+1)] = t, t.Address()
	}
	return transports, peers, nil
}

// transports opens three of them.
type transports func() ([copies]replica.Transport, map[replica.NodeID]string, error)

func openTrio(ctx context.Context, w *Work, open transports) (_ *trio, err error) {
	t := &trio{}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.close())
		}
	}()
	links, peers, err := open()
	if err != nil {
		return nil, err
	}
	for i := range t.nodes {
		if t.nodes[i], err = replica.StartNode(replica.NodeConfig{ID: replica.NodeID(i + 1), Transport: links[i], Peers: peers}); err != nil {
			return nil, err
		}
	}
	var opening sync.WaitGroup
	var failures [copies]error
	for i := range t.brokers {
		opening.Go(func() {
			t.brokers[i], failures[i] = runnel.Open(w.path(fmt.Sprint("node-", i+1)), runnel.Replicated(t.nodes[i]), runnel.NoSocket())
		})
	}
	opening.Wait()
	if err := errors.Join(failures[:]...); err != nil {
		return nil, err
	}
	if err := t.brokers[0].CreateTopics(ctx, topic.Spec{Name: benchPartition.Topic, Partitions: 1, Replicas: copies}); err != nil {
		return nil, err
	}
	d, err := t.brokers[0].DescribeTopics(ctx, benchPartition.Topic)
	if err != nil {
		return nil, err
	}
	t.leader = t.brokers[max(int(d[0].Partitions[0].Leader), 1)-1]
	return t, nil
}

func (t *trio) close() (err error) {
	for _, b := range t.brokers {
		if b != nil {
			err = errors.Join(err, b.Close())
		}
	}
	for _, n := range t.nodes {
		if n != nil {
			err = errors.Join(err, n.Close())
		}
	}
	return err
}

// runnelReplicated produces on the leader's node with so many producers, each of which has five
// batches on their way at most, as Kafka's idempotent ones do. It reads on another node what that has.
func runnelReplicated(open transports, producers int) func(context.Context, *Work) (Sample, error) {
	return func(ctx context.Context, w *Work) (_ Sample, err error) {
		t, err := openTrio(ctx, w, open)
		if err != nil {
			return Sample{}, err
		}
		defer func() { err = errors.Join(err, t.close()) }()
		n := w.part(slowCopies) / producers * producers
		if err := fill(ctx, t.leader, w, 1, 1, marks{}); err != nil { // there is a leader, and the connections are open
			return Sample{}, err
		}
		m := w.start()
		failures := make([]error, producers)
		var filling sync.WaitGroup
		for i := range failures {
			filling.Go(func() { failures[i] = fill(ctx, t.leader, w, n/producers, 1, marks{}) })
		}
		filling.Wait()
		if err := errors.Join(failures...); err != nil {
			return Sample{}, err
		}
		sample := m.done(int64(n), payloadBytes(n))
		other := t.brokers[0]
		if other == t.leader {
			other = t.brokers[1]
		}
		var got tally
		err = read(ctx, other, n+1, new(waits), func(r *record.Record) { got.add(r.Key, r.Value) })
		return sample, errors.Join(err, got.check(n+1))
	}
}

// rawCopies writes batches of 64 KiB to three files, by one writer each that writes what waits
// and syncs once. A batch counts when all files have it.
func rawCopies(_ context.Context, w *Work) (_ Sample, err error) {
	const batchBytes, inFlight = 64 << 10, 16
	each := batchBytes / (keyLen + valueLen)
	n := max(w.part(slowCopies)/each, 1)
	batch := make([]byte, 0, batchBytes)
	for i := range each {
		batch = append(batch, w.payload(i)...)
	}
	var queues [copies]chan struct{}
	var done [copies]chan error
	var writing sync.WaitGroup
	m := w.start()
	for i := range queues {
		f, err := os.Create(w.path(fmt.Sprint("raw-", i)))
		if err != nil {
			return Sample{}, err
		}
		defer f.Close()
		queues[i], done[i] = make(chan struct{}, inFlight), make(chan error, inFlight)
		writing.Go(func() {
			for range queues[i] {
				waiting := 1 + len(queues[i])
				for range waiting - 1 {
					<-queues[i]
				}
				var err error
				for range waiting {
					_, failed := f.Write(batch)
					err = errors.Join(err, failed)
				}
				err = errors.Join(err, fdatasync(f))
				for range waiting {
					done[i] <- err
				}
			}
		})
	}
	wait := func() {
		for i := range done {
			err = errors.Join(err, <-done[i])
		}
	}
	for i := range n {
		if i >= inFlight {
			wait()
		}
		for _, q := range queues {
			q <- struct{}{}
		}
	}
	for range min(n, inFlight) {
		wait()
	}
	sample := m.done(int64(n*each), payloadBytes(n*each))
	for _, q := range queues {
		close(q)
	}
	writing.Wait()
	return sample, err
}
