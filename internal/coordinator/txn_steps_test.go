package coordinator

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/internal/coordinator/txn"
	"github.com/runnel-go/runnel/record"
)

// fall has the coordinator fall while what it has appended last is not committed: the next
// one has it, or not.
func (s *shop) fall(release func(), kept bool) {
	s.t.Helper()
	cut := s.state.HighWatermark()
	require.Greater(s.t, s.state.EndOffset(), cut, "nothing was on its way")
	s.state.Depose()
	s.LeadershipChanged(0)
	synctest.Wait()
	if !kept {
		require.NoError(s.t, s.state.Truncate(cut))
	}
	release()
	s.state.Elect()
	s.LeadershipChanged(0)
	synctest.Wait()
}

// begin begins to call something that does not return before the test goes on.
func begin(call func() error) (told chan error) {
	told = make(chan error, 1)
	go func() { told <- call() }()
	synctest.Wait()
	return told
}

// TestACoordinatorFallsWithinEveryStep: a coordinator falls while the record of a step of a
// transaction is on its way, and the next one has that record, or not. The caller looks for
// it, and the transaction is committed once, whatever the step was.
func TestACoordinatorFallsWithinEveryStep(t *testing.T) {
	for _, step := range []string{"init", "add", "prepare", "marker", "complete"} {
		for name, kept := range map[string]bool{"the next one has the record": true, "the next one lacks the record": false} {
			t.Run(step+", "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { fallWithin(t, step, kept) })
			})
		}
	}
}

func fallWithin(t *testing.T, step string, kept bool) {
	s := newShop(t)
	ctx := t.Context()
	var who, next txn.Identity
	run := func(at string, call func() error) {
		t.Helper()
		if at != step {
			require.NoError(t, call())
			return
		}
		release := s.state.Hold()
		told := begin(call)
		require.Empty(t, told)
		s.fall(release, kept)
		require.NoError(t, <-told)
	}
	run("init", func() (err error) {
		who, err = s.Init(ctx, "shop", time.Minute)
		return err
	})
	run("add", func() error { return s.Add(ctx, "shop", who, orders) })
	end := func() (err error) {
		next, err = s.End(ctx, "shop", who, true)
		return err
	}
	if step == "marker" || step == "complete" {
		hold := s.orders.Hold()
		told := begin(end) // it is decided, and the marker is on its way
		require.Empty(t, told)
		require.EqualValues(t, 1, s.orders.EndOffset())
		if step == "complete" {
			release := s.state.Hold()
			hold()
			synctest.Wait()
			s.fall(release, kept)
		} else {
			s.state.Depose()
			s.LeadershipChanged(0)
			if kept {
				hold()
			} else { // the partition's leader has fallen, too
				s.orders.Depose()
				require.NoError(t, s.orders.Truncate(0))
				hold()
				s.orders.Elect()
			}
			s.state.Elect()
			s.LeadershipChanged(0)
		}
		require.NoError(t, <-told)
	} else {
		run("prepare", end)
	}
	time.Sleep(time.Minute) // longer than the transaction may take
	require.Equal(t, txn.Identity{ProducerID: who.ProducerID, Epoch: who.Epoch + 1}, next)
	all, err := s.List(ctx)
	require.NoError(t, err)
	require.Equal(t, txn.CompleteCommit, all[0].State)
	require.EqualValues(t, 1, s.orders.EndOffset(), "one marker")
	require.NoError(t, s.Add(ctx, "shop", next, orders), "the producer goes on")
	_, err = s.End(ctx, "shop", next, false)
	require.NoError(t, err)
	require.EqualValues(t, 2, s.orders.EndOffset())
	markers := 0
	require.NoError(t, s.orders.Scan(func(b *record.Batch, _ *record.Record) error {
		if b.Control() {
			markers++
		}
		return nil
	}))
	require.Equal(t, 2, markers)
}
