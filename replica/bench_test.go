package replica_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica"
	"github.com/runnel-go/runnel/replica/memory"
)

// BenchmarkThreeCopies writes batches of 64 KiB of records of 100 bytes to a group of
// three nodes in one process, each with its disk's fsync, 16 batches at a time; and the
// same bytes to three files, by one writer each that syncs what has gathered.
func BenchmarkThreeCopies(b *testing.B) {
	batch := benchBatch(b)
	b.Run("files", func(b *testing.B) { benchFiles(b, batch) })
	b.Run("group", func(b *testing.B) { benchGroup(b, batch) })
}

func benchBatch(b *testing.B) []byte {
	builder := record.NewBuilder(64 << 10)
	for builder.Add(time.Now().UnixMilli(), nil, make([]byte, 90), nil) {
	}
	batch, err := builder.Batch(nil, record.None, 0)
	require.NoError(b, err)
	return batch.Bytes
}

const window = 16

func benchGroup(b *testing.B, batch []byte) {
	network, peers := memory.New(), map[replica.NodeID]string{1: "1", 2: "2", 3: "3"}
	leads := make(chan *replica.Replica, 3)
	var members replica.Membership
	for id := range replica.NodeID(3) {
		members.Voters = append(members.Voters, replica.NewID(id+1, 0))
	}
	for id, address := range peers {
		transport := network.Node(address)
		n, err := replica.StartNode(replica.NodeConfig{ID: id, Transport: transport, Peers: peers})
		require.NoError(b, err)
		defer n.Close()
		dir := b.TempDir()
		disk, err := vfs.OpenDisk(dir, 0o600)
		require.NoError(b, err)
		defer disk.Close()
		_, err = n.Add(replica.GroupConfig{
			Group: orders, Members: members,
			Disk: replica.DiskConfig{
				Log: log.Config{FS: disk, Dir: filepath.Join(dir, "orders-0"), Topic: "orders"}, ID: replica.NewID(id, 0), Fsync: true,
			},
			Changed: func(s replica.Status) {
				if r, ok := n.Replica(orders); ok && s.Leading {
					leads <- r
				}
			},
		})
		require.NoError(b, err)
	}
	leader := (<-leads).Copy()
	done := make(flights, window)
	b.SetBytes(int64(len(batch)))
	b.ResetTimer()
	for i := range b.N {
		if i >= window {
			require.NoError(b, <-done)
		}
		leader.Append(append([]byte(nil), batch...), nil, done)
	}
	for range min(b.N, window) {
		require.NoError(b, <-done)
	}
	b.StopTimer()
}

type flights chan error

func (f flights) Appended(_ int64, err error) { f <- err }

func benchFiles(b *testing.B, batch []byte) {
	var writers [3]chan struct{}
	var acks sync.WaitGroup
	done := make(chan struct{}, 3*window)
	for i := range writers {
		f, err := os.Create(filepath.Join(b.TempDir(), fmt.Sprint(i)))
		require.NoError(b, err)
		defer f.Close()
		writers[i] = make(chan struct{}, window)
		acks.Go(func() {
			for range writers[i] {
				n := 1
				for more := true; more; {
					select {
					case _, ok := <-writers[i]:
						if more = ok; ok {
							n++
						}
					default:
						more = false
					}
				}
				for range n {
					if _, err := f.Write(batch); err != nil {
						b.Error(err)
					}
				}
				if err := f.Sync(); err != nil {
					b.Error(err)
				}
				for range n {
					done <- struct{}{}
				}
			}
		})
	}
	b.SetBytes(int64(len(batch)))
	b.ResetTimer()
	for i := range b.N {
		if i >= window {
			for range writers {
				<-done
			}
		}
		for _, w := range writers {
			w <- struct{}{}
		}
	}
	for _, w := range writers {
		close(w)
	}
	acks.Wait()
	b.StopTimer()
}
