package memory_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/runnel-go/runnel/replica"
	"github.com/runnel-go/runnel/replica/memory"
	"github.com/runnel-go/runnel/replica/transporttest"
)

// cluster is a network whose nodes are named in turn.
type cluster struct {
	*memory.Network
	nodes int
}

func (c *cluster) New(testing.TB) (replica.Transport, string) {
	c.nodes++
	n := c.Node(fmt.Sprintf("node-%d", c.nodes))
	return n, n.Address()
}

func (c *cluster) Cut() { c.Partition() }

func TestConformance(t *testing.T) {
	transporttest.RunInBubble(t, func(testing.TB) transporttest.Cluster { return &cluster{Network: memory.New(memory.Budget(4 << 20))} })
}

// The same where frames take their time, and where cuts are noticed late.
func TestConformanceOfSlowLinks(t *testing.T) {
	transporttest.RunInBubble(t, func(testing.TB) transporttest.Cluster {
		return &cluster{Network: memory.New(
			memory.Links(memory.Link{Delay: time.Millisecond, Jitter: 20 * time.Millisecond}),
			memory.NoticeAfter(2*time.Second),
			memory.Budget(4<<20),
		)}
	})
}

// And in real time.
func TestConformanceInRealTime(t *testing.T) {
	transporttest.Run(t, func(testing.TB) transporttest.Cluster { return &cluster{Network: memory.New(memory.Budget(4 << 20))} })
}
