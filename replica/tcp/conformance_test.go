package tcp_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/replica"
	"github.com/runnel-go/runnel/replica/tcp"
	"github.com/runnel-go/runnel/replica/transporttest"
)

// cluster is nodes on loopback, each behind a proxy.
type cluster struct {
	*wires
	options []tcp.Option
}

// open returns a cluster whose nodes are patient; but where a cut network is to be
// noticed, they are not.
func open(t testing.TB, options ...tcp.Option) transporttest.Cluster {
	options = append(patient[:], options...)
	if strings.HasSuffix(t.Name(), "/CutNetwork") {
		options = append(options, tcp.KeepAlive(100*time.Millisecond, 500*time.Millisecond))
	}
	c := &cluster{wires: newWires(), options: options}
	t.Cleanup(c.end)
	return c
}

func (c *cluster) New(t testing.TB) (replica.Transport, string) {
	node, err := tcp.New("test", "127.0.0.1:0", c.options...)
	require.NoError(t, err)
	return node, c.proxy(t, node.Addr()).Addr().String()
}

func TestConformanceWithTLS(t *testing.T) {
	config := newAuthority(t).node(t, "any node")
	transporttest.Run(t, func(t testing.TB) transporttest.Cluster {
		return open(t, tcp.TLS(config), tcp.MaxFrame(2<<20), tcp.Budget(8<<20))
	})
}

func TestConformanceInPlaintext(t *testing.T) {
	transporttest.Run(t, func(t testing.TB) transporttest.Cluster {
		return open(t, tcp.Plaintext(), tcp.MaxFrame(2<<20), tcp.Budget(8<<20))
	})
}
