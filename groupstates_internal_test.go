package runnel

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/partition"
)

func groupStates() []partition.Group {
	return []partition.Group{
		{Leader: 2, Epoch: 7, InSync: []int32{1, 2}, Lag: []partition.Lag{{Node: 1}, {Node: 3, Records: -1}}},
		{Leader: -1, Epoch: -1},
	}
}

func TestGroupStatesArriveAsTheyAre(t *testing.T) {
	got, err := decodeGroups(encodeGroups(groupStates()))
	require.NoError(t, err)
	require.Equal(t, groupStates(), got)
}

// FuzzDecodeGroups: what another node answers never panics, and is refused or can be sent
// again.
func FuzzDecodeGroups(f *testing.F) {
	f.Add(encodeGroups(groupStates()))
	f.Add(encodeGroups(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		groups, err := decodeGroups(b)
		if err != nil {
			return
		}
		again, err := decodeGroups(encodeGroups(groups))
		require.NoError(t, err)
		require.Equal(t, groups, again)
	})
}

// A malformed question is refused, and one for partitions that are not here is answered.
func TestAQuestionForGroups(t *testing.T) {
	b, err := OpenMemory()
	require.NoError(t, err)
	defer b.Close()
	for _, fields := range [][]byte{nil, {0, 0, 0, 1}, {0, 0, 0, 0, 1}} {
		_, err := b.serveGroups(t.Context(), fields)
		require.Error(t, err)
	}
	answer, err := b.serveGroups(t.Context(), append([]byte{0, 0, 0, 1}, make([]byte, 20)...))
	require.NoError(t, err)
	groups, err := decodeGroups(answer)
	require.NoError(t, err)
	require.Equal(t, []partition.Group{{Leader: -1, Epoch: -1}}, groups)
}
