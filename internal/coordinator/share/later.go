package share

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// later is a stretch of offsets among which records wait for their time: those that have one
// after passed. Their offsets are not known here; whoever reads the stretch when next has come
// finds them. All other offsets of the stretch are finished, or in runs since they were found.
//
// So however many records wait, what a share-partition keeps in memory is bounded: beyond a
// number of them in runs, they are only in their stretch.
type later struct {
	first, last int64
	passed      int64 // milliseconds: what was to be delivered by then has left the stretch
	next        int64 // milliseconds: no record of the stretch is due earlier
	count       int64 // how many records wait, at most
}

// maxLater is how many stretches a share-partition has, at most.
const maxLater = 256

// waits reports whether a run is of records that wait for their time, and were never
// delivered: at the time that their until says, and at no other one.
func (r run) waits(ms int64) bool { return r.member == "" && r.count == 0 && r.until > ms }

// spill takes records that wait out of the runs of p, all but a few that come first, where
// there are more than so many. It returns what takes them out, and the stretches as they are
// then; false if there is nothing to do, or there would be too many stretches.
//
// A record must not be in two places, so whatever stays in the runs ends a stretch. The rest
// of its offsets is finished, and what is finished was due by then: ms has passed.
func (p *part) spill(ms, most int64) (batches []batch, all []later, ok bool) {
	var waiting []run
	n := int64(0)
	for _, r := range p.runs {
		if r.waits(ms) {
			waiting, n = append(waiting, r), n+r.len()
		}
	}
	if n <= most {
		return nil, nil, false
	}
	stays := firstDue(waiting, min(most/2, maxLater/4))
	all = slices.Clone(p.later)
	known, open := len(all), false
	for _, r := range p.runs {
		if !r.waits(ms) || r.until <= stays {
			open = false
			continue
		}
		batches = append(batches, batch{run{first: r.first, last: r.last}, stateAcked})
		if open && !anyBetween(p.later, all[len(all)-1].last, r.first) {
			l := &all[len(all)-1]
			l.last, l.next, l.count = r.last, min(l.next, r.until), l.count+r.len()
			continue
		}
		all, open = append(all, later{r.first, r.last, ms, r.until, r.len()}), true
	}
	if len(all) > known {
		slices.SortFunc(all, func(a, b later) int { return cmp.Compare(a.first, b.first) })
		all = p.merged(all, ms, stays)
	}
	return batches, all, len(all) <= maxLater
}

// firstDue returns a time by which some of the runs are due, at most so many offsets; 0 if the
// earliest ones are more.
func firstDue(runs []run, most int64) (until int64) {
	slices.SortFunc(runs, func(a, b run) int { return cmp.Compare(a.until, b.until) })
	n := int64(0)
	for i, r := range runs {
		if n += r.len(); n > most {
			break
		}
		if i+1 == len(runs) || runs[i+1].until > r.until {
			until = r.until
		}
	}
	return until
}

// anyBetween reports whether there is a stretch between two offsets.
func anyBetween(all []later, from, to int64) bool {
	return slices.ContainsFunc(all, func(l later) bool { return from < l.first && l.first < to })
}

// merged makes neighbors one stretch where neither is due, so that what was to be delivered
// until now has left both, and nothing stays in the runs between them: what waits there until
// after stays does not.
func (p *part) merged(all []later, ms, stays int64) []later {
	n := 0
	for _, b := range all[1:] {
		a := &all[n]
		free := true
		for i := p.find(a.last + 1); i < len(p.runs) && p.runs[i].first < b.first && free; i++ {
			free = p.runs[i].waits(ms) && p.runs[i].until > stays
		}
		if free && a.next > ms && b.next > ms {
			*a = later{a.first, b.last, ms, min(a.next, b.next), a.count + b.count}
			continue
		}
		n++
		all[n] = b
	}
	return all[:n+1]
}

// trimmed returns the stretches within bounds, and whether that changes them.
func (p *part) trimmed(from, to int64) (all []later, changed bool) {
	for _, l := range p.later {
		was := l
		l.first, l.last = max(l.first, from), min(l.last, to-1)
		if l.first <= l.last {
			all = append(all, l)
		}
		changed = changed || l != was
	}
	return all, changed
}

// Search is a stretch of offsets among which records are due: the member reads it, and calls
// Promote with what it has found.
type Search struct {
	First, Last int64
	Passed      time.Time // records with a time after it, and not after Now, are due
	Now         time.Time
	Most        int // how many may be promoted
}

// searchFor is how long a member has for a Search, before another one gets it.
const searchFor = 10 * time.Second

// search returns the first stretch that is due, unless a member is at it.
func (c *Coordinator) search(k Key, p *part, room int64, ms int64) *Search {
	for _, l := range p.later {
		at := place{k, l.first}
		if l.next > ms || ms < c.searches[at] || room <= 0 {
			continue
		}
		c.reserve(at, ms, ms+searchFor.Milliseconds())
		return &Search{l.first, l.last, time.UnixMilli(l.passed), time.UnixMilli(ms), int(room)}
	}
	return nil
}

// reserve keeps other members from searching a stretch until a time.
func (c *Coordinator) reserve(at place, ms, until int64) {
	if c.searches == nil {
		c.searches = map[place]int64{}
	}
	if len(c.searches) > 4*maxLater {
		maps.DeleteFunc(c.searches, func(_ place, until int64) bool { return until <= ms })
	}
	c.searches[at] = until
}

// place is the stretch of a share-partition that begins at an offset.
type place struct {
	Key
	first int64
}

// Rest is what remains of a stretch in front of an offset that a search has come to.
type Rest struct {
	First, Last int64     // of the records that are not due yet
	Next        time.Time // when the first one is
	Count       int
}

// Promote ends a search, which has come to an offset, exclusively: records that are due become
// available. Nothing happens where the stretch was searched by another member meanwhile.
func (c *Coordinator) Promote(k Key, s Search, found []int64, rest Rest, to int64, now time.Time) (Result, error) {
	p := c.parts[k]
	delete(c.searches, place{k, s.First})
	if p == nil {
		return Result{}, unknown(k)
	}
	i := slices.IndexFunc(p.later, func(l later) bool {
		return l.first == s.First && l.last == s.Last && l.passed == s.Passed.UnixMilli()
	})
	if i < 0 {
		return Result{}, nil
	}
	old, all := p.later[i], slices.Clone(p.later[:i])
	ms := max(now.UnixMilli(), p.clock)
	if rest.Count > 0 {
		if to > old.last { // a search that takes long is made less often: a tenth of the time, at most
			c.reserve(place{k, rest.First}, ms, ms+9*(ms-s.Now.UnixMilli()))
		}
		all = append(all, later{rest.First, rest.Last, s.Now.UnixMilli(), rest.Next.UnixMilli(), int64(rest.Count)})
	}
	if to <= old.last {
		all = append(all, later{to, old.last, old.passed, old.next, max(old.count-int64(rest.Count+len(found)), 1)})
	}
	all = append(all, p.later[i+1:]...)
	var batches []batch
	for _, offset := range found {
		if j := p.find(offset); j < len(p.runs) && p.runs[j].first <= offset {
			continue // it was acquired, and not yet read, when it came into the stretch
		}
		batches = append(batches, batch{run: run{first: offset, last: offset}})
	}
	result, err := c.write(k, keyUpdate, &value{
		snapshot: p.snapshot, start: -1, clock: ms, batches: batches, later: all, hasLater: true,
	})
	result.Freed = len(batches) > 0
	return result, err
}
