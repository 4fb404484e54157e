package cleaner

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestGrace(t *testing.T) {
	const all = math.MaxInt64
	never := time.Duration(-1)
	type step struct {
		at      time.Duration
		request bool
		high    int64
		ripe    int64
		more    time.Duration // from the beginning; never: it does not come again
	}
	for name, steps := range map[string][]step{
		"without a request all records may go": {
			{at: 0, high: 10, ripe: all, more: never},
		},
		"a new segment has a whole period": {
			{at: 0, request: true, high: 10, ripe: 0, more: period},
			{at: period - 1, high: 12, ripe: 0, more: period},
			{at: period, high: 12, ripe: all, more: never},
		},
		"what came after a grace had begun has its own": {
			{at: 0, request: true, high: 10, ripe: 0, more: period},
			{at: period / 2, request: true, high: 20, ripe: 0, more: period},
			{at: period, high: 30, ripe: 10, more: 2 * period},
			{at: 2 * period, high: 40, ripe: all, more: never},
		},
		"segments that begin all the time keep nothing for ever": {
			{at: 0, request: true, high: 10, ripe: 0, more: period},
			{at: period, request: true, high: 20, ripe: 10, more: 2 * period},
			{at: 2 * period, request: true, high: 30, ripe: 20, more: 3 * period},
			{at: 3 * period, request: true, high: 40, ripe: 30, more: 4 * period},
		},
		"a look that comes late ends a grace all the same": {
			{at: 0, request: true, high: 10, ripe: 0, more: period},
			{at: 7 * period, request: true, high: 20, ripe: 10, more: 8 * period},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var g grace
			start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			for _, s := range steps {
				if s.request {
					g.request()
				}
				ripe, more := g.advance(start.Add(s.at), s.high)
				require.Equal(t, s.ripe, ripe, "at %v", s.at)
				want := time.Time{}
				if s.more != never {
					want = start.Add(s.more)
				}
				require.Equal(t, want, more, "at %v", s.at)
			}
		})
	}
}
