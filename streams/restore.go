package streams

import (
	"context"
	"fmt"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// restore fills the stores of new tasks from their changelogs. It reads up to
// the ends as of its start: only the owner of a task writes to its changelogs.
//
// It reads with a consumer of its own, outside the group, because the group
// assigns the partitions of a thread's session.
func (a *App) restore(ctx context.Context, tasks []*task) error {
	stores := make(map[record.TopicPartition]*restoring)
	var tps []record.TopicPartition
	for _, t := range tasks {
		for _, s := range t.stores {
			tp := record.TopicPartition{Topic: s.changelog, Partition: t.id.Partition}
			stores[tp] = &restoring{taskStore: s, task: t}
			tps = append(tps, tp)
		}
	}
	if len(tps) == 0 {
		return nil
	}
	cfg := a.consumerConfig("restore")
	cfg.Group = ""
	in, err := a.backend.OpenConsumer(ctx, cfg)
	if err != nil {
		return err
	}
	defer in.Close()
	starts, err := in.Offsets(ctx, topic.Earliest(), tps...)
	if err != nil {
		return err
	}
	ends, err := in.Offsets(ctx, topic.Latest(), tps...)
	if err != nil {
		return err
	}
	filled := tps[:0]
	for _, tp := range tps {
		if starts[tp] < ends[tp] {
			filled = append(filled, tp)
		}
	}
	if len(filled) == 0 {
		return nil
	}
	if err := in.Assign(ctx, filled); err != nil {
		return err
	}
	buf := make([]record.Record, 0, cfg.MaxRecords)
	for left := len(filled); left > 0; {
		f, err := in.Fetch(ctx, consumer.UntilDone, buf)
		if err != nil {
			return err
		}
		s := stores[f.TopicPartition]
		if err := s.apply(f.Records); err != nil {
			return err
		}
		in.Release(f.Lease)
		// Next, not the last record's offset: compaction may have removed the
		// records right below the end.
		if f.Next >= ends[f.TopicPartition] && !s.done {
			s.done = true
			left--
		}
	}
	return nil
}

// restoring is a store that is being restored to the end of its changelog.
type restoring struct {
	taskStore
	task *task
	done bool
}

// apply restores records. The store copies what it keeps. Panics of a serde and
// runtime.Goexit are handled as in task.run.
func (s *restoring) apply(records []record.Record) (err error) {
	i, back := 0, false
	defer func() {
		if p := recover(); p != nil { // of a serde
			err = panicked(p)
		} else if !back {
			err = errExited
		}
		if err != nil {
			err = fmt.Errorf("restore the store %s of task %s from %s: %w", s.Name(), s.task.id, records[i].Position(), err)
		}
		if !back {
			s.task.exited = err
		}
	}()
	for i = range records {
		r := &records[i]
		if err = s.Restore(r.Key, r.Value, r.Timestamp.UnixMilli()); err != nil {
			break
		}
	}
	if err == nil {
		err = s.Restored()
	}
	back = true
	return err
}
