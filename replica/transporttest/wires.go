package transporttest

import (
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// wires are a network of TCP on loopback, which can be cut. Nodes reach each other through its
// proxies.
type wires struct {
	work sync.WaitGroup

	mu      sync.Mutex
	open    map[net.Conn]bool
	cut     chan struct{} // closed while the network is cut
	healed  chan struct{} // closed by Heal
	proxies []*proxy
}

// newWires returns a network, which ends with the test.
func newWires(t testing.TB) *wires {
	w := &wires{open: map[net.Conn]bool{}, cut: make(chan struct{}), healed: make(chan struct{})}
	t.Cleanup(w.end)
	return w
}

// proxy stands in front of a transport's address. While the network is cut it passes nothing on, and
// says nothing; what was open is closed when it heals.
type proxy struct {
	net.Listener
	target string
	net    *wires
}

// proxy returns an address at which the target, an address, is reached through the network.
func (w *wires) proxy(t testing.TB, target string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{Listener: l, target: target, net: w}
	w.mu.Lock()
	w.proxies = append(w.proxies, p)
	w.mu.Unlock()
	w.work.Go(p.run)
	return l.Addr().String()
}

func (p *proxy) run() {
	for {
		c, err := p.Accept()
		if err != nil {
			return
		}
		p.net.work.Go(func() { p.pass(c) })
	}
}

// pass connects both sides, and passes bytes until one of them closes or the network is cut.
func (p *proxy) pass(client net.Conn) {
	w := p.net
	w.mu.Lock()
	w.open[client] = true
	cut, healed := w.cut, w.healed
	w.mu.Unlock()
	defer w.close(client)
	select {
	case <-cut:
		<-healed
		return
	default:
	}
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	w.mu.Lock()
	w.open[server] = true
	w.mu.Unlock()
	defer w.close(server)
	var pumps sync.WaitGroup
	pump := func(to, from net.Conn) {
		buffer := make([]byte, 64<<10)
		for {
			n, err := from.Read(buffer)
			select {
			case <-cut:
				<-healed
				return
			default:
			}
			if n > 0 {
				if _, err := to.Write(buffer[:n]); err != nil {
					w.close(from)
					return
				}
			}
			switch {
			case err == io.EOF:
				_ = to.(*net.TCPConn).CloseWrite()
				return
			case err != nil:
				w.close(to)
				return
			}
		}
	}
	pumps.Go(func() { pump(server, client) })
	pumps.Go(func() { pump(client, server) })
	pumps.Wait()
}

func (w *wires) close(c net.Conn) {
	w.mu.Lock()
	delete(w.open, c)
	w.mu.Unlock()
	_ = c.Close()
}

// Cut has the network lose every byte, without telling anyone, until Heal.
func (w *wires) Cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.cut)
}

// Heal ends what Cut did. Connections that were open are closed.
func (w *wires) Heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.healed)
	w.cut, w.healed = make(chan struct{}), make(chan struct{})
	for c := range w.open {
		_ = c.Close()
	}
}

// end closes everything.
func (w *wires) end() {
	for _, p := range w.proxies {
		_ = p.Close()
	}
	w.Heal()
	w.work.Wait()
}
