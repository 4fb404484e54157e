package transporttest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/leak"
	"github.com/runnel-go/runnel/replica"
)

// RunHandshakes tests who meets whom over a network, and what why others do not: names of clusters, numbers
// of nodes, certificates, limits and logs.
func RunHandshakes(t *testing.T, open Open) {
	for _, test := range []struct {
		name string
		run  func(meeting)
	}{
		{"WrongCluster", wrongCluster},
		{"WrongNode", wrongNode},
		{"TwoNodesWithOneID", twoNodesWithOneID},
		{"PeerErrorSaysWhy", peerErrorSaysWhy},
		{"TLSOnOneSideAlone", tlsOnOneSideAlone},
		{"ForeignCertificates", foreignCertificates},
		{"VerifyNode", verifyNode},
		{"StreamsAreLimited", streamsAreLimited},
		{"APeerThatStartsLate", aPeerThatStartsLate},
		{"TwoProcessesOneNode", twoProcessesOneNode},
		{"ASilentProcess", aSilentProcess},
		{"TheLogSaysWhy", theLogSaysWhy},
		{"SettingsAreChecked", settingsAreChecked},
		{"AnAddressThatIsInUse", anAddressInUse},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			t.Cleanup(func() { leak.None(t, before) }) // last, after the nodes' own
			test.run(meeting{t, open})
		})
	}
}

// meeting is the world of one of these tests.
type meeting struct {
	*testing.T
	open Open
}

// guest is a transport that was started, with a handler that hears.
type guest struct {
	Networked
	up   chan replica.NodeID
	down chan error
}

func (g *guest) HandleFrame(_ replica.NodeID, _ replica.Lane, f *replica.Frame) { f.Done() }

// HandleStream answers with what it reads.
func (g *guest) HandleStream(_ replica.NodeID, _ replica.StreamKind, s replica.Stream) {
	_, _ = io.Copy(s, s)
}

func (g *guest) PeerUp(id replica.NodeID) { g.up <- id }

func (g *guest) PeerDown(_ replica.NodeID, cause error) { g.down <- cause }

// start starts a transport as node id.
func (m meeting) start(id replica.NodeID, s Settings) *guest {
	if s.Cluster == "" {
		s.Cluster = "orders"
	}
	if s.Address == "" {
		s.Address = "127.0.0.1:0"
	}
	n, err := m.open(s.patient())
	require.NoError(m, err)
	m.Cleanup(func() { require.NoError(m, n.Close()) })
	g := &guest{Networked: n, up: make(chan replica.NodeID, 1000), down: make(chan error, 1000)}
	require.NoError(m, n.Start(id, g))
	return g
}

// dial has node 1 open a stream to what it takes for node 2, and returns the error.
func (m meeting) dial(from *guest, address string) error {
	from.SetPeers(map[replica.NodeID]string{2: address})
	s, err := m.stream(from, 2)
	if err == nil {
		require.NoError(m, s.Close())
	}
	return err
}

func (m meeting) stream(from *guest, to replica.NodeID) (replica.Stream, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	m.Cleanup(cancel)
	return from.Open(ctx, to, 1)
}

func wrongCluster(m meeting) {
	a, b := m.start(1, Settings{}), m.start(2, Settings{Cluster: "payments"})
	err := m.dial(a, b.Addr())
	require.ErrorIs(m, err, fault.InconsistentClusterID)
	require.False(m, fault.Retriable(err))
	for _, part := range []string{"node 1", "node 2", `"orders"`, `"payments"`, b.Addr()} {
		require.ErrorContains(m, err, part)
	}
	require.False(m, a.Send(2, replica.LaneControl, &replica.Frame{}))
}

func wrongNode(m meeting) {
	a, b := m.start(1, Settings{}), m.start(3, Settings{})
	err := m.dial(a, b.Addr())
	require.ErrorIs(m, err, fault.InvalidVoterKey)
	for _, part := range []string{"node 1", "node 2", "node 3", b.Addr()} {
		require.ErrorContains(m, err, part)
	}
}

func twoNodesWithOneID(m meeting) {
	a, b, other := m.start(1, Settings{}), m.start(2, Settings{}), m.start(2, Settings{})
	require.NoError(m, m.dial(a, b.Addr()))
	other.SetPeers(map[replica.NodeID]string{2: b.Addr(), 7: b.Addr()})
	_, err := m.stream(other, 7)
	require.ErrorIs(m, err, fault.InvalidVoterKey)
}

