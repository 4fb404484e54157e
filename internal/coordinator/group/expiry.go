package group

import (
	"maps"
	"slices"
	"time"

	"github.com/runnel-go/runnel/record"
)

// Expire takes out the static members that were away for too long and the
// members that have not asked for records for longer than their rebalance
// timeout, and deletes groups that have been without members for longer than
// Limits.Retention. heard returns when a member last did, which is now for one that is
// waiting for records. The time returned is when to call Expire next, or zero.
func (c *Coordinator) Expire(now time.Time, heard func(memberID string) time.Time) (Result, time.Time, error) {
	c.begin()
	var next time.Time
	var gone, from []string
	for _, name := range slices.Sorted(maps.Keys(c.groups)) {
		g := c.groups[name]
		for _, m := range g.sorted() {
			var deadline time.Time
			if m.epoch == epochAway {
				if _, ok := c.away[m.id]; !ok { // it left before the log was read again
					c.away[m.id] = now
				}
				deadline = c.away[m.id].Add(m.sessionTimeout)
			} else {
				deadline = heard(m.id).Add(m.rebalanceTimeout)
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
	for _, name := range slices.Sorted(maps.Keys(c.groups)) {
		g := c.groups[name]
		if len(g.members) > 0 || c.limits.Retention == 0 {
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
	last = last.Add(c.limits.Retention)
	if last.Before(c.limits.ExpireFrom) {
		return c.limits.ExpireFrom
	}
	return last
}

// emptied notes that a member has left, if it was the last one. Kafka's records have
// no place for that time, and a coordinator that is made from the log must not count
// from the last commit, which may be as old as the last record that there was to
// read: the newest offset is stored once more, unless it is new enough.
func (c *Coordinator) emptied(g *group, now time.Time) {
	c.left[g.name] = now
	if len(g.members) > 0 || c.limits.Retention == 0 || len(g.offsets) == 0 {
		return
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
