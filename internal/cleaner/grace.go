package cleaner

import (
	"math"
	"time"
)

// period is how long records stay, however old they are, after their segment began,
// their partition was opened, or its settings changed. A Kafka broker, which checks
// every five minutes, may keep them as long. It lets a program that writes records
// with old timestamps read them before retention removes them.
const period = 5 * time.Minute

// A grace tracks which of a partition's records age may remove. request asks for a
// grace period for new records; advance starts it, and ends it when it is over:
//
//	      request             advance             advance, after period
//	none ─────────▶ requested ───────▶ running ──────────────────────▶ none
//	                   ▲                  │ request: another one follows
//	                   └──────────────────┘
//
// A running period is never extended. If each new segment started it again, it would
// never end in a busy partition, and nothing would be removed.
type grace struct {
	requested bool      // new records wait for a period to start
	until     time.Time // when the running period ends; zero: none runs
	ripe      int64     // age may remove records before this offset
	ripens    int64     // ripe after the running period
}

// request asks for a period for the records written so far.
func (g *grace) request() { g.requested = true }

// advance returns the offset before which age may remove records, math.MaxInt64 for
// all, and when that offset will rise; zero if it covers all. high is the partition's
// high watermark.
func (g *grace) advance(now time.Time, high int64) (ripe int64, more time.Time) {
	if !g.until.IsZero() && !now.Before(g.until) {
		g.ripe, g.until = g.ripens, time.Time{}
	}
	if g.until.IsZero() {
		if !g.requested {
			return math.MaxInt64, time.Time{}
		}
		g.requested, g.until, g.ripens = false, now.Add(period), high
	}
	return g.ripe, g.until
}
