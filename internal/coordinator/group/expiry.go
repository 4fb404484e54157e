package group

import (
	"maps"
	"slices"
	"time"

	"github.com/runnel-go/runnel/record"
)

// Heard is what is known of a member.
type Heard struct {
	Fetch time.Time // when it last asked for records: now, for one that is waiting
	Alive time.Time // when it was certainly alive; zero for one in this process, whose end would be known
}

// Expire removes static members that were away for longer than their session
// timeout, members that have not asked for records for longer than their
// rebalance timeout, and those of which nothing was heard for longer than their session
// timeout. It deletes groups that were without members for longer than
// Limits.Retention. Expire also returns when to call it next, or zero.
func (c *Coordinator) Expire(now time.Time, heard func(memberID string) Heard) (Result, time.Time, error) {
	c.begin()
	var next time.Time
	var gone, from []string
	for _, name := range slices.Sorted(maps.Keys(c.groups)) {
		g := c.groups[name]
		for _, m := range g.sorted() {
			var deadline time.Time
			if m.epoch == epochAway {
				if _, ok := c.away[m.id]; !ok { // the log was read again: when it left is not in it
					c.away[m.id] = now
				}
				deadline = c.away[m.id].Add(m.sessionTimeout)
			} else {
				h := heard(m.id)
				deadline = h.Fetch.Add(m.rebalanceTimeout)
				if silent := h.Alive.Add(m.sessionTimeout); !h.Alive.IsZero() && silent.Before(deadline) {
					deadline = silent
				}
			}
			if !now.Before(deadline) {
				gone, from = append(gone, m.id), append(from, name)
				c.evict(g, m, now)
				c.cut()
			} else if next.IsZero() || deadline.Before(next) {
				next = deadline
			}
		}
	}
	if c.expireRound != nil {
		for _, name := range c.classicNames() {
			next = earlier(next, c.expireRound(name, now))
			c.cut()
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.groups)) {
		g := c.groups[name]
		if len(g.members) > 0 || c.hasClassic(name) || c.limits.Retention == 0 {
			continue
		}
		if len(c.pendingOf(name)) > 0 { // its last commit is yet to count
			if again := now.Add(time.Minute); next.IsZero() || again.Before(next) {
				next = again
			}
			continue
		}
		if deadline := c.expiry(g); !now.Before(deadline) {
			c.erase(g, c.cut)
			c.cut()
		} else if next.IsZero() || deadline.Before(next) {
			next = deadline
		}
	}
	result, err := c.end("")
	result.Gone, result.GoneFrom = gone, from
	return result, next, err
}

// expiry returns when a group without members is deleted.
func (c *Coordinator) expiry(g *group) time.Time {
	last := c.left[g.name]
	for _, o := range g.offsets {
		if at := time.UnixMilli(o.committed); at.After(last) {
			last = at
		}
	}
	if g.classic != nil {
		if at := time.UnixMilli(g.classic.since); at.After(last) {
			last = at
		}
	}
	last = last.Add(c.limits.Retention)
	if last.Before(c.limits.ExpireFrom) {
		return c.limits.ExpireFrom
	}
	return last
}

// emptied records when the last member left, from which the group's retention
// counts. Kafka's records have no field for that time. Without it, a coordinator
// that reads the log would count from the last commit, and delete a group whose
// members waited for a long time without a record to read. So emptied stores the
// group's newest offset again, with the present time, unless its time is recent
// enough.
func (c *Coordinator) emptied(g *group, now time.Time) {
	c.left[g.name] = now
	if len(g.members) > 0 || c.limits.Retention == 0 || len(g.offsets) == 0 {
		return
	}
	if len(c.pendingOf(g.name)) > 0 {
		return // what a transaction commits must not be older than what is stored here
	}
	var newest record.TopicPartition
	for tp, o := range g.offsets {
		if n, ok := g.offsets[newest]; !ok || o.committed > n.committed ||
			o.committed == n.committed && tp.Compare(newest) < 0 {
			newest = tp
		}
	}
	o := g.offsets[newest]
	if now.Sub(time.UnixMilli(o.committed)) > c.limits.Retention/100 {
		o.committed = now.UnixMilli()
		c.emit(key{kind: keyOffset, group: g.name, topic: newest.Topic, partition: newest.Partition}, o.encode)
	}
}
