package attach_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// endsOnItsOwn is a context that ends right after the check that brings left to
// zero.
type endsOnItsOwn struct {
	context.Context
	cancel context.CancelFunc

	mu   sync.Mutex
	left int
}

func (c *endsOnItsOwn) look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left--; c.left == 0 {
		c.cancel()
	}
}

func (c *endsOnItsOwn) Err() error {
	defer c.look()
	return c.Context.Err()
}

func (c *endsOnItsOwn) Done() <-chan struct{} {
	defer c.look()
	return c.Context.Done()
}

// Fetch ends with its context whenever that ends, also between any two checks
// of it. Once, a context that ended while the call was made counted as one that
// the broker knew of, and Fetch waited for the next record.
func TestFetchEndsWithItsContext(t *testing.T) {
	_, _, dir := serve(t, topic.Spec{Name: "orders"})
	s, err := dial(t, dir).OpenConsumer(t.Context(), consumer.Config{MaxRecords: 10, MaxBytes: 1 << 10})
	require.NoError(t, err)
	require.NoError(t, s.Assign(t.Context(), []record.TopicPartition{{Topic: "orders"}}))
	for looks := 1; looks <= 2; looks++ {
		within, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended := make(chan error, 1)
		go func() {
			_, err := s.Fetch(&endsOnItsOwn{Context: within, cancel: cancel, left: looks}, consumer.UntilDone, nil)
			ended <- err
		}()
		select {
		case err := <-ended:
			require.ErrorIs(t, err, context.Canceled)
		case <-time.After(patience):
			require.FailNow(t, "Fetch does not end", "the context ended behind look %d", looks)
		}
	}
	require.NoError(t, s.Close())
}
