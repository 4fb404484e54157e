package callback_test

import (
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/runnel-go/runnel/internal/callback"
	"github.com/runnel-go/runnel/internal/leak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(leak.Patient(m)) }

// steps is an item of several steps, some of which end their goroutine.
type steps struct {
	left int
	exit func(left int) bool
	note func(left int)
}

func (s *steps) Step() bool {
	if s.left == 0 {
		return false
	}
	s.left--
	s.note(s.left)
	if s.exit(s.left) {
		runtime.Goexit()
	}
	return s.left > 0
}

// A function that ends its goroutine does not keep other functions from running
// once and in order, and no waiting goroutine is left.
func TestGoexitEndsOneStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, exit := range map[string]func(int) bool{
			"none":  func(int) bool { return false },
			"last":  func(left int) bool { return left == 0 },
			"first": func(left int) bool { return left == 2 },
			"all":   func(int) bool { return true },
		} {
			var q callback.Queue
			require.True(t, q.Idle())
			<-q.Drained()
			var got []int
			for range 3 {
				q.Add(&steps{3, exit, func(left int) { got = append(got, left) }})
			}
			require.False(t, q.Idle())
			<-q.Drained()
			require.Equal(t, []int{2, 1, 0, 2, 1, 0, 2, 1, 0}, got, name)
			synctest.Wait()
			require.True(t, q.Idle())
			q.Add(&steps{1, exit, func(left int) { got = append(got, left) }})
			<-q.Drained()
			require.Len(t, got, 10)
		}
	})
}
