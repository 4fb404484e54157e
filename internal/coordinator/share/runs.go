package share

import (
	"cmp"
	"slices"
)

// run is consecutive offsets in the same state.
type run struct {
	first, last int64
	count       int16  // how often they were delivered
	member      string // who has acquired them, empty for no one
	until       int64  // milliseconds: before it they are not delivered

	acquisition int64 // the number of the member's, by which they were acquired; 0 for no one
	spent       bool  // Range.Spent, of that acquisition
}

func (r run) len() int64 { return r.last - r.first + 1 }

// like reports whether two runs have the same state.
func (r run) like(other run) bool {
	return r.count == other.count && r.member == other.member && r.until == other.until && r.acquisition == other.acquisition && r.spent == other.spent
}

// free makes r one that no one has acquired, and that is not delivered before until.
func (r *run) free(until int64) { r.member, r.acquisition, r.spent, r.until = "", 0, false, until }

// part is a share-partition.
type part struct {
	end      int64 // all offsets below it are in runs, or finished; none was acquired from it on. Kafka's SPEO
	runs     []run // sorted; like neighbors are one run
	later    []later
	clock    int64 // milliseconds: the latest time of a command
	created  int64 // milliseconds
	epoch    int32 // of the state: rises when it is reset
	snapshot int32 // the number of the latest snapshot
}

// start returns the first offset that is not finished: Kafka's SPSO.
func (p *part) start() int64 {
	start := p.end
	if len(p.runs) > 0 {
		start = p.runs[0].first
	}
	if len(p.later) > 0 {
		start = min(start, p.later[0].first)
	}
	return start
}

// unfinished returns how many offsets below the end are not finished.
func (p *part) unfinished() (n int64) {
	for _, r := range p.runs {
		n += r.len()
	}
	return n
}

// find returns the index of the first run that ends at offset or behind it.
func (p *part) find(offset int64) int {
	i, _ := slices.BinarySearchFunc(p.runs, offset, func(r run, offset int64) int { return cmp.Compare(r.last, offset) })
	return i
}

// put gives the offsets of r its state, or finishes them.
func (p *part) put(r run, finish bool) {
	i := p.find(r.first)
	j := i
	for j < len(p.runs) && p.runs[j].first <= r.last {
		j++
	}
	var with [3]run
	n := 0
	add := func(r run) {
		if n > 0 && with[n-1].last+1 == r.first && with[n-1].like(r) {
			with[n-1].last = r.last
			return
		}
		with[n] = r
		n++
	}
	if i < j && p.runs[i].first < r.first {
		left := p.runs[i]
		left.last = r.first - 1
		add(left)
	} else if i > 0 && p.runs[i-1].last+1 == r.first && p.runs[i-1].like(r) && !finish {
		i--
		add(p.runs[i])
	}
	right := run{first: 0, last: -1}
	if i < j && j > 0 && p.runs[j-1].last > r.last {
		right = p.runs[j-1]
		right.first = r.last + 1
	} else if j < len(p.runs) && p.runs[j].first == r.last+1 && p.runs[j].like(r) && !finish {
		right = p.runs[j]
		j++
	}
	if !finish {
		add(r)
	}
	if right.len() > 0 {
		add(right)
	}
	p.runs = slices.Replace(p.runs, i, j, with[:n]...)
	p.end = max(p.end, r.last+1)
}

// cut finishes everything below an offset.
func (p *part) cut(start int64) {
	if len(p.runs) > 0 && p.runs[0].first < start {
		i := p.find(start)
		p.runs = slices.Delete(p.runs, 0, i)
		if len(p.runs) > 0 {
			p.runs[0].first = max(p.runs[0].first, start)
		}
	}
	p.end = max(p.end, start)
}

// held returns the runs of a range, cut to it, if member has acquired all of it by an
// acquisition.
func (p *part) held(member string, acquisition, first, last int64) ([]run, bool) {
	var all []run
	for i := p.find(first); i < len(p.runs) && first <= last; i++ {
		r := p.runs[i]
		if r.first > first || r.member != member || r.acquisition != acquisition {
			return nil, false
		}
		r.first, r.last = first, min(r.last, last)
		all, first = append(all, r), r.last+1
	}
	return all, first > last
}
