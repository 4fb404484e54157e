package main

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Rate and time left are shown from when they mean something.
func TestProgressLine(t *testing.T) {
	for _, c := range []struct {
		done, total int64
		took        time.Duration
		want        string
	}{
		{1000, 286_400_000, time.Millisecond, "  0% of 286.4 MB"},
		{200_000_000, 400_000_000, 499 * time.Millisecond, " 50% of 400.0 MB"},
		{999_999, 400_000_000, time.Minute, "  0% of 400.0 MB"},
		{200_000_000, 400_000_000, 2 * time.Second, " 50% of 400.0 MB, 100.0 MB/s, 2s left"},
		{10, -1, time.Second, "10 B"},
		{2_000_000, -1, time.Second, "2.0 MB, 2.0 MB/s"},
	} {
		require.Equal(t, c.want, progressLine(c.done, c.total, c.took))
	}
}

// A meter shows nothing before there is something to show, and clears its line.
func TestMeter(t *testing.T) {
	var out strings.Builder
	m := (&shell{errs: &out, watched: true}).newMeter()
	m.show(0, -1)
	m.end()
	require.Empty(t, out.String())
	m.show(7, 70)
	m.end()
	require.Equal(t, "\r\x1b[K 10% of 70 B\r\x1b[K", out.String())
}

// Who waits sees for how long, and nothing is left of it.
func TestWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		(&shell{errs: &out, watched: true}).waiting("somebody compares 70 B")()
		require.Equal(t, "\r\x1b[Ksomebody compares 70 B, 0s\r\x1b[K", out.String())
		out.Reset()
		(&shell{errs: &out}).waiting("somebody compares 70 B")()
		require.Empty(t, out.String())
	})
}
