package processtest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience is how long the test waits for what should happen.
const patience = 2 * time.Minute

// cluster is the processes, and the links between them.
type cluster struct {
	t     *testing.T
	home  string
	env   []string            // of the processes, besides
	wires [nodes][nodes]*wire // from the first to the second; nil on the diagonal
	nodes [nodes]*child
	*ledger
}

// child is the process of a node.
type child struct {
	command     *exec.Cmd
	in          io.WriteCloser
	incarnation int
	running     bool
	read        sync.WaitGroup // what it says has been read
}

func newCluster(t *testing.T) *cluster {
	c := &cluster{t: t, home: t.TempDir(), ledger: newLedger()}
	writeCertificate(t, c.certificate())
	for from := range nodes {
		c.nodes[from] = &child{}
		for to := range nodes {
			if from != to {
				c.wires[from][to] = newWire(t)
			}
		}
	}
	t.Cleanup(c.end)
	return c
}

func (c *cluster) certificate() string { return filepath.Join(c.home, "node.pem") }

// start starts a node's process, and connects it to the others. It returns before it is open.
func (c *cluster) start(id int) {
	program, err := os.Executable()
	require.NoError(c.t, err)
	n := c.nodes[id]
	n.incarnation++
	n.command = exec.Command(program)
	dir := filepath.Join(c.home, fmt.Sprint("node-", id+1))
	require.NoError(c.t, os.MkdirAll(dir, 0o755))
	n.command.Env = append(os.Environ(), fmt.Sprint(nodeVariable, "=", id+1), fmt.Sprint(incarnationVariable, "=", n.incarnation), dirVariable+"="+dir, tlsVariable+"="+c.certificate())
	n.command.Env = append(n.command.Env, c.env...)
	n.command.Stderr = os.Stderr
	n.in, err = n.command.StdinPipe()
	require.NoError(c.t, err)
	out, err := n.command.StdoutPipe()
	require.NoError(c.t, err)
	require.NoError(c.t, n.command.Start())
	n.running = true

	lines := bufio.NewScanner(out)
	require.True(c.t, lines.Scan(), "node %d says its address", id+1)
	address, found := strings.CutPrefix(lines.Text(), "address ")
	require.True(c.t, found, lines.Text())
	var peers []string
	for other := range nodes {
		if other == id {
			peers = append(peers, address)
			continue
		}
		c.wires[other][id].lead(address)
		peers = append(peers, c.wires[id][other].address())
	}
	_, err = fmt.Fprintln(n.in, strings.Join(peers, " "))
	require.NoError(c.t, err)
	n.read.Go(func() {
		for lines.Scan() {
			c.heard(id, n.incarnation, lines.Text())
		}
	})
}

// kill ends a process as kill -9 does.
func (c *cluster) kill(id int) {
	n := c.nodes[id]
	n.running = false
	_ = n.command.Process.Kill()
	n.read.Wait()
	_ = n.command.Wait()
}

func (c *cluster) signal(id int, s syscall.Signal) {
	require.NoError(c.t, c.nodes[id].command.Process.Signal(s))
}

// links calls do for each link from and to a node.
func (c *cluster) links(id int, do func(*wire)) {
	for other := range nodes {
		if other != id {
			do(c.wires[id][other])
			do(c.wires[other][id])
		}
	}
}

// end ends all processes, by force.
func (c *cluster) end() {
	for id, n := range c.nodes {
		if n.running {
			c.kill(id)
		}
	}
	for _, from := range c.wires {
		for _, w := range from {
			if w != nil {
				w.end()
			}
		}
	}
}

// stop asks all processes to end.
func (c *cluster) stop() {
	for _, n := range c.nodes {
		_, err := fmt.Fprintln(n.in, "stop")
		require.NoError(c.t, err)
	}
	for id, n := range c.nodes {
		n.read.Wait()
		require.NoError(c.t, n.command.Wait(), "node %d", id+1)
		n.running = false
	}
}
