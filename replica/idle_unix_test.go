//go:build unix

package replica_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/replica"
	"github.com/runnel-go/runnel/replica/memory"
)

// BenchmarkIdleGroups measures what 1,000 groups on three nodes cost while nothing happens:
// of one processor, all three nodes together. An operation is a second.
func BenchmarkIdleGroups(b *testing.B) {
	network, peers := memory.New(), map[replica.NodeID]string{1: "1", 2: "2", 3: "3"}
	var members replica.Membership
	for id := range replica.NodeID(3) {
		members.Voters = append(members.Voters, replica.NewID(id+1, 0))
	}
	leading := make(chan struct{}, 10_000)
	for id, address := range peers {
		n, err := replica.StartNode(replica.NodeConfig{ID: id, Transport: network.Node(address), Peers: peers})
		require.NoError(b, err)
		defer n.Close()
		fs := vfs.NewMemory()
		for g := range 1000 {
			_, err := n.Add(replica.GroupConfig{
				Group: replica.GroupID{Topic: orders.Topic, Partition: int32(g)}, Members: members,
				Disk: replica.DiskConfig{Log: log.Config{FS: fs, Dir: fmt.Sprint("/data/orders-", g), Topic: "orders", Partition: int32(g)}, ID: replica.NewID(id, 0)},
				Changed: func(s replica.Status) {
					if s.Leading {
						leading <- struct{}{}
					}
				},
			})
			require.NoError(b, err)
		}
	}
	for range 1000 {
		<-leading
	}
	<-time.After(5 * time.Second) // they come to rest
	before := cpu(b)
	b.ResetTimer()
	for range b.N {
		<-time.After(time.Second)
	}
	b.StopTimer()
	b.ReportMetric(100*float64(cpu(b)-before)/float64(time.Duration(b.N)*time.Second), "%core")
}

// cpu returns the processor time that this process has used.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
