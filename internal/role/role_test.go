package role_test

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/runnel-go/runnel/internal/role"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// queue is work to be done in order, by whoever leads.
type queue struct {
	role role.Role
	work sync.WaitGroup

	mu   sync.Mutex
	jobs []func()
}

func newQueue() *queue {
	q := &queue{}
	q.role.Init(q.turn, &q.work)
	return q
}

func (q *queue) turn() bool {
	q.mu.Lock()
	if len(q.jobs) == 0 {
		q.role.Leave()
		q.mu.Unlock()
		return false
	}
	job := q.jobs[0]
	q.jobs = q.jobs[1:]
	q.mu.Unlock()
	job()
	return true
}

func (q *queue) bring(turns int, job func()) {
	q.mu.Lock()
	q.jobs = append(q.jobs, job)
	lead := q.role.Take()
	q.mu.Unlock()
	if lead {
		q.role.Lead(turns)
	}
}

func TestACallerDoesItsOwnWork(t *testing.T) {
	q := newQueue()
	done := false
	q.bring(2, func() { done = true })
	require.True(t, done, "without another goroutine")
	require.False(t, q.role.IsTaken())
}

func TestAGoroutineGoesOnAfterSomeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		hold, done := make(chan struct{}), 0
		q.bring(1, func() {
			for range 3 {
				q.bring(1, func() { <-hold; done++ })
			}
		})
		require.Zero(t, done, "the caller is back though work is left")
		close(hold)
		q.work.Wait()
		require.Equal(t, 3, done)
	})
}

func TestWithoutTurnsTheCallerDoesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		hold := make(chan struct{})
		q.bring(0, func() { <-hold })
		close(hold)
		q.work.Wait()
	})
}

// What a turn does to its goroutine costs that turn and not the role.
func TestTheRoleSurvivesItsHolder(t *testing.T) {
	for _, turns := range []int{0, 1} {
		synctest.Test(t, func(t *testing.T) {
			q := newQueue()
			var done []int
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				q.bring(turns, func() {
					for n := range 3 {
						q.bring(turns, func() { done = append(done, n); runtime.Goexit() })
					}
					runtime.Goexit()
				})
			}()
			<-ended
			q.work.Wait()
			require.Equal(t, []int{0, 1, 2}, done)
			require.False(t, q.role.IsTaken())
		})
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	q := newQueue()
	var senders sync.WaitGroup
	const n = 2000
	done := 0
	for range 8 {
		senders.Go(func() {
			for range n {
				q.bring(4, func() { done++ })
			}
		})
	}
	senders.Wait()
	q.work.Wait()
	require.Equal(t, 8*n, done)
}
