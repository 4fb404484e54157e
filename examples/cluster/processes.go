package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/fault"
)

// cluster is the processes, which the parent starts and kills.
type cluster struct {
	home      string
	addresses [3]string    // where the nodes listen, once they have been started
	processes [3]*exec.Cmd // nil while it does not run
}

// newCluster makes a directory with certificates.
func newCluster() (*cluster, error) {
	home, err := os.MkdirTemp("", "runnel-cluster")
	if err != nil {
		return nil, err
	}
	c := &cluster{home: home}
	if err := writeCertificates(home, len(c.processes)); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// start starts the processes of some nodes, counted from 0. Each listens on a port that is free, and
// tells it; the addresses of all nodes are what each needs to know of the others. A node that comes
// back listens where it did before.
func (c *cluster) start(ids ...int) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	answers := make([]io.Writer, len(ids))
	for i, id := range ids {
		if c.addresses[id] == "" {
			c.addresses[id] = "127.0.0.1:0"
		}
		p := exec.Command(program)
		p.Env = append(os.Environ(), fmt.Sprint(numberVariable, "=", id+1), addressVariable+"="+c.addresses[id], homeVariable+"="+c.home)
		p.Stderr = os.Stderr
		out, err := p.StdoutPipe()
		if err != nil {
			return err
		}
		if answers[i], err = p.StdinPipe(); err != nil {
			return err
		}
		if err := p.Start(); err != nil {
			return err
		}
		c.processes[id] = p
		address, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			return fmt.Errorf("node %d did not say where it listens: %w", id+1, err)
		}
		c.addresses[id] = strings.TrimSpace(address)
	}
	for _, answer := range answers {
		if _, err := fmt.Fprintln(answer, strings.Join(c.addresses[:], " ")); err != nil {
			return err
		}
	}
	return nil
}

// kill ends a process as kill -9 does: it writes and says nothing any more.
func (c *cluster) kill(id int) {
	p := c.processes[id]
	c.processes[id] = nil
	_ = p.Process.Kill()
	_ = p.Wait()
}

// attach reaches a node's broker from this process, once it has opened its directory.
func (c *cluster) attach(ctx context.Context, id int) (*runnel.Remote, error) {
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		b, err := runnel.Attach(dataOf(c.home, id+1))
		if err == nil || !errors.Is(err, fault.Closed) && !errors.Is(err, os.ErrNotExist) {
			return b, err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		}
	}
}

// close ends all processes and removes what they wrote.
func (c *cluster) close() error {
	for id, p := range c.processes {
		if p != nil {
			c.kill(id)
		}
	}
	return os.RemoveAll(c.home)
}
