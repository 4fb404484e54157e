package share

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/topic"
)

// snapshotEvery is how many bytes of updates are logged, at least, before a snapshot is due.
const snapshotEvery = 256 << 10

// SnapshotDue reports whether the log has grown so much that Snapshot is worth its bytes.
func (c *Coordinator) SnapshotDue() bool { return c.logged > max(snapshotEvery, 4*c.snapshot) }

// Snapshot returns records of all that there is: once they are durable, all earlier ones are
// superfluous.
func (c *Coordinator) Snapshot() ([]Record, error) {
	var all []Record
	size := 0
	for _, k := range slices.SortedFunc(maps.Keys(c.parts), compare) {
		p := c.parts[k]
		v := p.value()
		v.snapshot++
		r, err := c.write(k, keySnapshot, v)
		if err != nil {
			return nil, err
		}
		all = append(all, r.Records...)
		size += len(r.Records[0].Key) + len(r.Records[0].Value)
	}
	c.logged, c.snapshot = 0, size
	return all, nil
}

// value returns a snapshot of p.
func (p *part) value() *value {
	v := &value{snapshot: p.snapshot, epoch: p.epoch, start: p.start(), created: p.created, clock: p.clock, later: p.later, hasLater: len(p.later) > 0}
	next := v.start
	done := func(to int64) {
		if next < to {
			v.batches = append(v.batches, batch{run{first: next, last: to - 1}, stateAcked})
		}
	}
	for _, r := range p.runs {
		done(r.first)
		v.batches = append(v.batches, batch{run: r})
		next = r.last + 1
	}
	done(p.end)
	return v
}

func compare(a, b Key) int {
	return cmp.Or(strings.Compare(a.Group, b.Group), slices.Compare(a.Topic[:], b.Topic[:]), cmp.Compare(a.Partition, b.Partition))
}

// Description describes a share-partition.
type Description struct {
	Topic      topic.ID
	Partition  int32
	Start, End int64 // Kafka's SPSO and SPEO
	Acquired   int64 // offsets that members have locked
	Delayed    int64 // offsets that wait for their time
	Available  int64 // offsets below End that can be acquired

	Members []string // who have locked some, sorted
}

// Groups returns the names of the groups, sorted.
func (c *Coordinator) Groups() []string {
	names := map[string]bool{}
	for k := range c.parts {
		names[k.Group] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// Describe describes the share-partitions of a group, sorted; none if there is no such group.
func (c *Coordinator) Describe(group string, now time.Time) (all []Description) {
	for _, k := range slices.SortedFunc(maps.Keys(c.parts), compare) {
		if k.Group == group {
			all = append(all, c.parts[k].describe(k, now.UnixMilli()))
		}
	}
	return all
}

func (p *part) describe(k Key, ms int64) Description {
	d := Description{Topic: k.Topic, Partition: k.Partition, Start: p.start(), End: p.end}
	for _, l := range p.later {
		d.Delayed += l.count
	}
	for _, r := range p.runs {
		switch {
		case r.until <= ms:
			d.Available += r.len()
		case r.member != "":
			d.Acquired += r.len()
			d.Members = append(d.Members, r.member)
		default:
			d.Delayed += r.len()
		}
	}
	slices.Sort(d.Members)
	d.Members = slices.Compact(d.Members)
	return d
}

// Reset makes a group continue at an offset, with no memory of deliveries. It returns
// fault.NonEmptyGroup while a member has acquired offsets of the share-partition.
func (c *Coordinator) Reset(k Key, start int64, now time.Time) (Result, error) {
	p := c.parts[k]
	if p == nil {
		return c.Initialize(k, start, now)
	}
	if err := p.idle(k, now.UnixMilli()); err != nil {
		return Result{}, err
	}
	v := &value{snapshot: p.snapshot + 1, epoch: p.epoch + 1, start: start, created: p.created, clock: max(now.UnixMilli(), p.clock)}
	result, err := c.write(k, keySnapshot, v)
	result.Freed = true
	return result, err
}

func (p *part) idle(k Key, ms int64) error {
	if n := p.describe(k, ms).Acquired; n > 0 {
		return fault.Newf(fault.NonEmptyGroup, "members of share group %q have acquired %d records of partition %d", k.Group, n, k.Partition)
	}
	return nil
}

// Delete forgets a group, or what it has of one topic. It returns fault.NonEmptyGroup while a
// member has acquired offsets, and no records if there is nothing to forget.
func (c *Coordinator) Delete(group string, of topic.ID, now time.Time) (result Result, err error) {
	var keys []Key
	for k, p := range c.parts {
		if k.Group == group && (of == topic.ID{} || k.Topic == of) {
			if err := p.idle(k, now.UnixMilli()); err != nil {
				return Result{}, err
			}
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, compare)
	for _, k := range keys {
		key, err := k.encode(keySnapshot)
		if err != nil {
			return Result{}, err
		}
		result.Records = append(result.Records, Record{Key: key})
		delete(c.parts, k)
	}
	return result, nil
}

// Forget forgets the share-partitions of topics that do not exist.
func (c *Coordinator) Forget(exists func(topic.ID) bool) {
	maps.DeleteFunc(c.parts, func(k Key, _ *part) bool { return !exists(k.Topic) })
}
