package processtest

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// wire is a proxy between one node and another, for the connections that the first one
// dials. What it accepts goes to the second one's process, wherever that listens now.
type wire struct {
	listener net.Listener
	work     sync.WaitGroup

	mu     sync.Mutex
	target string
	open   map[net.Conn]bool
	down   bool          // the link loses everything
	healed chan struct{} // closed and replaced when it does no more
	delay  time.Duration // of everything that arrives
	ended  chan struct{} // closed by end
}

func newWire(t testing.TB) *wire {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := &wire{listener: l, open: map[net.Conn]bool{}, healed: make(chan struct{}), ended: make(chan struct{})}
	w.work.Go(w.accept)
	return w
}

func (w *wire) address() string { return w.listener.Addr().String() }

func (w *wire) lead(target string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.target = target
}

// cut makes the link lose everything, and tells no one.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = true
}

// slow makes everything arrive later.
func (w *wire) slow(delay time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.delay = delay
}

// heal makes the link what it was. Connections from before a cut are closed.
func (w *wire) heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.delay = 0
	if w.down {
		w.down = false
		for c := range w.open {
			_ = c.Close()
		}
	}
	close(w.healed)
	w.healed = make(chan struct{})
}

// end closes everything.
func (w *wire) end() {
	_ = w.listener.Close()
	close(w.ended)
	w.mu.Lock()
	for c := range w.open {
		_ = c.Close()
	}
	w.mu.Unlock()
	w.work.Wait()
}

func (w *wire) accept() {
	for {
		c, err := w.listener.Accept()
		if err != nil {
			return
		}
		w.work.Go(func() { w.pass(c) })
	}
}

// pass connects both sides, and passes bytes until one of them closes.
func (w *wire) pass(client net.Conn) {
	w.keep(client)
	defer w.close(client)
	if !w.passes() {
		return
	}
	w.mu.Lock()
	target := w.target
	w.mu.Unlock()
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	w.keep(server)
	defer w.close(server)
	var pumps sync.WaitGroup
	pumps.Go(func() { w.pump(server, client) })
	pumps.Go(func() { w.pump(client, server) })
	pumps.Wait()
}

// passes waits while the link is slow, and reports whether it passes anything on at all. While it is cut,
// it waits for its end.
func (w *wire) passes() bool {
	w.mu.Lock()
	delay, down, healed := w.delay, w.down, w.healed
	w.mu.Unlock()
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-healed:
		case <-w.ended:
		}
	}
	if down {
		select {
		case <-healed:
		case <-w.ended:
		}
	}
	return !down
}

func (w *wire) pump(to, from net.Conn) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if !w.passes() {
			break
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				break
			}
		}
		if err == io.EOF {
			_ = to.(*net.TCPConn).CloseWrite()
			return
		}
		if err != nil {
			break
		}
	}
	w.close(to)
	w.close(from)
}

func (w *wire) keep(c net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.ended:
		_ = c.Close()
	default:
		w.open[c] = true
	}
}

func (w *wire) close(c net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.open, c)
	_ = c.Close()
}
