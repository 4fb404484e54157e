package queue_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/runnel-go/runnel"
	"github.com/runnel-go/runnel/examples/messagequeue/queue"
	"github.com/runnel-go/runnel/runneltest"
	"github.com/runnel-go/runnel/share"
	"github.com/runnel-go/runnel/topic"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// numbered yields n names.
func numbered(n int) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for i := range n {
			if !yield(fmt.Sprintf("job-%03d", i), nil) {
				return
			}
		}
	}
}

// work runs workers until the outcomes of n jobs are there, and returns them by
// job.
func work(t *testing.T, b queue.Backend, workers, n int, do func(ctx context.Context, name string) (string, error)) map[string]queue.Outcome {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var working sync.WaitGroup
	for i := range workers {
		working.Go(func() {
			if err := queue.Work(ctx, b, fmt.Sprintf("worker-%d", i), do); err != nil {
				t.Error(err)
			}
		})
	}
	outcomes := map[string]queue.Outcome{}
	for o, err := range queue.Outcomes(t.Context(), b, n) {
		require.NoError(t, err)
		require.NotContains(t, outcomes, o.Job.Name, "each job comes once")
		outcomes[o.Job.Name] = o
	}
	stop()
	working.Wait()
	return outcomes
}

func TestWorkersShareTheQueue(t *testing.T) {
	b := runneltest.New(t)
	require.NoError(t, queue.Create(t.Context(), b, 4))
	n, err := queue.Enqueue(t.Context(), b, numbered(200))
	require.NoError(t, err)
	require.Equal(t, 200, n)
	outcomes := work(t, b, 4, n, func(_ context.Context, name string) (string, error) { return "done " + name, nil })
	require.Len(t, outcomes, 200)
	for name, o := range outcomes {
		require.Equal(t, "done "+name, o.Result)
		require.Empty(t, o.Error)
	}
}

func TestFailuresAreTriedAgainAndThenGivenUp(t *testing.T) {
	b := runneltest.New(t)
	require.NoError(t, queue.Create(t.Context(), b, 2))
	n, err := queue.Enqueue(t.Context(), b, numbered(20))
	require.NoError(t, err)
	var mu sync.Mutex
	attempts := map[string]int{}
	outcomes := work(t, b, 2, n, func(_ context.Context, name string) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		attempts[name]++
		switch {
		case name == "job-007":
			return "", errors.New("never works")
		case name == "job-011" && attempts[name] < 3:
			return "", errors.New("does not work yet")
		}
		return "fine", nil
	})
	require.Equal(t, "never works", outcomes["job-007"].Error)
	require.Equal(t, queue.MaxAttempts, outcomes["job-007"].Attempts)
	require.Equal(t, queue.MaxAttempts, attempts["job-007"])
	require.Equal(t, "fine", outcomes["job-011"].Result)
	require.Equal(t, 3, attempts["job-011"])
	require.Equal(t, 1, attempts["job-000"])
}

// The jobs of a worker that dies are done by the others.
func TestJobsOfADeadWorkerAreDone(t *testing.T) {
	b := runneltest.New(t)
	require.NoError(t, queue.Create(t.Context(), b, 1))
	n, err := queue.Enqueue(t.Context(), b, numbered(10))
	require.NoError(t, err)
	c, err := share.New(b, share.Group(queue.Group), share.Topics("messagequeue-jobs"))
	require.NoError(t, err)
	_, err = c.Receive(t.Context())
	require.NoError(t, err)
	require.NoError(t, c.Close())

	outcomes := work(t, b, 2, n, func(_ context.Context, name string) (string, error) { return "fine", nil })
	require.Len(t, outcomes, n)
}

// A worker that is stopped in the middle of a job finishes it, and begins no other.
func TestStoppedWorkerFinishesItsJob(t *testing.T) {
	b := runneltest.New(t)
	require.NoError(t, queue.Create(t.Context(), b, 1))
	n, err := queue.Enqueue(t.Context(), b, numbered(3))
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	require.NoError(t, queue.Work(ctx, b, "stopped", func(context.Context, string) (string, error) {
		stop()
		return "finished", nil
	}))
	outcomes := work(t, b, 1, n, func(context.Context, string) (string, error) { return "fine", nil })
	require.Equal(t, "finished", outcomes["job-000"].Result)
	require.Equal(t, "fine", outcomes["job-001"].Result)
	require.Equal(t, "fine", outcomes["job-002"].Result)
}

// A queue with one partition keeps many workers busy at the same time, and a job for later waits.
func TestMoreWorkersThanPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := runneltest.New(t, runnel.DefaultDurability(topic.Memory))
		require.NoError(t, queue.Create(t.Context(), b, 1))
		began := time.Now()
		require.NoError(t, queue.EnqueueAt(t.Context(), b, "tomorrow", began.Add(24*time.Hour)))
		n, err := queue.Enqueue(t.Context(), b, numbered(8))
		require.NoError(t, err)
		together := make(chan struct{})
		var mu sync.Mutex
		busy := 0
		outcomes := work(t, b, 8, n+1, func(_ context.Context, name string) (string, error) {
			if name == "tomorrow" {
				require.GreaterOrEqual(t, time.Since(began), 24*time.Hour)
				return "fine", nil
			}
			mu.Lock()
			if busy++; busy == n {
				close(together)
			}
			mu.Unlock()
			<-together // all eight are at it
			return "fine", nil
		})
		require.Len(t, outcomes, n+1)
	})
}

func TestOutcomesEndWithTheContext(t *testing.T) {
	b := runneltest.New(t)
	require.NoError(t, queue.Create(t.Context(), b, 1))
	ctx, stop := context.WithCancel(t.Context())
	stop()
	var last error
	for _, err := range queue.Outcomes(ctx, b, 1) {
		last = err
	}
	require.ErrorIs(t, last, context.Canceled)
	for range queue.Outcomes(t.Context(), b, 0) {
		t.Fatal("no jobs have no outcomes")
	}
}
