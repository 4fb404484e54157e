package tcp_test

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/replica"
	"github.com/runnel-go/runnel/replica/tcp"
	"github.com/runnel-go/runnel/replica/transporttest"
)

// counter is a handler that counts frames, and says when a round has arrived.
type counter struct {
	ear
	left  atomic.Int64
	round chan struct{}
}

func (c *counter) HandleFrame(_ replica.NodeID, _ replica.Lane, f *replica.Frame) {
	f.Done()
	if c.left.Add(-1) == 0 {
		c.round <- struct{}{}
	}
}

// bare is a connection on loopback, and a goroutine that reads whole rounds of so many
// bytes from it.
func bare(b *testing.B, bytes int) (net.Conn, chan struct{}) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(b, err)
	other, err := l.Accept()
	require.NoError(b, err)
	round := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() {
		buffer := make([]byte, 64<<10)
		for {
			for left := bytes; left > 0; {
				n, err := other.Read(buffer[:min(left, len(buffer))])
				if err != nil {
					return
				}
				left -= n
			}
			round <- struct{}{}
		}
	})
	b.Cleanup(func() {
		_ = c.Close()
		work.Wait()
		_ = other.Close()
	})
	return c, round
}

// compare sends rounds of frames through a bare connection, one writev for each
// frame, and through the transport, in turn. It reports the transport's speed as a ratio
// to the bare connection's.
func compare(b *testing.B, lane replica.Lane, frames, header, payload int, options ...tcp.Option) {
	head, body := make([]byte, header), make([]byte, payload)
	c, bareRound := bare(b, frames*(header+payload))

	receiver := &counter{ear: *newEar(), round: make(chan struct{}, 1)}
	to, err := tcp.New("bench", "127.0.0.1:0", options...)
	require.NoError(b, err)
	defer to.Close()
	require.NoError(b, to.Start(2, receiver))
	from, atFrom := start(b, "bench", 1, options...)
	from.SetPeers(map[replica.NodeID]string{2: to.Addr()})
	<-atFrom.up

	var bareTime, ourTime time.Duration
	for b.Loop() {
		began := time.Now()
		for range frames {
			bufs := net.Buffers{head, body}
			if payload == 0 {
				bufs = bufs[:1]
			}
			if _, err := bufs.WriteTo(c); err != nil {
				b.Fatal(err)
			}
		}
		<-bareRound
		bareTime += time.Since(began)

		began = time.Now()
		receiver.left.Store(int64(frames))
		for range frames {
			f := &replica.Frame{Header: head}
			if payload > 0 {
				f.Payload = [][]byte{body}
			}
			if !from.Send(2, lane, f) {
				b.Fatal("a frame is refused")
			}
		}
		<-receiver.round
		ourTime += time.Since(began)
	}
	total := float64(b.N) * float64(frames)
	b.ReportMetric(float64(bareTime)/float64(ourTime), "ratio")
	b.ReportMetric(total*float64(header+payload)/1e6/ourTime.Seconds(), "MB/s")
	b.ReportMetric(total/ourTime.Seconds(), "frames/s")
	b.ReportMetric(0, "ns/op")
}

// The bytes of one partition's batches to a follower.
func BenchmarkBatches64KiB(b *testing.B) {
	b.Run("Plaintext", func(b *testing.B) { compare(b, replica.LaneBulk, 256, 100, 64<<10, tcp.Plaintext()) })
	config := transporttest.Certificate(b)
	b.Run("TLS", func(b *testing.B) { compare(b, replica.LaneBulk, 256, 100, 64<<10, tcp.TLS(config)) })
}

// Heartbeats and acknowledgements.
func BenchmarkControlFrames(b *testing.B) {
	b.Run("Plaintext", func(b *testing.B) { compare(b, replica.LaneControl, 5000, 100, 0, tcp.Plaintext()) })
	config := transporttest.Certificate(b)
	b.Run("TLS", func(b *testing.B) { compare(b, replica.LaneControl, 5000, 100, 0, tcp.TLS(config)) })
}

// One frame there and one back, on idle lanes.
func BenchmarkRoundTrip(b *testing.B) {
	from, atFrom := start(b, "bench", 1, tcp.Plaintext())
	to, atTo := start(b, "bench", 2, tcp.Plaintext())
	peers := map[replica.NodeID]string{1: from.Addr(), 2: to.Addr()}
	from.SetPeers(peers)
	to.SetPeers(peers)
	<-atFrom.up
	<-atTo.up
	for b.Loop() {
		from.Send(2, replica.LaneControl, &replica.Frame{Header: []byte("ping")})
		(<-atTo.frames).Done()
		to.Send(1, replica.LaneControl, &replica.Frame{Header: []byte("pong")})
		(<-atFrom.frames).Done()
	}
}
