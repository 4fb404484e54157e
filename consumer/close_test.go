package consumer

import (
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// Close on another goroutine does not wait for the body of a loop. The body's record
// is done when the body asks for the next one.
func TestCloseLeavesTheEndToTheLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.add(a0, "0", "1")
		var told []string
		c := open(t, f, OnRevoked(func([]record.TopicPartition) { told = append(told, "revoked") }))
		goOn, over := make(chan struct{}), make(chan error, 1)
		go func() {
			for r, err := range c.Records(t.Context()) {
				if err != nil {
					over <- err
					continue
				}
				<-goOn
				told = append(told, string(r.Value))
			}
			close(over)
		}()
		synctest.Wait()
		begun := time.Now()
		require.NoError(t, c.Close())
		require.Zero(t, time.Since(begun))
		require.False(t, f.closed)
		require.Empty(t, f.offsets())
		close(goOn)
		require.ErrorIs(t, <-over, fault.Closed)
		_, more := <-over
		require.False(t, more, "the loop ends with it")
		require.Equal(t, []string{"0", "revoked"}, told)
		require.Equal(t, map[int32]int64{0: 1}, f.offsets())
		require.True(t, f.closed)
	})
}

// A pulled loop has a goroutine of its own, and its body runs on another one. Close
// there must not wait for the body.
func TestCloseOfALoopThatIsPulled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.add(a0, "0", "1")
		c := open(t, f)
		next, stop := iter.Pull2(c.Records(t.Context()))
		_, err, _ := next()
		require.NoError(t, err)
		begun := time.Now()
		require.NoError(t, c.Close())
		stop()
		require.Zero(t, time.Since(begun))
		require.True(t, f.closed)
		require.Empty(t, f.offsets(), "the record at hand was not done")
	})
}

// The loop yields what failed while it ended the session. If the body left the
// loop, the next Close returns it.
func TestALoopTellsHowClosingWent(t *testing.T) {
	t.Run("and goes on", func(t *testing.T) {
		f := newFake()
		f.add(a0, "0", "1")
		c := open(t, f)
		var errs []error
		for _, err := range c.Records(t.Context()) {
			if err != nil {
				errs = append(errs, err)
				continue
			}
			require.NoError(t, c.Close())
			f.failCommits(fault.Storage)
		}
		require.Len(t, errs, 2)
		require.ErrorIs(t, errs[0], fault.Storage)
		require.ErrorIs(t, errs[1], fault.Closed)
	})
	t.Run("and was left", func(t *testing.T) {
		f := newFake()
		f.add(a0, "0", "1")
		c := open(t, f)
		for r, err := range c.Records(t.Context()) {
			require.NoError(t, err)
			if string(r.Value) == "1" {
				f.failCommits(fault.Storage)
				require.ErrorIs(t, c.Close(), fault.Storage, "the first record is done")
				require.NoError(t, c.Close(), "nothing new")
				break
			}
		}
		require.ErrorIs(t, c.Close(), fault.Storage)
		require.NoError(t, c.Close())
	})
}

// A loop that has fetched records when Close begins to end the session does not run
// its body beside the callbacks.
func TestNoBodyBeginsBesideClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.add(a0, "0")
		revoking, goOn, closed := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		c := open(t, f, OnRevoked(func([]record.TopicPartition) {
			close(revoking)
			<-goOn
		}))
		f.before = []func(){func() { // Fetch is about to return
			go func() { closed <- c.Close() }()
			<-revoking
		}}
		var bodies []error
		over := make(chan struct{})
		go func() {
			defer close(over)
			for _, err := range c.Records(t.Context()) {
				bodies = append(bodies, err)
			}
		}()
		synctest.Wait()
		require.Empty(t, bodies)
		close(goOn)
		require.NoError(t, <-closed)
		<-over
		require.Len(t, bodies, 1)
		require.ErrorIs(t, bodies[0], fault.Closed)
	})
}
