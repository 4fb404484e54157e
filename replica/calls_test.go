package replica_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/replica"
	"github.com/runnel-go/runnel/replica/memory"
)

// opening is a transport that counts the streams which it opens.
type opening struct {
	replica.Transport
	count *atomic.Int64
}

func (o opening) Open(ctx context.Context, to replica.NodeID, kind replica.StreamKind) (replica.Stream, error) {
	o.count.Add(1)
	return o.Transport.Open(ctx, to, kind)
}

// callers starts two nodes, and returns them with the number of streams that the first one has opened.
func callers(t *testing.T) (a, b *replica.Node, network *memory.Network, opened *atomic.Int64) {
	network, opened = memory.New(), new(atomic.Int64)
	peers := map[replica.NodeID]string{1: "a", 2: "b"}
	start := func(id replica.NodeID, transport replica.Transport) *replica.Node {
		n, err := replica.StartNode(replica.NodeConfig{ID: id, Transport: transport, Peers: peers})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, n.Close()) })
		return n
	}
	a, b = start(1, opening{network.Node("a"), opened}), start(2, network.Node("b"))
	time.Sleep(time.Second) // they are connected
	return a, b, network, opened
}

// Requests between brokers share a stream: one that waits for its answer holds up no other, and each has its
// own answer.
func TestCallsShareAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _, opened := callers(t)
		_, err := a.Call(t.Context(), 2, []byte("early"))
		require.ErrorIs(t, err, fault.NetworkException, "nothing serves yet")

		b.Serve(func(_ context.Context, request []byte) []byte {
			if bytes.HasPrefix(request, []byte("slow")) {
				time.Sleep(time.Minute)
			}
			return append([]byte("answer to "), request...)
		})
		began := time.Now()
		var calls sync.WaitGroup
		for i := range 200 {
			for _, kind := range []string{"slow", "fast"} {
				calls.Go(func() {
					request := fmt.Sprint(kind, i)
					answer, err := a.Call(t.Context(), 2, []byte(request))
					require.NoError(t, err)
					require.Equal(t, "answer to "+request, string(answer))
					if kind == "fast" {
						require.Less(t, time.Since(began), 10*time.Second)
					}
				})
			}
		}
		calls.Wait()
		require.Equal(t, int64(1), opened.Load())
	})
}

// A request whose answer is lost may have had an effect, and what answers it is told to give up. One that did not
// leave had none. The next one goes again.
func TestCallsWhoseStreamBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, network, _ := callers(t)
		given := make(chan error, 1)
		b.Serve(func(ctx context.Context, request []byte) []byte {
			if string(request) == "wait" {
				<-ctx.Done()
				given <- ctx.Err()
			}
			return request
		})
		outcome := make(chan error, 1)
		go func() {
			_, err := a.Call(t.Context(), 2, []byte("wait"))
			outcome <- err
		}()
		time.Sleep(time.Second)
		network.Partition([]replica.NodeID{1}, []replica.NodeID{2})
		require.Equal(t, fault.UnknownOutcome, fault.CodeOf(<-outcome))
		require.ErrorIs(t, <-given, context.Canceled)
		_, err := a.Call(t.Context(), 2, []byte("lost"))
		require.ErrorIs(t, err, fault.NetworkException)

		network.Heal()
		time.Sleep(10 * time.Second)
		answer, err := a.Call(t.Context(), 2, []byte("again"))
		require.NoError(t, err)
		require.Equal(t, "again", string(answer))

		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = a.Call(short, 2, []byte("wait"))
		require.ErrorIs(t, err, fault.UnknownOutcome)
		require.NoError(t, b.Close()) // which ends what still waits
	})
}
