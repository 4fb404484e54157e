package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftwal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"
)

// raftTrio is three nodes of hashicorp/raft in this process, over its TCP transport on
// loopback, each with a log of raft-wal.
type raftTrio struct {
	nodes  [copies]*raft.Raft
	counts [copies]*counter
	ends   []func() error
}

// counter is a state machine that counts what it is given.
type counter struct {
	mu   sync.Mutex
	read tally
}

// Apply implements raft.FSM.
func (c *counter) Apply(l *raft.Log) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	for rest := l.Data; len(rest) > 0; rest = rest[keyLen+valueLen:] {
		c.read.addJoined(rest[:keyLen+valueLen])
	}
	return nil
}

// Snapshot implements raft.FSM.
func (c *counter) Snapshot() (raft.FSMSnapshot, error) { return nil, errors.New("no snapshots") }

// Restore implements raft.FSM.
func (c *counter) Restore(r io.ReadCloser) error { return r.Close() }

func openRaftTrio(w *Work) (_ *raftTrio, err error) {
	t := &raftTrio{}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.close())
		}
	}()
	var servers []raft.Server
	for i := range t.nodes {
		dir := w.path(fmt.Sprint("raft-", i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, err
		}
		meta := new(metadb.BoltMetaDB)
		l, err := raftwal.Open(dir, raftwal.WithMetaStore(meta))
		if err != nil {
			return nil, err
		}
		t.ends = append(t.ends, func() error { return errors.Join(l.Close(), meta.Close()) })
		transport, err := raft.NewTCPTransport("127.0.0.1:0", nil, 4, 10*time.Second, io.Discard)
		if err != nil {
			return nil, err
		}
		t.ends = append(t.ends, transport.Close)
		c := raft.DefaultConfig()
		c.LocalID, c.Logger = raft.ServerID(fmt.Sprint(i)), hclog.NewNullLogger()
		c.SnapshotThreshold = 1 << 40                   // the benchmark's state is not worth one
		c.BatchApplyCh, c.MaxAppendEntries = true, 1024 // as fast as its options make it
		t.counts[i] = &counter{}
		if t.nodes[i], err = raft.NewRaft(c, t.counts[i], l, l, raft.NewDiscardSnapshotStore(), transport); err != nil {
			return nil, err
		}
		t.ends = append(t.ends, func() error { return t.nodes[i].Shutdown().Error() })
		servers = append(servers, raft.Server{ID: c.LocalID, Address: transport.LocalAddr()})
	}
	return t, t.nodes[0].BootstrapCluster(raft.Configuration{Servers: servers}).Error()
}

// leader waits for a leader.
func (t *raftTrio) leader(ctx context.Context) (*raft.Raft, error) {
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		for _, n := range t.nodes {
			if n.VerifyLeader().Error() == nil {
				return n, nil
			}
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (t *raftTrio) close() (err error) {
	for i := len(t.ends) - 1; i >= 0; i-- {
		err = errors.Join(err, t.ends[i]())
	}
	return err
}

// raftReplicated applies entries of so many records each, with so many on their way at a
// time, and counts what the leader's state machine got.
func raftReplicated(each, inFlight, slower int) func(context.Context, *Work) (Sample, error) {
	return func(ctx context.Context, w *Work) (_ Sample, err error) {
		t, err := openRaftTrio(w)
		if err != nil {
			return Sample{}, err
		}
		defer func() { err = errors.Join(err, t.close()) }()
		leader, err := t.leader(ctx)
		if err != nil {
			return Sample{}, err
		}
		entries := max(w.part(slower)/each, 1)
		onTheWay := make(chan raft.ApplyFuture, inFlight)
		failed := make(chan error, 1)
		m := w.start()
		go func() {
			var err error
			for f := range onTheWay {
				err = errors.Join(err, f.Error())
			}
			failed <- err
		}()
		for i := range entries {
			entry := make([]byte, 0, each*(keyLen+valueLen))
			for j := range each {
				entry = append(entry, w.payload(i*each+j)...)
			}
			onTheWay <- leader.Apply(entry, 0)
		}
		close(onTheWay)
		if err := <-failed; err != nil {
			return Sample{}, err
		}
		n := entries * each
		sample := m.done(int64(n), payloadBytes(n))
		most := tally{}
		for _, c := range t.counts {
			c.mu.Lock()
			if c.read.records > most.records {
				most = c.read
			}
			c.mu.Unlock()
		}
		return sample, most.check(n)
	}
}
