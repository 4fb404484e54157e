package replica_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/replica"
)

// An append that was sent to a leader which is gone without a word goes to the next one as
// soon as that is known: the stream to the first one may be silent for long before it breaks.
func TestAppendsDoNotWaitForASilentLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		first := c.leader()
		other, third := (first+1)%3, (first+2)%3
		c.silent.Store(uint64(first + 1))
		outcome := make(awaited, 1)
		c.replica(other).Append(sequenced(t, "a", 7, 0), nil, outcome)
		time.Sleep(10 * time.Second)
		select {
		case err := <-outcome:
			require.Fail(t, "it has an outcome while its leader says nothing", "%v", err)
		default:
		}
		c.network.Partition([]replica.NodeID{replica.NodeID(first + 1)}, []replica.NodeID{replica.NodeID(other + 1), replica.NodeID(third + 1)})
		began := time.Now()
		require.NoError(t, <-outcome)
		require.Less(t, time.Since(began), 5*time.Second)
		c.network.Heal()
	})
}

// muting is a transport whose streams to one node are silent until they are given up.
type muting struct {
	replica.Transport
	silent *atomic.Uint64
}

func (m muting) Open(ctx context.Context, to replica.NodeID, kind replica.StreamKind) (replica.Stream, error) {
	if uint64(to) == m.silent.Load() {
		ctx, end := context.WithCancel(ctx)
		return silentStream{ctx, end}, nil
	}
	return m.Transport.Open(ctx, to, kind)
}

type silentStream struct {
	ctx context.Context
	end context.CancelFunc
}

func (s silentStream) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}

func (s silentStream) Write(p []byte) (int, error) { return len(p), nil }
func (s silentStream) CloseWrite() error           { return nil }

func (s silentStream) Close() error {
	s.end()
	return nil
}