// PeerError says why a peer's lanes are not connected, and nil once they are.
func peerErrorSaysWhy(m meeting) {
	a := m.start(1, Settings{})
	require.ErrorIs(m, a.PeerError(2), fault.NetworkException)
	require.ErrorContains(m, a.PeerError(2), "no address")
	b := m.start(2, Settings{})
	a.SetPeers(map[replica.NodeID]string{2: b.Addr()})
	<-a.up
	require.NoError(m, a.PeerError(2))
	require.NoError(m, b.Close())
	require.ErrorIs(m, <-a.down, fault.NetworkException)
	require.ErrorIs(m, a.PeerError(2), fault.NetworkException)
	require.ErrorContains(m, a.PeerError(2), b.Addr())
}

func tlsOnOneSideAlone(m meeting) {
	ca := newAuthority(m)
	soon := time.Second / 2
	plain, secure := m.start(1, Settings{HandshakeTimeout: soon}), m.start(2, Settings{TLS: ca.node(m, "node-2")})
	require.Error(m, m.dial(plain, secure.Addr()))

	secure, plain = m.start(1, Settings{HandshakeTimeout: soon, TLS: ca.node(m, "node-1")}), m.start(2, Settings{})
	require.Error(m, m.dial(secure, plain.Addr()))
}

func foreignCertificates(m meeting) {
	ours, theirs := newAuthority(m), newAuthority(m)
	b := m.start(2, Settings{TLS: ours.node(m, "node-2")})

	a := m.start(1, Settings{TLS: theirs.node(m, "node-1")})
	require.ErrorIs(m, m.dial(a, b.Addr()), fault.ClusterAuthorization, "the dialing side does not trust the other's authority")

	stranger := theirs.node(m, "node-1")
	stranger.RootCAs = ours.pool
	a = m.start(1, Settings{TLS: stranger})
	require.Error(m, m.dial(a, b.Addr()), "nor the accepting side") // which a transport may not hear from TLS

	misplaced := ours.node(m, "node-1")
	misplaced.ServerName = "elsewhere"
	a = m.start(1, Settings{TLS: misplaced})
	require.ErrorIs(m, m.dial(a, b.Addr()), fault.ClusterAuthorization, "a certificate that is not valid for the address")

	a = m.start(1, Settings{TLS: ours.node(m, "node-1")})
	require.NoError(m, m.dial(a, b.Addr()))
}

// A certificate names its node, and speaks for no other.
func verifyNode(m meeting) {
	ca := newAuthority(m)
	verify := func(node replica.NodeID, state tls.ConnectionState) error {
		if name := fmt.Sprintf("node-%v", node); state.PeerCertificates[0].Subject.CommonName != name {
			return errors.New("it is not for " + name)
		}
		return nil
	}
	b := m.start(2, Settings{TLS: ca.node(m, "node-2"), Verify: verify})
	a := m.start(1, Settings{TLS: ca.node(m, "node-1"), Verify: verify})
	require.NoError(m, m.dial(a, b.Addr()))

	impostor := m.start(1, Settings{TLS: ca.node(m, "node-9")})
	err := m.dial(impostor, b.Addr())
	require.ErrorIs(m, err, fault.ClusterAuthorization, "the accepting side checks")
	require.ErrorContains(m, err, "not for node-1")

	fake := m.start(2, Settings{TLS: ca.node(m, "node-9")})
	err = m.dial(a, fake.Addr())
	require.ErrorIs(m, err, fault.ClusterAuthorization, "the dialing side checks")
	require.ErrorContains(m, err, "not for node-2")
}

// A peer may not open more streams than it is allowed, and those that it has go on.
func streamsAreLimited(m meeting) {
	a, b := m.start(1, Settings{}), m.start(2, Settings{MaxStreams: 3})
	a.SetPeers(map[replica.NodeID]string{2: b.Addr()})
	var open []replica.Stream
	for range 3 {
		s, err := m.stream(a, 2)
		require.NoError(m, err)
		open = append(open, s)
	}
	_, err := m.stream(a, 2)
	require.ErrorIs(m, err, fault.PolicyViolation)
	require.ErrorContains(m, err, "3 streams")
	for _, s := range open {
		_, err := s.Write([]byte("x"))
		require.NoError(m, err)
		_, err = io.ReadFull(s, make([]byte, 1))
		require.NoError(m, err)
		require.NoError(m, s.Close())
	}
}

// A node that starts after its peer has tried for a while is reached.
func aPeerThatStartsLate(m meeting) {
	placeholder, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(m, err)
	address := placeholder.Addr().String()
	require.NoError(m, placeholder.Close())

	a := m.start(1, Settings{})
	a.SetPeers(map[replica.NodeID]string{2: address})
	require.Eventually(m, func() bool { return fault.CodeOf(a.PeerError(2)) == fault.NetworkException }, patience, time.Millisecond)
	b := m.start(2, Settings{Address: address})
	b.SetPeers(map[replica.NodeID]string{1: a.Addr()})
	require.Equal(m, replica.NodeID(2), <-a.up)
}

