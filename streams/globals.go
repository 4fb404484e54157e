package streams

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// globalLoader reads the topics of an application's global tables: first up to
// their ends, then what comes. It has a consumer of its own, outside the group,
// and an outbox for dead letters.
type globalLoader struct {
	app  *App
	in   consumer.Session
	out  *batches
	ends map[record.TopicPartition]int64 // those that load has not reached
	buf  []record.Record
}

// openGlobals returns the loader of the global tables, and nil if there are none.
func (a *App) openGlobals(ctx context.Context, found layout) (*globalLoader, error) {
	var names []string
	for _, g := range a.plan.topology.globals {
		g.clear()
		names = append(names, g.source.topic)
	}
	if len(names) == 0 {
		return nil, nil
	}
	tps, err := a.partitionsOf(ctx, names)
	if err != nil {
		return nil, err
	}
	cfg := a.consumerConfig("global")
	cfg.Group = ""
	l := &globalLoader{app: a, buf: make([]record.Record, 0, cfg.MaxRecords)}
	if l.in, err = a.backend.OpenConsumer(ctx, cfg); err != nil {
		return nil, err
	}
	if l.out, err = openBatches(ctx, a, cfg.ClientID, found.batchBytes); err != nil {
		return nil, errors.Join(err, l.in.Close())
	}
	if err := l.assign(ctx, tps); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

// loadGlobals opens the loader and reads the global tables as they are now, until
// ctx ends.
func (a *App) loadGlobals(ctx, work context.Context, found layout) (*globalLoader, error) {
	l, err := a.openGlobals(work, found)
	if l == nil || err != nil {
		return nil, err
	}
	if err := l.load(ctx); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

func (l *globalLoader) assign(ctx context.Context, tps []record.TopicPartition) error {
	starts, err := l.in.Offsets(ctx, topic.Earliest(), tps...)
	if err != nil {
		return err
	}
	if l.ends, err = l.in.Offsets(ctx, topic.Latest(), tps...); err != nil {
		return err
	}
	maps.DeleteFunc(l.ends, func(tp record.TopicPartition, end int64) bool { return starts[tp] >= end })
	return l.in.Assign(ctx, slices.Clone(tps))
}

// load reads up to the ends as of the opening.
func (l *globalLoader) load(ctx context.Context) error {
	for len(l.ends) > 0 {
		if err := l.next(ctx); err != nil {
			return err
		}
	}
	return nil
}

// follow reads until ctx ends.
func (l *globalLoader) follow(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := l.next(ctx); err != nil && !ended(err) {
			return err
		}
	}
	return nil
}

// next takes what is fetched next into its table.
func (l *globalLoader) next(ctx context.Context) error {
	f, err := l.in.Fetch(ctx, consumer.UntilDone, l.buf)
	if errors.Is(err, fault.OffsetOutOfRange) {
		return nil // retention deleted records before they were read
	}
	if err != nil {
		return err
	}
	defer l.in.Release(f.Lease)
	g := l.app.plan.topology.globalOf(f.Topic)
	for i := range f.Records {
		if err := g.apply(&f.Records[i], l.app.config.handling, l.out); err != nil {
			return err
		}
	}
	// Next, not the last record's offset: see restore.
	if end, waits := l.ends[f.TopicPartition]; waits && f.Next >= end {
		delete(l.ends, f.TopicPartition)
	}
	return l.out.flush()
}

func (l *globalLoader) close() error { return errors.Join(l.in.Close(), l.out.session.Close()) }
