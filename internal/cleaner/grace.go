package cleaner

import (
	"math"
	"time"
)

// period is for how long records stay after a segment has begun, a partition was
// opened, or its settings have changed, however old they are: as long as they may
// stay on a Kafka broker, which looks every five minutes. A program that sends what
// happened long ago can read it before it goes.
const period = 5 * time.Minute

// A grace says which of a partition's records may go by their age. A request
// queues one for what has begun; look starts it, and ends it when its time is over:
//
//	      request            look               look, later
//	none ---------> requested ------> running ---------------> none
//	                   ^                 | request: the next one is requested
//	                   +-----------------+
//
// Graces of one partition follow on each other, however fast segments begin: one
// that started again with each segment would never be over.
type grace struct {
	requested bool      // a new segment waits for its grace to start
	until     time.Time // when the running one is over; zero: none runs
	ripe      int64     // records before this offset have had theirs
	ripens    int64     // records before this one have once the running one is over
}

// request notes that something has begun whose grace has not started.
func (g *grace) request() { g.requested = true }

// look returns the offset before which records have had their grace, math.MaxInt64
// when all have, and when more will have, zero when all have. high is the
// partition's high watermark.
func (g *grace) look(now time.Time, high int64) (ripe int64, more time.Time) {
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
