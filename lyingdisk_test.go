package runnel_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/internal/vfs"
)

// TestLiesAreFound: the torture test finds a loss on every disk that does not do
// what it is given, as it would in a log that did not tell it. So its silence on an
// honest disk means something.
func TestLiesAreFound(t *testing.T) {
	for name, lie := range map[string]vfs.Rule{
		"syncs nothing":                 {On: vfs.OpSync},
		"syncs no segment":              {On: vfs.OpSync, Match: vfs.Named(".log")},
		"syncs no checkpoint":           {On: vfs.OpSync, Match: vfs.Named("runnel-checkpoint")},
		"syncs no names":                {On: vfs.OpSyncDir},
		"cuts nothing off":              {On: vfs.OpTruncate, Match: vfs.Named(".log")},
		"removes no segment":            {On: vfs.OpRemove, Match: vfs.Named(".log")},
		"writes no checkpoint":          {On: vfs.OpWrite, Match: vfs.Named("runnel-checkpoint")},
		"writes no byte of any segment": {On: vfs.OpWrite, Match: vfs.Named(".log")},
		"syncs every other time":        {On: vfs.OpSync, Match: everyOther()},
		"syncs names every other time":  {On: vfs.OpSyncDir, Match: everyOther()},
		"cuts off every other time":     {On: vfs.OpTruncate, Match: everyOther()},
	} {
		t.Run(name, func(t *testing.T) {
			lie.Lie = true
			for seed := uint64(1); seed <= tortureSeeds; seed++ {
				_, err := torment(seed, func(fsys vfs.FS) vfs.FS {
					f := vfs.NewFaulty(fsys)
					f.Add(lie)
					return f
				})
				if err != nil {
					line, _, _ := strings.Cut(err.Error(), "\n")
					t.Logf("seed %d: %.200s", seed, line)
					return
				}
			}
			require.Fail(t, "nothing was found")
		})
	}
}

// everyOther is a Match for every second of the operations that it is asked about.
func everyOther() func(string) bool {
	n := 0
	return func(string) bool {
		n++
		return n%2 == 0
	}
}
