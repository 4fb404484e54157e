package attach_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/internal/attach"
	"github.com/runnel-go/runnel/producer"
)

// More clients connect than a socket queues while a directory is being opened:
// all get in, and so do sessions that are opened at once.
func TestCrowd(t *testing.T) {
	dir := t.TempDir()
	l, err := listenIn(t, dir)
	require.NoError(t, err)
	var clients sync.WaitGroup
	for range 300 {
		clients.Go(func() {
			c, err := attach.Dial(dir)
			if err != nil {
				t.Error(err)
				return
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	b, _, _ := serve(t)
	s := attach.Serve(l, b)
	defer s.Close()
	clients.Wait()

	client := dial(t, dir)
	for range 300 {
		clients.Go(func() {
			p, err := producer.New(client)
			if err != nil {
				t.Error(err)
				return
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	clients.Wait()
}

// Sessions find a directory that was named relative to the working directory.
func TestWorkingDirectoryChanges(t *testing.T) {
	dir := t.TempDir()
	openBroker(t, dir)
	t.Chdir(filepath.Dir(dir))
	r := attachTo(t, filepath.Base(dir))
	require.NoError(t, os.Chdir("/"))
	p, err := producer.New(r)
	require.NoError(t, err)
	require.NoError(t, p.Close())
}
