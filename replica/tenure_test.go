package replica_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/replica"
)

// A batch that got the offset of a change of members was not written, and is not
// acknowledged when that is committed.
func TestChangeOfMembersTakesNoBatchsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		leader := c.replica(c.leader())
		require.NoError(t, leader.AppendAwait(one(t, "a")))
		told, changed := make(awaited, 1), make(awaited, 1)
		leader.Do(func(core *replica.Core) {
			leader.Copy().Append(one(t, "b"), nil, told) // the core hears of it after this event
			core.ProposeMembers([]replica.Change{{ID: replica.NewID(9, 0), Kind: replica.AddLearner}}, func(r replica.Result) { changed <- r.Err })
		})
		require.NoError(t, <-changed)
		require.Error(t, <-told, "its place was taken")
		require.NoError(t, leader.AppendAwait(one(t, "c")))
		require.Equal(t, []string{"a", "c"}, values(t, leader.Copy()))
	})
}

// A leader that counts offsets again counts those that are on their way to its disk.
func TestCountingAgainCountsWhatIsOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		leader := c.replica(c.leader())
		require.NoError(t, leader.AppendAwait(one(t, "a")))
		first, second := make(awaited, 1), make(awaited, 1)
		leader.Do(func(*replica.Core) {
			leader.Copy().Append(one(t, "b"), nil, first)
			leader.Refuse() // with the tick behind it
		})
		err := <-first
		leader.Copy().Append(one(t, "c"), nil, second)
		if err == nil {
			require.NoError(t, <-second)
			require.Equal(t, []string{"a", "b", "c"}, values(t, leader.Copy()))
			return
		}
		require.ErrorIs(t, err, fault.UnknownOutcome)
		acknowledged := <-second
		time.Sleep(time.Second)
		require.Contains(t, values(t, leader.Copy()), "b")
		if acknowledged == nil {
			require.Contains(t, values(t, leader.Copy()), "c")
		}
	})
}
