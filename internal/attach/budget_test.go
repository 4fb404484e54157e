package attach

import (
	"context"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/quota"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
)

// visitor connects to a server and says hello.
func visitor(t *testing.T, s *Server) (near net.Conn, ended <-chan struct{}) {
	t.Helper()
	near, far := net.Pipe()
	v := newVisit(s, far)
	go v.run()
	t.Cleanup(func() {
		_ = near.Close()
		<-v.ended
	})
	require.NoError(t, writeHello(near, self(0)))
	_, err := readHello(near)
	require.NoError(t, err)
	return near, v.ended
}

// heap returns how many bytes are reachable.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// If many clients begin large frames, the host keeps only one of them. Others
// are served meanwhile. A client whose frame makes no progress is disconnected
// when others wait.
func TestManyLargeFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const clients, size = 8, 8 << 20
		s := newServer(stub{})
		s.budget.large = quota.Quota{Total: size}
		head := appendHead(nil, kindBatch, 1, size)
		part := make([]byte, size-1<<20) // this much arrives, and no more
		before := heap()
		var cut []<-chan struct{}
		for range clients {
			conn, ended := visitor(t, s)
			cut = append(cut, ended)
			go func() {
				_, _ = conn.Write(head)
				_, _ = conn.Write(part)
				_, _ = io.Copy(io.Discard, conn)
			}()
		}
		synctest.Wait()
		require.Less(t, heap()-before, int64(size+clients*(smallBody+readStep)))
		require.Equal(t, size, heldOf(&s.budget.large))

		began := time.Now()
		conn, _ := visitor(t, s)
		f, err := encode(kindCall, 1, func(c *coder) { m := listTopics; c.method(&m) })
		require.NoError(t, err)
		_, err = conn.Write(f)
		require.NoError(t, err)
		answer, err := readFrame(conn)
		require.NoError(t, err)
		require.Equal(t, kindAnswer, answer.kind)
		require.Equal(t, began, time.Now(), "small sends do not wait")

		time.Sleep(clients * (stall + grace))
		open := 0
		for _, ended := range cut {
			select {
			case <-ended:
			default:
				open++
			}
		}
		require.Equal(t, 1, open, "no other waits for the last one")
		runtime.KeepAlive(part)
	})
}

// Memory is allocated as bytes arrive, whatever length a frame claims.
func TestLyingLength(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := readBody(io.LimitReader(zeros{}, 100<<10), maxArrival)
	runtime.ReadMemStats(&after)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4*100<<10+2*readStep))
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

// lingering is a session that acknowledges nothing until it is flushed.
type lingering struct {
	stub
	stubProducer
	mu  sync.Mutex
	fns []producer.Callback
}

func (l *lingering) OpenProducer(context.Context, producer.Config) (producer.Session, error) {
	return l, nil
}
func (l *lingering) Topic(context.Context, string) (producer.Writer, error) { return l, nil }

func (l *lingering) SendAsync(_ context.Context, _ record.Record, fn producer.Callback) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fns = append(l.fns, fn)
}

func (l *lingering) Flush(context.Context) error {
	l.mu.Lock()
	fns := l.fns
	l.fns = nil
	l.mu.Unlock()
	for _, fn := range fns {
		fn(record.Position{}, nil)
	}
	return nil
}

// Records of all clients count together until their outcome is known. Lingering
// batches are sent when others wait for room. In the end nothing is held.
func TestRecordsOfAllClientsShareABudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const total = 1 << 20
		l := &lingering{}
		s := newServer(l)
		s.budget.small = quota.Quota{Total: total}
		most := 0
		for range 3 {
			near, far := net.Pipe()
			v := newVisit(s, far)
			s.visits[v] = struct{}{}
			go v.run()
			c, r, err := meet(near)
			require.NoError(t, err)
			cfg := producer.Config{BatchBytes: 1 << 10, BufferBytes: 16 << 20}
			client := newSending(&Client{control: c}, c, cfg)
			c.start(r)
			t.Cleanup(func() { c.close(); <-v.ended })
			require.NoError(t, c.call(t.Context(), openProducer, func(c *coder) { c.producerConfig(&cfg) }, none))
			w, err := client.Topic(t.Context(), "orders")
			require.NoError(t, err)
			for range 40 {
				w.SendAsync(t.Context(), record.Record{Value: make([]byte, 100<<10)}, nil)
			}
			synctest.Wait()
			require.LessOrEqual(t, heldOf(&s.budget.small), total)
			most = max(most, heldOf(&s.budget.small))
		}
		require.Greater(t, most, total/2)
		for range 3 {
			require.NoError(t, l.Flush(t.Context()))
			synctest.Wait()
		}
		require.Zero(t, heldOf(&s.budget.small), "nothing is held")
	})
}

// The number of connections is limited. Every client beyond it, however many
// connect at once, gets the limit and what to do. When one connection ends,
// there is room again.
func TestTooManyConnections(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	l, err := Listen(dir, root)
	require.NoError(t, err)
	s := Serve(l, stub{})
	defer s.Close()
	var all []*Client
	for range maxVisits {
		c, err := Dial(dir)
		require.NoError(t, err)
		all = append(all, c)
	}
	refused := func(err error) {
		assert.ErrorIs(t, err, fault.PolicyViolation)
		assert.ErrorContains(t, err, "serves 512 connections")
		assert.ErrorContains(t, err, "close producers, consumers and clients that are not in use")
	}
	var others sync.WaitGroup
	for range 200 {
		others.Go(func() {
			_, err := Dial(dir)
			refused(err)
		})
	}
	others.Wait()
	_, err = all[0].OpenProducer(t.Context(), producer.Config{})
	refused(err)
	_, err = all[0].OpenConsumer(t.Context(), consumer.Config{})
	refused(err)
	require.NoError(t, all[maxVisits-1].Verify(t.Context()))

	require.NoError(t, all[0].Close())
	for {
		if all[0], err = Dial(dir); err == nil {
			break
		}
		refused(err) // the server may not have noticed yet
		runtime.Gosched()
	}
	for _, c := range all {
		require.NoError(t, c.Close())
	}
}
