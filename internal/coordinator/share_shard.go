package coordinator

import (
	"context"
	"time"

	"github.com/runnel-go/runnel/internal/coordinator/group"
	"github.com/runnel-go/runnel/internal/coordinator/share"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// shareShard is the coordinator of the share-partitions in one partition of
// __share_group_state.
type shareShard struct {
	shard[*share.Coordinator]
	shares *Shares

	// The writer's.
	restarted bool                           // the locks of the previous process have ended, if they must
	waiting   map[share.Key]map[*Waiter]bool // true for one that waits for room
	freed     []freed                        // in this round
	latest    map[shareCaller]int64          // tickets, of the leader epoch in which the state was loaded

	news shareNews
}

// freed is a share-partition of which there is more to acquire.
type freed struct {
	share.Key
	all bool // for all who wait, and not only for those who wait for room
}

// Waiter waits for records that may be acquired. Wake must not block.
type Waiter struct{ Wake func() }

// run runs a command of share groups.
func (s *shareShard) run(ctx context.Context, q *shareRequest, command func(*share.Coordinator) (share.Result, error)) error {
	return s.do(ctx, func(c *share.Coordinator) ([]unit, error) {
		if err := s.admit(q); err != nil {
			return nil, err
		}
		r, err := command(c)
		return s.gather(r), err
	})
}

// view runs a command that changes nothing.
func (s *shareShard) view(ctx context.Context, q *shareRequest, command func(*share.Coordinator)) error {
	return s.shard.view(ctx, func(c *share.Coordinator) error {
		if err := s.admit(q); err != nil {
			return err
		}
		command(c)
		return nil
	})
}

// gather notes whom a result concerns, and returns its records.
func (s *shareShard) gather(r share.Result) []unit {
	if r.Freed || r.Room {
		s.freed = append(s.freed, freed{r.Key, r.Freed})
	}
	return unitOfShare(r.Records)
}

func unitOfShare(records []share.Record) []unit {
	if len(records) == 0 {
		return nil
	}
	u := unit{records: make([]group.Record, len(records))}
	for i, r := range records {
		u.records[i] = group.Record(r)
	}
	return []unit{u}
}

// wait has w woken when there may be more to acquire. It belongs to a command.
func (s *shareShard) wait(k share.Key, w *Waiter, full bool) {
	if s.waiting[k] == nil {
		s.waiting[k] = map[*Waiter]bool{}
	}
	s.waiting[k][w] = full
}

func (s *shareShard) empty() *share.Coordinator { return share.New() }

func (s *shareShard) apply(c *share.Coordinator, b *record.Batch, r *record.Record) error {
	if b.Control() {
		return nil
	}
	return c.Apply(r.Key, r.Value)
}

// prepare, after the first load, ends the locks of members that ended with the previous
// process.
func (s *shareShard) prepare(c *share.Coordinator, loaded bool) (units []unit, err error) {
	if loaded {
		if err := s.shares.catchUp(); err != nil {
			return nil, err
		}
		clear(s.latest)
	}
	if !loaded || s.restarted || s.host.IsReplicated() {
		return nil, nil // members of other nodes live on while coordinators come and go
	}
	all, err := c.Unlock(time.Now())
	for _, r := range all {
		units = append(units, s.gather(r)...)
	}
	return units, err
}

// finish writes a snapshot, if one is due, and deletes what it makes superfluous.
func (s *shareShard) finish(c *share.Coordinator, write func([]unit) error) error {
	s.restarted = true
	if !c.SnapshotDue() {
		return nil
	}
	known := map[topic.ID]bool{}
	for t := range s.host.All() {
		known[t.ID] = true
	}
	c.Forget(func(id topic.ID) bool { return known[id] })
	before := s.Partition().HighWatermark()
	records, err := c.Snapshot()
	if err != nil {
		return err
	}
	var units []unit
	for _, r := range records {
		units = append(units, unitOfShare([]share.Record{r})...)
	}
	if err := write(units); err != nil {
		return err
	}
	_, err = s.Partition().DeleteRecords(before)
	return err
}

// notify wakes those who wait for what the round has made available. If the state was
// discarded, that is all of them.
func (s *shareShard) notify(failed bool) {
	woken := s.freed
	s.freed = nil
	if s.host.IsReplicated() {
		s.news.add(woken, failed)
	}
	if failed {
		for k := range s.waiting {
			woken = append(woken, freed{k, true})
		}
	}
	for _, f := range woken {
		for w, full := range s.waiting[f.Key] {
			if f.all || full {
				delete(s.waiting[f.Key], w)
				w.Wake()
			}
		}
		if len(s.waiting[f.Key]) == 0 {
			delete(s.waiting, f.Key)
		}
	}
}
