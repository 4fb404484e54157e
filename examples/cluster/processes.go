package main

import (
	"context"
	"errors"
	"fmt"
	"net"
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
	peers     []string
	processes [3]*exec.Cmd // nil while it does not run
}

// newCluster makes a directory with certificates, and chooses ports.
func newCluster() (*cluster, error) {
	home, err := os.MkdirTemp("", "runnel-cluster")
	if err != nil {
		return nil, err
	}
	c := &cluster{home: home}
	for range c.processes {
		l, err := net.Listen("tcp", "127.0.0.1:0") // a port that is free at the moment
		if err != nil {
			return nil, errors.Join(err, c.close())
		}
		c.peers = append(c.peers, l.Addr().String())
		if err := l.Close(); err != nil {
			return nil, errors.Join(err, c.close())
		}
	}
	if err := writeCertificates(home, len(c.processes)); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// start starts the process of a node, counted from 0.
func (c *cluster) start(id int) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	p := exec.Command(program)
	p.Env = append(os.Environ(),
		fmt.Sprint(numberVariable, "=", id+1), peersVariable+"="+strings.Join(c.peers, ","), homeVariable+"="+c.home)
	p.Stderr = os.Stderr
	if err := p.Start(); err != nil {
		return err
	}
	c.processes[id] = p
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
