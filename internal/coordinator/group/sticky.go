package group

import (
	"cmp"
	"container/heap"
	"slices"
	"sort"
)

// assignSticky keeps what it can and evens out the rest, also where members
// subscribe to different topics: a partition moves only when its owner has at
// least two more than the one that gets it.
func assignSticky(subscribers []*subscriber) {
	topics := topicsOf(subscribers)
	taken := make(map[Partition]bool)
	for _, s := range subscribers {
		for _, p := range s.before {
			if valid(s, p) && !taken[p] {
				s.give(p)
				taken[p] = true
			}
		}
	}
	w := newWanting(subscribers, topics)
	free := missing(topics, taken)
	// Partitions with few possible owners come first, while these still have room.
	sort.SliceStable(free, func(i, j int) bool { return w.pool(free[i]).Len() < w.pool(free[j]).Len() })
	for _, p := range free {
		w.give(w.pool(p).least(), p)
	}
	for w.even(subscribers) {
	}
}

// wanting finds the subscriber that should get a partition next.
type wanting struct {
	topics []Topic // sorted by ID
	pools  []*pool // of each topic; topics with the same subscribers share one
	of     map[*subscriber][]*pool
}

func newWanting(subscribers []*subscriber, topics []Topic) *wanting {
	w := &wanting{topics: topics, pools: make([]*pool, len(topics)), of: make(map[*subscriber][]*pool)}
	shared := make(map[**subscriber]*pool)
	for i, who := range audiences(subscribers, topics) {
		if shared[&who[0]] == nil {
			shared[&who[0]] = w.newPool(who)
		}
		w.pools[i] = shared[&who[0]]
	}
	return w
}

func (w *wanting) newPool(who []*subscriber) *pool {
	p := &pool{all: slices.Clone(who), at: make(map[*subscriber]int, len(who)), rank: make(map[*subscriber]int, len(who))}
	for i, s := range who {
		p.at[s], p.rank[s] = i, i
		w.of[s] = append(w.of[s], p)
	}
	heap.Init(p)
	return p
}

// pool returns the subscribers that want p.
func (w *wanting) pool(p Partition) *pool {
	i, _ := slices.BinarySearchFunc(w.topics, p, func(t Topic, p Partition) int {
		return Partition{ID: t.ID}.Compare(Partition{ID: p.ID})
	})
	return w.pools[i]
}

func (w *wanting) give(s *subscriber, p Partition) {
	s.give(p)
	w.changed(s)
}

// changed keeps the pools in order after s has got or given a partition.
func (w *wanting) changed(s *subscriber) {
	for _, p := range w.of[s] {
		heap.Fix(p, p.at[s])
	}
}

// even lets those with the most partitions give to those with the fewest, each until the
// next one has more than it, so that few give much. It reports whether one has moved.
func (w *wanting) even(subscribers []*subscriber) (moved bool) {
	most := slices.Clone(subscribers)
	slices.SortStableFunc(most, func(a, b *subscriber) int { return cmp.Compare(len(b.target), len(a.target)) })
	for i, s := range most {
		floor := 0
		if i+1 < len(most) {
			floor = len(most[i+1].target)
		}
		for len(s.target) >= floor && w.giveOne(s) {
			moved = true
		}
	}
	return moved
}

// giveOne moves one partition of s, if there is one that somebody with at least two less
// wants.
func (w *wanting) giveOne(s *subscriber) bool {
	for i, p := range s.target {
		if to := w.pool(p).least(); len(to.target)+1 < len(s.target) {
			s.target[i] = s.target[len(s.target)-1]
			s.target = s.target[:len(s.target)-1]
			w.changed(s)
			w.give(to, p)
			return true
		}
	}
	return false
}

// pool is the subscribers that want a topic, as a heap: the first of those with the
// fewest partitions is the root.
type pool struct {
	all      []*subscriber
	at, rank map[*subscriber]int // where it is in all, and its place among subscribers
}

func (p *pool) least() *subscriber { return p.all[0] }

// Len, Less, Swap, Push and Pop implement heap.Interface; a pool neither grows nor
// shrinks.
func (p *pool) Len() int { return len(p.all) }

func (p *pool) Less(i, j int) bool {
	a, b := p.all[i], p.all[j]
	return cmp.Or(cmp.Compare(len(a.target), len(b.target)), cmp.Compare(p.rank[a], p.rank[b])) < 0
}

func (p *pool) Swap(i, j int) {
	p.all[i], p.all[j] = p.all[j], p.all[i]
	p.at[p.all[i]], p.at[p.all[j]] = i, j
}

func (p *pool) Push(any) {}

func (p *pool) Pop() any { return nil }
