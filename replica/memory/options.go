package memory

import "time"

// Link is what happens to frames on their way from one node to another. Frames of the
// zero Link arrive at once, all and in order.
type Link struct {
	Delay  time.Duration // how long each frame takes at least
	Jitter time.Duration // and up to how much longer; frames of a lane still keep their order

	// Loss, Duplicate and Reorder are probabilities for each frame: to be lost, to arrive twice, and
	// to take a detour of up to twice the longest delay, during which those behind it overtake it.
	Loss      float64
	Duplicate float64
	Reorder   float64
}

// DefaultBudget is how many bytes may be under way, or held by the receiving handler,
// from one node to another in each lane, unless Budget sets another number.
const DefaultBudget = 64 << 20

// Option changes what New returns.
type Option interface{ apply(*config) }

type option func(*config)

func (o option) apply(c *config) { o(c) }

type config struct {
	seed   uint64
	budget int
	notice time.Duration
	links0 Link // of nodes that have not met yet
}

// Seed is what the chances of all links derive from. It is 1 unless set.
func Seed(seed uint64) Option { return option(func(c *config) { c.seed = seed }) }

// Links is what happens between any two nodes, unless SetLink or SetLinks changes it.
func Links(l Link) Option { return option(func(c *config) { c.links0 = l }) }

// NoticeAfter is how long a node takes to notice that a peer can no longer be
// reached because of Cut or Partition. It is 0 unless set. A closed peer is noticed
// at once.
func NoticeAfter(d time.Duration) Option { return option(func(c *config) { c.notice = d }) }

// Budget is how many bytes may be under way, or held by the receiving handler, from
// one node to another in each lane. Frames beyond it are refused, and so are frames
// larger than it.
func Budget(bytes int) Option { return option(func(c *config) { c.budget = bytes }) }
