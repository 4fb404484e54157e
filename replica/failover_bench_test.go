package replica_test

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica"
	"github.com/runnel-go/runnel/replica/tcp"
)

// onTCP is three nodes in one process, over TCP on loopback, with the profile of a local
// network: a tick of 20 ms. Each has a replica of one partition, with its disk's fsync.
type onTCP struct {
	b          *testing.B
	peers      map[replica.NodeID]string
	dirs       [3]string
	nodes      [3]*replica.Node
	transports [3]*tcp.Transport
	sequence   int32
}

func newOnTCP(b *testing.B) *onTCP {
	c := &onTCP{b: b, peers: map[replica.NodeID]string{}}
	for i := range c.nodes {
		c.dirs[i] = b.TempDir()
		c.listen(i, "127.0.0.1:0")
		c.peers[replica.NodeID(i+1)] = c.transports[i].Addr()
	}
	for i := range c.nodes {
		c.start(i)
	}
	b.Cleanup(func() {
		for _, n := range c.nodes {
			_ = n.Close()
		}
	})
	return c
}

func (c *onTCP) listen(i int, address string) {
	var err error
	c.transports[i], err = tcp.New("bench", address, tcp.Plaintext())
	require.NoError(c.b, err)
}

func (c *onTCP) start(i int) {
	var err error
	c.nodes[i], err = replica.StartNode(replica.NodeConfig{ID: replica.NodeID(i + 1), Transport: c.transports[i], Peers: c.peers, Tick: 20 * time.Millisecond})
	require.NoError(c.b, err)
	disk, err := vfs.OpenDisk(c.dirs[i], 0o600)
	require.NoError(c.b, err)
	c.b.Cleanup(func() { _ = disk.Close() })
	var members replica.Membership
	for id := range replica.NodeID(3) {
		members.Voters = append(members.Voters, replica.NewID(id+1, 0))
	}
	_, err = c.nodes[i].Add(replica.GroupConfig{Group: orders, Members: members, Disk: replica.DiskConfig{
		Log: log.Config{FS: disk, Dir: filepath.Join(c.dirs[i], "orders-0"), Topic: "orders"}, ID: replica.NewID(replica.NodeID(i+1), 0), Fsync: true,
	}})
	require.NoError(c.b, err)
}

func (c *onTCP) replica(i int) *replica.Replica {
	r, ok := c.nodes[i].Replica(orders)
	require.True(c.b, ok)
	return r
}

// write writes on a node, and waits until it is acknowledged.
func (c *onTCP) write(i int) {
	batch := numbered(c.b, c.sequence)
	c.sequence++
	require.NoError(c.b, c.replica(i).AppendAwait(batch))
}

// numbered returns a batch of one record of an idempotent producer.
func numbered(b *testing.B, sequence int32) []byte {
	builder := record.NewBuilder(1 << 10)
	builder.Add(time.Now().UnixMilli(), nil, make([]byte, 90), nil)
	batch, err := builder.Batch(nil, record.None, 0)
	require.NoError(b, err)
	h, err := record.ParseHeader(batch.Bytes)
	require.NoError(b, err)
	h.ProducerID, h.ProducerEpoch, h.BaseSequence = 7, 0, sequence
	return record.Seal(batch.Bytes, h).Bytes
}

func (c *onTCP) leader() int { return int(c.replica(0).Status().Leader.Node()) - 1 }

// BenchmarkFailover ends the leader's connections without a hand-over, as a kill does, and
// measures how long a write takes that another node begins then: detection, election, and the write itself. The metric
// is the median.
func BenchmarkFailover(b *testing.B) {
	c := newOnTCP(b)
	c.write(0)
	var took []time.Duration
	for range b.N {
		c.write(0) // all know the leader
		first := c.leader()
		require.NoError(b, c.transports[first].Close())
		began := time.Now()
		c.write((first + 1) % 3)
		took = append(took, time.Since(began))

		_ = c.nodes[first].Close()
		c.listen(first, c.peers[replica.NodeID(first+1)])
		c.start(first)
		c.write(first)
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-median")
	b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "ms-longest")
}

// BenchmarkTransfer hands the leadership over, and measures how long a write takes that the former
// leader's node begins at the same time. The metric is the median.
func BenchmarkTransfer(b *testing.B) {
	c := newOnTCP(b)
	c.write(0)
	var took []time.Duration
	for range b.N {
		c.write(1)
		c.write(0)
		first := c.leader()
		began := time.Now()
		require.NoError(b, c.replica(first).Transfer(replica.NewID(replica.NodeID((first+1)%3+1), 0)))
		c.write(first)
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-median")
	b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "ms-longest")
}
