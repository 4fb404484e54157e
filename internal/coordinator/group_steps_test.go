package coordinator

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator/group"
)

// TestACoordinatorFallsWithinEveryStepOfAGroup: a coordinator falls while the record of a step
// of a group is on its way, and the next one has that record, or not. The member asks again,
// and the group goes on: the partition has one owner, and the committed offset is there.
func TestACoordinatorFallsWithinEveryStepOfAGroup(t *testing.T) {
	for _, step := range []string{"join", "join behind another", "commit", "leave", "take over", "commit of the next owner"} {
		for name, kept := range map[string]bool{"the next one has the record": true, "the next one lacks the record": false} {
			t.Run(step+", "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { fallWithinGroup(t, step, kept) })
			})
		}
	}
}

func fallWithinGroup(t *testing.T, step string, kept bool) {
	p := newPrinters(t)
	ctx := t.Context()
	fell := false
	run := func(at string, call func() error) {
		t.Helper()
		if at == step {
			release := p.led.Hold()
			told := begin(call)
			require.Empty(t, told)
			cut := p.led.HighWatermark()
			require.Greater(t, p.led.EndOffset(), cut, "nothing was on its way")
			p.led.Depose()
			require.Contains(t, []fault.Code{fault.UnknownOutcome, fault.NotCoordinator}, fault.CodeOf(<-told))
			if !kept {
				require.NoError(t, p.led.Truncate(cut))
			}
			release()
			p.led.Elect()
			fell = true
		}
		require.NoError(t, call(), "again, or the first time")
	}
	owner := map[string]Assignment{}
	join := func(id string) func() error {
		return func() error {
			a, err := p.join(ctx, p.next(), group.Member{
				Group: "printer", ID: id, Topics: []string{"orders"}, SessionTimeout: 45 * time.Second, RebalanceTimeout: 5 * time.Minute,
			}, &Listener{Group: "printer"})
			owner[id] = a
			return err
		}
	}
	commit := func(id string, offset int64) func() error {
		return func() error { return p.Commit(ctx, "printer", id, at(offset)) }
	}
	run("join", join("a"))
	require.Len(t, owner["a"].Partitions, 1)
	run("join behind another", join("b"))
	require.Empty(t, owner["b"].Partitions, "the other one has it")
	run("commit", commit("a", 5))
	require.EqualValues(t, 5, committed(t, p.GroupShard))
	run("leave", func() error { return p.Leave(ctx, "printer", "a") })
	require.False(t, p.knows("a"))
	require.Error(t, commit("a", 6)(), "it has left")
	run("take over", func() error {
		a, err := p.beat(p.next(), "b")
		owner["b"] = a
		return err
	})
	require.Len(t, owner["b"].Partitions, 1)
	run("commit of the next owner", commit("b", 7))
	require.EqualValues(t, 7, committed(t, p.GroupShard))
	require.True(t, fell)
}
