package attach

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/internal/quota"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
)

// NothingIsHeld requires that no session of a client's producers holds any of
// its buffer, or waits for it, as is the case once everything has been flushed.
func NothingIsHeld(t testing.TB, c *Client) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.sessions {
		if s, ok := s.(*sending); ok {
			nothingIsHeld(t, s)
		}
	}
}

func nothingIsHeld(t testing.TB, s *sending) {
	t.Helper()
	held, waiting := s.room.Held()
	require.Zero(t, held, "bytes of the buffer are still held")
	require.Zero(t, waiting)
}

// Records and batches that a session refuses hold nothing, whether their caller
// has given up or the connection is gone.
func TestRefusedRecordsHoldNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := visited(t, producer.Config{BatchBytes: 1 << 10, BufferBytes: 1 << 16, Idempotent: true})
		b := record.NewBuilder(1 << 10)
		b.Add(1, nil, []byte("v"), nil)
		batch, err := b.Batch(nil, record.None, 0)
		require.NoError(t, err)
		refused := 0
		refuse := func(ctx context.Context) {
			fn := func(_ record.Position, err error) {
				require.Error(t, err)
				refused++
			}
			w.SendAsync(ctx, record.Record{Value: []byte("v")}, fn)
			w.Append(ctx, 0, &batch, fn)
		}
		s.mu.Lock()
		w.lanes[0] = &lane{healed: make(chan struct{})} // the callbacks of a failure are still running
		s.mu.Unlock()
		for range 2 { // the one, then the other waits
			ctx, cancel := context.WithCancel(t.Context())
			if refused > 0 {
				go w.Append(ctx, 0, &batch, func(_ record.Position, err error) { refused++ })
			} else {
				go w.SendAsync(ctx, record.Record{Value: []byte("v")}, func(_ record.Position, err error) { refused++ })
			}
			synctest.Wait()
			require.NotZero(t, heldOf(&s.room))
			cancel()
			synctest.Wait()
			nothingIsHeld(t, s)
		}
		require.NoError(t, s.conn.conn.Close())
		<-s.conn.over
		refuse(t.Context())
		require.Equal(t, 4, refused)
		nothingIsHeld(t, s)
	})
}

// heldOf returns how many bytes of a quota are in use.
func heldOf(q *quota.Quota) int {
	held, _ := q.Held()
	return held
}

// SetGrace sets how long servers wait for clients when they close.
func SetGrace(d time.Duration) { grace = d }
