package attach

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/share"
)

// worked is a backend whose share consumer's session says that it was closed.
type worked struct {
	stub
	closed chan struct{}
}

func (b worked) Sharing() (*Sharing, error) {
	return &Sharing{Open: func(context.Context, share.Config) (share.Session, error) {
		return workedSession{stubShare{}, b.closed}, nil
	}}, nil
}

type workedSession struct {
	stubShare
	closed chan struct{}
}

func (s workedSession) Close() error {
	close(s.closed)
	return nil
}

// A client that is gone without a word has no locks any more.
func TestAShareSessionEndsWithItsConnection(t *testing.T) {
	b := worked{closed: make(chan struct{})}
	server := newServer(b)
	near, far := net.Pipe()
	v := newVisit(server, far)
	go v.run()
	c, r, err := meet(near)
	require.NoError(t, err)
	c.start(r)
	cfg := share.Config{Group: "workers", Topics: []string{"jobs"}, LockTime: time.Second, Attempts: 1, Locks: 1, MaxBytes: 1}
	require.NoError(t, c.call(t.Context(), openShare, func(c *coder) { c.shareConfig(&cfg) }, none))
	c.cut()
	select {
	case <-b.closed:
	case <-time.After(time.Minute):
		require.Fail(t, "the session lives on")
	}
	<-v.ended
	<-c.over
}
