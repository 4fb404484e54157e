package tcp

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/hub"
	"github.com/runnel-go/runnel/replica"
)

// keeper is a handler that keeps what arrives.
type keeper struct {
	frames chan *replica.Frame
	up     chan replica.NodeID
	down   chan error
}

func newKeeper() keeper {
	return keeper{make(chan *replica.Frame, 10_000), make(chan replica.NodeID, 100), make(chan error, 100)}
}

func (k keeper) HandleFrame(_ replica.NodeID, _ replica.Lane, f *replica.Frame) { k.frames <- f }

func (k keeper) HandleStream(_ replica.NodeID, _ replica.StreamKind, s replica.Stream) {
	_, _ = io.ReadAll(s)
}

func (k keeper) PeerUp(id replica.NodeID) { k.up <- id }

func (k keeper) PeerDown(_ replica.NodeID, cause error) { k.down <- cause }

// serving returns node 2, started. Unless the options differ, silence closes nothing.
func serving(t *testing.T, options ...Option) (*Transport, keeper) {
	patient := []Option{Plaintext(), KeepAlive(time.Minute, time.Hour), HandshakeTimeout(time.Hour)}
	node, err := New("test", "127.0.0.1:0", append(patient, options...)...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = node.Close() })
	k := newKeeper()
	require.NoError(t, node.Start(2, k))
	return node, k
}

// intrude connects as node 1, and is accepted.
func intrude(t *testing.T, node *Transport, what purpose) net.Conn {
	c, err := net.Dial("tcp", node.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
	_, err = c.Write(hello{protocolVersion, what, 1, 1, 2, 3, "test"}.bytes())
	require.NoError(t, err)
	a, err := readAnswer(c)
	require.NoError(t, err)
	require.Zero(t, a.code, a.detail)
	return c
}

// shownOut waits until the other side has closed the connection.
func shownOut(t *testing.T, c net.Conn, why string) {
	t.Helper()
	_, err := io.Copy(io.Discard, c)
	timeout, is := err.(net.Error)
	require.False(t, is && timeout.Timeout(), why)
}

// What is no frame closes its lane. The other lane goes on, and so does a new
// connection.
func TestWhatIsNoFrameClosesItsLane(t *testing.T) {
	node, k := serving(t)
	whole := encode(&replica.Frame{Header: []byte("fine"), Payload: [][]byte{make([]byte, 1000)}})
	damaged := bytes.Clone(whole)
	damaged[500]++
	control := intrude(t, node, purposeControl)
	for name, says := range map[string][]byte{
		"text":                  bytes.Repeat([]byte("GET / HTTP/1.1\r\n"), 10),
		"a damaged frame":       damaged,
		"an enormous one":       lie(head{slices: 1, payload: 1<<32 - 1}, nil),
		"a pong":                head{kind: kindPong}.append(nil),
		"a version of tomorrow": append([]byte{'R', 'F', 2}, whole[3:]...),
	} {
		bulk := intrude(t, node, purposeBulk)
		_, err := bulk.Write(append(bytes.Clone(whole), says...))
		require.NoError(t, err)
		require.Equal(t, "fine", string((<-k.frames).Header), name)
		shownOut(t, bulk, name)
	}
	_, err := control.Write(append(head{kind: kindPing}.append(nil), whole...))
	require.NoError(t, err)
	require.Equal(t, "fine", string((<-k.frames).Header))
	answer := make([]byte, frameHead)
	_, err = io.ReadFull(control, answer)
	require.NoError(t, err)
	require.Equal(t, pong, answer)
}

// A node that connects again takes the place of its earlier connection.
func TestTheLatestConnectionOfALaneCounts(t *testing.T) {
	node, k := serving(t)
	first := intrude(t, node, purposeControl)
	second := intrude(t, node, purposeControl)
	shownOut(t, first, "the first connection")
	_, err := second.Write(encode(&replica.Frame{Header: []byte("second")}))
	require.NoError(t, err)
	require.Equal(t, "second", string((<-k.frames).Header))
}

// A lane on which nothing comes, not even pings, is closed.
func TestASilentLaneIsClosed(t *testing.T) {
	node, _ := serving(t, KeepAlive(10*time.Millisecond, 30*time.Millisecond))
	shownOut(t, intrude(t, node, purposeControl), "control")
	shownOut(t, intrude(t, node, purposeBulk), "bulk")
}

// mute listens as node 1, accepts every connection, and then says nothing. It returns
// its address.
func mute(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer c.Close()
				if _, err := readHello(c); err == nil {
					_, _ = c.Write(answer{version: protocolVersion, node: 1, cluster: "test"}.bytes())
				}
				_, _ = io.Copy(io.Discard, c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		work.Wait()
	})
	return l.Addr().String()
}

