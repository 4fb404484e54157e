package runneltest_test

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/runneltest"
	"github.com/runnel-go/runnel/topic"
)

// slow is how long a sync of topic orders takes.
const slow = 5 * time.Second

// onSlowDisk runs a test in a bubble, with a topic orders that holds "a" and whose
// syncs are slow from then on, and a topic visits whose are not.
func onSlowDisk(t *testing.T, test func(t *testing.T, b *runneltest.Broker, p *producer.Producer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := runneltest.New(t)
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}, topic.Spec{Name: "visits"}))
		sendAll(t, b, "orders", "a")
		b.Inject(runneltest.Fault{On: runneltest.Sync, Topic: "orders", Delay: slow})
		p, err := producer.New(b)
		require.NoError(t, err)
		defer p.Close()
		test(t, b, p)
	})
}

func value(name, v string) record.Record { return record.Record{Topic: name, Value: []byte(v)} }

// Acknowledgements wait for the disk, all that came meanwhile for one sync
// together. Reading what is durable does not, nor do other partitions.
func TestSlowSync(t *testing.T) {
	onSlowDisk(t, func(t *testing.T, b *runneltest.Broker, p *producer.Producer) {
		began := time.Now()
		acked := make(chan time.Duration, 10)
		p.SendAsync(t.Context(), value("orders", "first"), func(_ record.Position, err error) {
			require.NoError(t, err)
			acked <- time.Since(began)
		})
		synctest.Wait()
		for i := range 9 {
			p.SendAsync(t.Context(), value("orders", fmt.Sprint(i)), func(_ record.Position, err error) {
				require.NoError(t, err)
				acked <- time.Since(began)
			})
		}
		require.Equal(t, []string{"a"}, values(t, b, "orders"), "what is not durable is not read")
		_, err := p.Send(t.Context(), value("visits", "x"))
		require.NoError(t, err)
		require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "others"}))
		require.Zero(t, time.Since(began), "nothing else has waited")
		require.Empty(t, acked)

		require.NoError(t, p.Flush(t.Context()))
		require.Len(t, acked, 10)
		require.Equal(t, slow, <-acked)
		for range 9 {
			require.LessOrEqual(t, <-acked, 3*slow)
		}
		require.Len(t, values(t, b, "orders"), 11)
	})
}

// ctx ends the waiting and not the append.
func TestSlowSyncAndContext(t *testing.T) {
	onSlowDisk(t, func(t *testing.T, b *runneltest.Broker, p *producer.Producer) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, err := p.Send(ctx, value("orders", "b"))
		require.ErrorIs(t, err, fault.UnknownOutcome)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Second, time.Since(began))
		require.NoError(t, p.Flush(t.Context()))
		require.Equal(t, []string{"a", "b"}, values(t, b, "orders"))
	})
}

// Closing waits for the operation that the disk is at, and for no more than what
// closing itself asks of it.
func TestCloseOnASlowDisk(t *testing.T) {
	onSlowDisk(t, func(t *testing.T, b *runneltest.Broker, p *producer.Producer) {
		outcomes := make(chan error, 100)
		for i := range 100 {
			p.SendAsync(t.Context(), value("orders", fmt.Sprint(i)), func(_ record.Position, err error) { outcomes <- err })
			if i == 0 {
				synctest.Wait() // it is being synced
			}
		}
		began := time.Now()
		require.NoError(t, b.Close())
		require.LessOrEqual(t, time.Since(began), 5*slow, "the sync at hand, and a few of closing")
		require.NoError(t, p.Close())
		require.Len(t, outcomes, 100, "each has an outcome")
		acked := 0
		for range 100 {
			if err := <-outcomes; err == nil {
				acked++
			} else {
				require.ErrorIs(t, err, fault.Closed)
			}
		}
		after := b.Crash()
		got := values(t, after, "orders")
		require.GreaterOrEqual(t, len(got), 1+acked, "what was acknowledged is there")
	})
}

// TestNoFileHandles lets every single opening of a file fail once, at whatever it
// happens in: what was on its way fails with a typed error, and works when it is
// tried again.
func TestNoFileHandles(t *testing.T) {
	failed := 0
	for n := range 60 {
		b := runneltest.New(t)
		end := b.Inject(runneltest.Fault{On: runneltest.Open, Skip: n, Times: 1, Err: syscall.EMFILE})
		try := func(what string, do func() error) {
			err := do()
			for range 3 {
				if err == nil {
					return
				}
				failed++
				require.NotEqual(t, fault.Unknown, fault.CodeOf(err), "%s, opening %d: %v", what, n, err)
				require.ErrorIs(t, err, syscall.EMFILE)
				if err = do(); fault.CodeOf(err) == fault.TopicExists {
					return
				}
			}
			require.NoError(t, err, "%s, opening %d", what, n)
		}
		try("create", func() error {
			return b.CreateTopics(t.Context(), topic.Spec{Name: "orders", Config: topic.Config{SegmentBytes: 1 << 10}})
		})
		p, err := producer.New(b)
		require.NoError(t, err)
		sent := 0
		for range 6 {
			dead := false
			try("send", func() error {
				_, err := p.Send(t.Context(), value("orders", fmt.Sprintf("%0400d", sent)))
				dead = err != nil && !fault.Retriable(err)
				if dead {
					return nil // the log is to be opened again
				}
				return err
			})
			if dead {
				require.NoError(t, p.Close())
				b = b.Crash()
				p, err = producer.New(b)
				require.NoError(t, err)
				continue
			}
			sent++
		}
		require.NoError(t, p.Close())
		end()
		b = b.Crash()
		require.GreaterOrEqual(t, len(values(t, b, "orders")), sent, "opening %d", n)
	}
	require.Greater(t, failed, 5)
}

// An error while reading is one for that read alone.
func TestReadError(t *testing.T) {
	b := runneltest.New(t)
	require.NoError(t, b.CreateTopics(t.Context(), topic.Spec{Name: "orders"}, topic.Spec{Name: "visits"}))
	sendAll(t, b, "orders", "a", "b")
	sendAll(t, b, "visits", "x")
	b = b.Crash() // so that records are read from the file
	b.Inject(runneltest.Fault{On: runneltest.Read, Topic: "orders", File: ".log", Times: 1})
	c, err := consumer.New(b, consumer.Assign(record.TopicPartition{Topic: "orders"}, record.TopicPartition{Topic: "visits"}))
	require.NoError(t, err)
	defer c.Close()
	var failed []error
	got := map[string]bool{}
	for len(got) < 3 {
		batch, err := c.Poll(t.Context())
		if err != nil {
			failed = append(failed, err)
		}
		for _, r := range batch {
			got[string(r.Value)] = true
		}
	}
	require.Len(t, failed, 1)
	require.ErrorIs(t, failed[0], fault.Storage)
	require.ErrorIs(t, failed[0], syscall.EIO)
	require.ErrorContains(t, failed[0], "orders-0")
	sendAll(t, b, "orders", "c")
}
