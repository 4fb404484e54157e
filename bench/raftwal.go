package main

import (
	"context"
	"errors"
	"os"
	"sync"

	"github.com/hashicorp/raft"
	raftwal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"
)

// raftWAL is a log of raft-wal with its single writer, which stores waiting
// entries together, as raft's leader does with proposals.
type raftWAL struct {
	*raftwal.WAL
	meta      *metadb.BoltMetaDB // which closing the WAL leaves open
	proposals chan proposal
	stored    sync.WaitGroup
}

type proposal struct {
	data []byte
	done chan<- error
}

// raftBatch is how many entries raft stores at once by default: its
// MaxAppendEntries.
const raftBatch = 64

func openRaftWAL(w *Work) (*raftWAL, error) {
	dir := w.path("raft-wal")
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	meta := new(metadb.BoltMetaDB)
	l, err := raftwal.Open(dir, raftwal.WithMetaStore(meta))
	if err != nil {
		return nil, errors.Join(err, meta.Close())
	}
	r := &raftWAL{WAL: l, meta: meta, proposals: make(chan proposal, raftBatch)}
	r.stored.Go(r.store)
	return r, nil
}

func (r *raftWAL) store() {
	next := uint64(1)
	for p := range r.proposals {
		waiting := []proposal{p}
		for len(waiting) < raftBatch {
			select {
			case p, ok := <-r.proposals:
				if ok {
					waiting = append(waiting, p)
					continue
				}
			default:
			}
			break
		}
		entries := make([]*raft.Log, len(waiting))
		for i, p := range waiting {
			entries[i] = &raft.Log{Index: next, Term: 1, Data: p.data}
			next++
		}
		err := r.StoreLogs(entries)
		for _, p := range waiting {
			p.done <- err
		}
	}
}

func (r *raftWAL) close() error {
	close(r.proposals)
	r.stored.Wait()
	return errors.Join(r.Close(), r.meta.Close())
}

// raftSend proposes records from that many goroutines. It waits for each to be
// on disk, and reads them when the directory is opened again.
func raftSend(goroutines, slower int) func(context.Context, *Work) (Sample, error) {
	return func(_ context.Context, w *Work) (Sample, error) {
		r, err := openRaftWAL(w)
		if err != nil {
			return Sample{}, err
		}
		n := w.part(slower)
		dones := sync.Pool{New: func() any { return make(chan error, 1) }}
		sample, err := timedBy(w, n, goroutines, func(i int) error {
			done := dones.Get().(chan error)
			r.proposals <- proposal{w.payload(i), done}
			err := <-done
			dones.Put(done)
			return err
		})
		if err := errors.Join(err, r.close()); err != nil {
			return Sample{}, err
		}
		if r, err = openRaftWAL(w); err != nil {
			return Sample{}, err
		}
		var read tally
		var entry raft.Log
		for i := 1; i <= n && err == nil; i++ {
			if err = r.GetLog(uint64(i), &entry); err == nil {
				read.addJoined(entry.Data)
			}
		}
		last, lastErr := r.LastIndex()
		return sample, errors.Join(err, lastErr, checkCount(last, n), read.check(n), r.close())
	}
}