// A peer that accepts and then never answers is noticed, whatever it may read.
func TestAPeerThatNeverAnswersIsDown(t *testing.T) {
	address := mute(t)
	node, k := serving(t, KeepAlive(20*time.Millisecond, 100*time.Millisecond))
	began := time.Now()
	node.SetPeers(map[replica.NodeID]string{1: address})
	<-k.up
	cause := <-k.down
	require.ErrorIs(t, cause, fault.NetworkException)
	require.ErrorContains(t, cause, address)
	require.Greater(t, time.Since(began), 100*time.Millisecond)
	require.NoError(t, node.Close())
}

// A version of tomorrow is refused by both sides, with the same error.
func TestAnotherVersionIsRefused(t *testing.T) {
	node, _ := serving(t)
	c, err := net.Dial("tcp", node.Addr())
	require.NoError(t, err)
	defer c.Close()
	tomorrow := hello{version: 2, from: 1, to: 2, cluster: "test"}
	_, err = c.Write(tomorrow.bytes())
	require.NoError(t, err)
	a, err := readAnswer(c)
	require.NoError(t, err)
	refused := refusal(tomorrow, a)
	require.ErrorIs(t, refused, fault.UnsupportedVersion)
	require.ErrorContains(t, refused, "version 2")
	require.ErrorContains(t, refused, "version 1")

	refused = refusal(hello{version: 1, from: 1, to: 2}, answer{version: 2})
	require.ErrorIs(t, refused, fault.UnsupportedVersion)
}

// The handler keeps bulk frames. Connecting again gives a node no new budget, and
// what it may send grows only when the handler is done.
func TestABudgetOutlivesItsConnection(t *testing.T) {
	node, k := serving(t, MaxFrame(64<<10), Budget(200<<10))
	frame := encode(&replica.Frame{Payload: [][]byte{make([]byte, 60<<10)}})
	first := intrude(t, node, purposeBulk)
	for range 4 {
		_, err := first.Write(frame)
		require.NoError(t, err)
	}
	var kept []*replica.Frame
	for range 3 {
		kept = append(kept, <-k.frames)
	}
	second := intrude(t, node, purposeBulk)
	_, err := second.Write(frame)
	require.NoError(t, err)
	require.Equal(t, 3*(60<<10+4+hub.FrameCost), node.hub.Held()[1][replica.LaneBulk])
	require.Empty(t, k.frames)
	kept[0].Done()
	(<-k.frames).Done()
	kept[1].Done()
	kept[2].Done()
	_ = first.Close()
	_ = second.Close()
	require.Eventually(t, func() bool { return len(node.hub.Held()) == 0 }, time.Minute, time.Millisecond, "nothing is kept of a node that is gone")
}

// A control lane over its budget drops frames, and goes on answering pings.
func TestAFullControlLaneAnswersPings(t *testing.T) {
	node, k := serving(t)
	c := intrude(t, node, purposeControl)
	frame := encode(&replica.Frame{Payload: [][]byte{make([]byte, node.MaxFrame(replica.LaneControl))}})
	go func() {
		for range 12 {
			_, _ = c.Write(frame)
		}
		_, _ = c.Write(head{kind: kindPing}.append(nil))
	}()
	answer := make([]byte, frameHead)
	_, err := io.ReadFull(c, answer)
	require.NoError(t, err)
	require.Equal(t, pong, answer)
	require.Len(t, k.frames, 7, "8 MiB have room for no more")
}

// chunk is a chunk as a stream writes it.
func chunk(text string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(text)))
	b = binary.BigEndian.AppendUint32(b, sum(b, []byte(text)))
	return append(b, text...)
}

// readStream returns what a stream reads when the connection brings these bytes, and ends.
func readStream(says []byte) (string, error) {
	here, there := net.Pipe()
	s := &stream{t: &Transport{hub: &hub.Hub{}}, conn: newConn(here), reading: hub.NewRole(), writing: hub.NewRole()}
	go func() {
		_, _ = there.Write(says)
		_ = there.Close()
	}()
	got, err := io.ReadAll(s)
	return string(got), err
}

// A stream that breaks off, or that is damaged on its way, is an error and no end.
func TestABrokenStreamIsNoEnd(t *testing.T) {
	whole := slices.Concat(chunk("one "), chunk("two"), chunk(""))
	got, err := readStream(whole)
	require.NoError(t, err)
	require.Equal(t, "one two", got)
	for i := range whole {
		got, err := readStream(whole[:i])
		require.ErrorIs(t, err, fault.NetworkException, "cut at %d", i)
		require.Contains(t, []string{"", "one ", "one two"}, got)

		damaged := bytes.Clone(whole)
		damaged[i] ^= 4
		got, err = readStream(damaged)
		require.Error(t, err, "byte %d", i)
		require.Contains(t, []string{"", "one ", "one two"}, got)
	}
	_, err = readStream([]byte{0x7f, 0, 0, 0, 0, 0, 0, 0})
	require.ErrorIs(t, err, fault.InvalidRequest, "an enormous chunk")
}
