package partition_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/internal/vfs"
)

// looker is a Waker that looks how far it may read when it is woken.
type looker struct{ look func() }

func (l *looker) Wake() { l.look() }

// Who is woken may read what he waited for at that very moment: he would not be
// woken again.
func TestWakingComesBehindTheWatermark(t *testing.T) {
	p, _ := open(t, configOn(vfs.NewMemory()))
	defer p.Close()
	var seen []int64
	for range 3 {
		require.True(t, p.Wait(p.HighWatermark(), &looker{func() { seen = append(seen, p.HighWatermark()) }}))
		_, err := appendAll(p, "a")
		require.NoError(t, err)
	}
	require.Equal(t, []int64{1, 2, 3}, seen)
}

// Who waits when the partition is closed is woken, for nothing else will come.
func TestClosingWakesWhoWaits(t *testing.T) {
	p, _ := open(t, configOn(vfs.NewMemory()))
	woken := 0
	require.True(t, p.Wait(7, &looker{func() { woken++ }}))
	require.NoError(t, p.Close())
	require.Equal(t, 1, woken)
	require.False(t, p.Wait(7, &looker{func() { woken++ }}))
}
