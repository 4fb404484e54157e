package log

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/record"
)

// sentAt is a closed log of equally long records, of which each was sent a minute
// after the one before.
func sentAt(t *testing.T, dir string, first int64) Config {
	cfg := memoryConfig()
	cfg.Dir = dir
	l, _ := open(t, cfg)
	for o := range int64(5) {
		raw := batchOf(o, 0, 1, 20)
		h := headerOf(raw)
		h.BaseTimestamp, h.MaxTimestamp = first+o*60_000, first+o*60_000
		record.Seal(raw, h)
		require.NoError(t, l.Append(raw, nil))
	}
	require.NoError(t, l.Close())
	return cfg
}

// A segment of another log that is as long as the one whose place it took has the
// right offsets and checksums. The checkpoint knows better when the last record was
// sent. What to believe is not for a repair to decide.
func TestSegmentOfAnotherLog(t *testing.T) {
	cfg, other := sentAt(t, "orders-0", 1_000_000), sentAt(t, "orders-1", 2_000_000)
	require.Equal(t, Note, inspected(t, cfg).Worst())
	original := readFile(t, cfg.FS, logFile(cfg, 0))
	foreign := readFile(t, other.FS, logFile(other, 0))
	require.Len(t, foreign, len(original))
	writeFile(t, cfg.FS, logFile(cfg, 0), foreign)

	found := inspected(t, cfg)
	require.Equal(t, Damage, found.Worst())
	require.True(t, slices.ContainsFunc(found.Findings, func(f Finding) bool {
		return f.Grade == Damage && f.Expected == "2240000 as the largest timestamp of 00000000000000000000.log, as its batches have it" && f.Found == "1240000"
	}), "%v", found.Findings)
	require.True(t, refused(repaired(t, cfg, false)))

	accepted := copyDir(t, cfg, "accepted")
	require.False(t, refused(repaired(t, accepted, true)))
	require.Equal(t, Note, inspected(t, accepted).Worst())
	require.Len(t, everything(t, accepted), 5)

	writeFile(t, cfg.FS, logFile(cfg, 0), original)
	require.Equal(t, Note, inspected(t, cfg).Worst())
}
