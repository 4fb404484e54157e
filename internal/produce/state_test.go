package produce

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A batch goes forward only, and only along the arrows of the package's drawing.
func TestABatchGoesForward(t *testing.T) {
	const states = stateTelling + 1
	next := map[batchState][]batchState{
		stateSettled: {stateOpen, stateReady},
		stateOpen:    {stateSealed},
		stateSealed:  {stateReady},
		stateReady:   {stateHanded, stateDone},
		stateHanded:  {stateDone},
		stateDone:    {stateTelling},
		stateTelling: {stateSettled},
	}
	for from := range states {
		for to := range states {
			b := &openBatch{state: from}
			if b.enterLocked(to) {
				require.Contains(t, next[from], to)
				require.Equal(t, to, b.state)
			} else {
				require.NotContains(t, next[from], to)
				require.Equal(t, from, b.state, "it stays where it was")
			}
		}
	}
}