// Of two processes with one number, the one that is connected stays, and both sides say that
// there is another one. When it ends, the other one takes its place.
func twoProcessesOneNode(m meeting) {
	atA, atSecond := make(lines, 1000), make(lines, 1000)
	a, first := m.start(1, Settings{Logger: atA}), m.start(2, Settings{})
	first.SetPeers(map[replica.NodeID]string{1: a.Addr()})
	<-first.up

	second := m.start(2, Settings{Logger: atSecond})
	second.SetPeers(map[replica.NodeID]string{1: a.Addr()})
	for _, log := range []lines{atA, atSecond} {
		require.Contains(m, <-log, "two processes say that they are node 2")
	}
	_, err := m.stream(second, 1)
	require.ErrorIs(m, err, fault.DuplicateBroker)
	require.True(m, first.Send(1, replica.LaneControl, &replica.Frame{}), "the first one is not disturbed")
	require.Empty(m, first.down)

	require.NoError(m, first.Close())
	require.Equal(m, replica.NodeID(1), <-second.up)
}

// A process whose machine is gone, which no one was told of, keeps its successor out for a few timeouts, and not longer.
func aSilentProcess(m meeting) {
	wires := newWires(m)
	hasty := Settings{Interval: 50 * time.Millisecond, Timeout: 200 * time.Millisecond}
	a, first := m.start(1, hasty), m.start(2, hasty)
	first.SetPeers(map[replica.NodeID]string{1: wires.proxy(m, a.Addr())})
	<-first.up
	wires.Cut()

	second := m.start(2, hasty)
	second.SetPeers(map[replica.NodeID]string{1: a.Addr()})
	require.Equal(m, replica.NodeID(1), <-second.up)
}

// lines is a logger that keeps what it gets.
type lines chan string

func (l lines) Info(message string, attrs ...any)  { l <- fmt.Sprint("INFO ", message, attrs) }
func (l lines) Warn(message string, attrs ...any)  { l <- fmt.Sprint("WARN ", message, attrs) }
func (l lines) Error(message string, attrs ...any) { l <- fmt.Sprint("ERROR ", message, attrs) }

// An operator sees from the logs of either side why two nodes do not meet, and what became of those that did.
func theLogSaysWhy(m meeting) {
	atA, atB := make(lines, 1000), make(lines, 1000)
	a, b := m.start(1, Settings{Logger: atA}), m.start(2, Settings{Cluster: "payments", Logger: atB})
	a.SetPeers(map[replica.NodeID]string{2: b.Addr()})
	for _, line := range []string{<-atA, <-atB} {
		require.Contains(m, line, "WARN ")
		require.Contains(m, line, `node 1 is of cluster "orders"`)
		require.Contains(m, line, `node 2, of cluster "payments"`)
	}
	require.NoError(m, b.Close())

	b = m.start(2, Settings{})
	a.SetPeers(map[replica.NodeID]string{2: b.Addr()})
	for line := range atA {
		if line == fmt.Sprint("INFO a peer is up", []any{"node", 1, "peer", 2, "address", b.Addr()}) {
			break
		}
		require.Contains(m, line, "a peer cannot be reached") // of the old address
	}
	require.NoError(m, b.Close())
	require.Contains(m, <-atA, "WARN a peer is down")
}

func settingsAreChecked(m meeting) {
	ca := newAuthority(m)
	whole := ca.node(m, "n")
	for name, s := range map[string]Settings{
		"a certificate": {TLS: &tls.Config{RootCAs: ca.pool}},
		"no authority":  {TLS: &tls.Config{Certificates: whole.Certificates}},
		"verifies none": {TLS: &tls.Config{Certificates: whole.Certificates, RootCAs: ca.pool, InsecureSkipVerify: true}},
		"verify":        {Verify: func(replica.NodeID, tls.ConnectionState) error { return nil }},
		"small frames":  {MaxFrame: 1},
		"small budget":  {MaxFrame: 1 << 20, Budget: 1 << 20},
		"no streams":    {MaxStreams: -1},
		"keep alive":    {Interval: time.Second, Timeout: time.Second},
		"handshake":     {HandshakeTimeout: -1},
		"no name":       {Cluster: "-"},
	} {
		s.Address = "127.0.0.1:0"
		s.Cluster = map[bool]string{true: "", false: "orders"}[s.Cluster == "-"]
		_, err := m.open(s)
		require.ErrorIs(m, err, fault.InvalidConfig, name)
	}
}

func anAddressInUse(m meeting) {
	a := m.start(1, Settings{})
	_, err := m.open(Settings{Cluster: "orders", Address: a.Addr()})
	require.ErrorIs(m, err, fault.InvalidConfig)
	require.ErrorContains(m, err, a.Addr())
}
