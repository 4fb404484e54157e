package replica_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica"
	"github.com/runnel-go/runnel/replica/memory"
	"github.com/runnel-go/runnel/topic"
)

var orders = replica.GroupID{Topic: topic.ID{1}}

// three is three nodes in one process, each with a replica of one partition.
type three struct {
	t       *testing.T
	network *memory.Network
	disks   [3]*vfs.Crashable
	nodes   [3]*replica.Node

	transports [3]*memory.Node
	spoken     atomic.Int64  // frames with messages
	silent     atomic.Uint64 // the node to which streams say nothing, and from which they say nothing
}

func newThree(t *testing.T) *three { return newThreeOn(t, memory.New()) }

func newThreeOn(t *testing.T, network *memory.Network) *three {
	c := &three{t: t, network: network}
	for i := range c.disks {
		c.disks[i] = vfs.NewCrashable()
		c.start(i)
	}
	t.Cleanup(func() {
		for _, n := range c.nodes {
			if n != nil {
				require.NoError(t, n.Close())
			}
		}
	})
	return c
}

// start starts a node with what is on its disk.
func (c *three) start(i int) {
	c.t.Helper()
	transport := c.network.Node(fmt.Sprint("node-", i+1))
	n, err := replica.StartNode(replica.NodeConfig{
		ID: replica.NodeID(i + 1), Transport: muting{counting{transport, &c.spoken}, &c.silent}, Peers: map[replica.NodeID]string{1: "node-1", 2: "node-2", 3: "node-3"},
	})
	require.NoError(c.t, err)
	c.nodes[i], c.transports[i] = n, transport
	var members replica.Membership
	for id := range replica.NodeID(3) {
		members.Voters = append(members.Voters, replica.NewID(id+1, 0))
	}
	_, err = n.Add(replica.GroupConfig{
		Group: orders, Members: members,
		Disk: replica.DiskConfig{
			Log: log.Config{FS: c.disks[i], Dir: "/data/orders-0", Topic: "orders", Codec: record.NewCodec(0)},
			ID:  members.Voters[i], Fsync: true,
		},
	})
	require.NoError(c.t, err)
}

// crash ends a node as a loss of power does.
func (c *three) crash(i int) {
	n := c.nodes[i]
	c.nodes[i] = nil
	_ = c.transports[i].Close()
	disk := c.disks[i].Crash(vfs.Loss{})
	_ = n.Close() // whose disk fails by now
	c.disks[i] = disk
}

func (c *three) replica(i int) *replica.Replica {
	c.t.Helper()
	r, ok := c.nodes[i].Replica(orders)
	require.True(c.t, ok)
	return r
}

// leader waits until one of the nodes leads, and returns it.
func (c *three) leader() int {
	c.t.Helper()
	for range 200 {
		for i, n := range c.nodes {
			if n != nil && c.replica(i).Copy().Leads() {
				return i
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	require.FailNow(c.t, "no node leads")
	return -1
}

func (c *three) send(to int, value string) error {
	return c.replica(to).Copy().AppendAwait(one(c.t, value))
}

// one returns a batch of one record.
func one(t *testing.T, value string) []byte {
	b := record.NewBuilder(1 << 20)
	require.True(t, b.Add(time.Now().UnixMilli(), nil, []byte(value), nil))
	batch, err := b.Batch(nil, record.None, 0)
	require.NoError(t, err)
	return batch.Bytes
}

func values(t *testing.T, p *partition.Partition) (all []string) {
	t.Helper()
	require.NoError(t, p.Scan(func(_ *record.Batch, r *record.Record) error {
		all = append(all, string(r.Value))
		return nil
	}))
	return all
}

// What was acknowledged is there after the leader has died, on every node, and writing
// goes on.
func TestThreeNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		first := c.leader()
		require.NoError(t, c.send(first, "a"))
		require.NoError(t, c.send(first, "b"))
		require.ErrorIs(t, c.send((first+1)%3, "lost"), fault.NotLeader)

		c.crash(first)
		died := time.Now()
		second := c.leader()
		require.NotEqual(t, first, second)
		require.NoError(t, c.send(second, "c"))
		require.Less(t, time.Since(died), 2*time.Second, "twice the election timeout")

		c.start(first)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		for i := range c.nodes {
			require.Equal(t, []string{"a", "b", "c"}, values(t, c.replica(i).Copy()), "node %d", i+1)
		}
	})
}
