package role_test

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/runnel-go/runnel/internal/leak"
	"github.com/runnel-go/runnel/internal/role"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(leak.Patient(m)) }

// queue is work to be done in order, by the goroutine that leads.
type queue struct {
	role role.Role
	work sync.WaitGroup

	mu   sync.Mutex
	jobs []job
	job  job // the leader's
}

type job struct {
	do  func()
	own bool // on a goroutine of the role's own
}

func newQueue() *queue {
	q := &queue{}
	q.role.Init(&q.mu, q.next, q.do, &q.work)
	return q
}

func (q *queue) next() role.Next {
	if len(q.jobs) == 0 {
		return role.None
	}
	q.job, q.jobs = q.jobs[0], q.jobs[1:]
	if q.job.own {
		return role.Own
	}
	return role.Any
}

func (q *queue) do() { q.job.do() }

// bring queues work and does up to so many turns of it; with 0, a goroutine is called.
func (q *queue) bring(turns int, do func()) { q.queue(turns, job{do: do}) }

func (q *queue) queue(turns int, j job) {
	q.mu.Lock()
	q.jobs = append(q.jobs, j)
	lead := false
	if turns == 0 {
		q.role.Call()
	} else {
		lead = q.role.Take()
	}
	q.mu.Unlock()
	if lead {
		q.role.Lead(turns)
	}
}

func TestACallerDoesItsOwnWork(t *testing.T) {
	for _, turns := range []int{2, -1} {
		q := newQueue()
		done := false
		q.bring(turns, func() { done = true })
		require.True(t, done, "without another goroutine")
		require.True(t, q.role.IsFree())
		q.work.Wait()
	}
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

func TestACallerThatCallsDoesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		hold, gathered := make(chan struct{}), 0
		q.role.Gather = func() { gathered++ }
		q.bring(0, func() { <-hold })
		close(hold)
		q.work.Wait()
		require.Equal(t, 2, gathered, "before each search for work")
	})
}

// Until the goroutine that was called runs, a caller may do its work; and then the
// goroutine does not take the role as well.
func TestACallerOvertakesTheGoroutineThatWasCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		held := make(chan struct{})
		q.role.Gather = func() { <-held }
		var done []int
		q.bring(0, func() { done = append(done, 1) })
		q.bring(0, func() { done = append(done, 2) }) // one goroutine is enough
		q.bring(-1, func() {
			close(held)
			synctest.Wait() // the goroutine finds the role taken
			done = append(done, 3)
		})
		require.Equal(t, []int{1, 2, 3}, done)
		require.True(t, q.role.IsFree())
		q.work.Wait()
	})
}

// A goroutine that was called is not called a second time by a caller at the end of
// its turns.
func TestTurnsEndWhileAGoroutineIsCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		held, done := make(chan struct{}), 0
		q.role.Gather = func() { <-held }
		for range 3 {
			q.bring(0, func() { done++ })
		}
		q.bring(1, func() { done++ })
		require.Equal(t, 1, done)
		require.False(t, q.role.IsTaken())
		close(held)
		q.work.Wait()
		require.Equal(t, 4, done)
	})
}

// Work that may block, or end its goroutine, is never a caller's, whether the caller
// finds it first or behind its own.
func TestSomeWorkIsOnAGoroutineOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		hold, done := make(chan struct{}), 0
		blocks := job{own: true, do: func() { <-hold; done++; runtime.Goexit() }}
		q.queue(-1, blocks)
		q.bring(-1, func() { done++ }) // behind it
		synctest.Wait()
		require.Zero(t, done)
		hold <- struct{}{}
		synctest.Wait()
		require.Equal(t, 2, done)

		q.bring(-1, func() { q.queue(-1, blocks); q.bring(-1, func() { done++ }) })
		synctest.Wait()
		require.Equal(t, 2, done, "and the caller is back")
		hold <- struct{}{}
		q.work.Wait()
		require.Equal(t, 4, done)
	})
}

// A caller may hold the role for work of its own. What was queued meanwhile is then its
// work, too.
func TestACallerHoldsTheRole(t *testing.T) {
	q := newQueue()
	q.mu.Lock()
	q.role.Hold()
	q.mu.Unlock()
	done := 0
	for range 2 {
		q.bring(1, func() { done++ })
		q.bring(0, func() { done++ })
	}
	require.Zero(t, done)
	q.role.GoOn(-1)
	require.Equal(t, 4, done)
	require.True(t, q.role.IsFree())
	q.work.Wait()
}

// What a turn does to its goroutine costs that turn and not the role.
func TestTheRoleSurvivesItsHolder(t *testing.T) {
	for _, turns := range []int{0, 1, -1} {
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
			require.True(t, q.role.IsFree())
		})
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	q := newQueue()
	var senders sync.WaitGroup
	const n = 2000
	done := 0
	for sender := range 8 {
		senders.Go(func() {
			for range n {
				q.bring(sender, func() { done++ })
			}
		})
	}
	senders.Wait()
	q.work.Wait()
	require.Equal(t, 8*n, done)
	require.True(t, q.role.IsFree())
}
