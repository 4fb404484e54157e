package streams_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/producer"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
	"github.com/runnel-go/runnel/topic"
)

// losing is a backend whose members lose their partitions, right after they got
// their first record, to another member that does something and leaves.
type losing struct {
	streams.Backend
	meanwhile func()
}

func (l losing) OpenConsumer(ctx context.Context, cfg consumer.Config) (consumer.Session, error) {
	s, err := l.Backend.OpenConsumer(ctx, cfg)
	if err != nil || !cfg.Subscribes() {
		return s, err
	}
	return &losingSession{Session: s, cfg: cfg, meanwhile: l.meanwhile}, nil
}

type losingSession struct {
	consumer.Session
	cfg           consumer.Config
	meanwhile     func()
	brought, lost bool
}

func (s *losingSession) Fetch(ctx context.Context, wait time.Duration, dst []record.Record) (consumer.Fetched, error) {
	if s.brought && !s.lost {
		s.lost = true
		all := s.Assignment()
		s.cfg.OnLost(all)
		s.meanwhile()
		for _, tp := range all {
			if err := s.Seek(ctx, tp, topic.Earliest()); err != nil {
				return consumer.Fetched{Records: dst[:0]}, err
			}
		}
		s.cfg.OnAssigned(all)
	}
	f, err := s.Session.Fetch(ctx, wait, dst)
	s.brought = s.brought || len(f.Records) > 0
	return f, err
}

// A thread that has lost a task drops what it has not sent to the task's
// changelogs: it would overwrite what the task's next owner has written since.
func TestALostTaskWritesNothingMore(t *testing.T) {
	broker := closed(t, openMemory(t))
	create(t, broker, 1, "lines", "totals")
	counts := serde.For("app-counts-changelog", serde.String, serde.Int64)
	b := losing{broker, func() {
		p, err := producer.New(broker)
		require.NoError(t, err)
		_, err = producer.To(p, counts).Send(t.Context(), "a", 5)
		require.NoError(t, err)
		require.NoError(t, p.Close())
	}}
	app, err := streams.New(b, "app", func(topology *streams.Topology) {
		streams.Count(streams.Stream(topology, lines).GroupByKey(), "counts").ToStream().To(totals)
	}, fast, streams.Uncached(), streams.Threads(1))
	require.NoError(t, err)
	p, err := producer.New(broker)
	require.NoError(t, err)
	_, err = producer.To(p, lines).Send(t.Context(), "a", "a line")
	require.NoError(t, err)
	require.NoError(t, p.Close())
	stop := start(app)
	require.NoError(t, app.CaughtUp(t.Context()))
	require.NoError(t, stop())
	var written []int64
	for _, r := range readAll(t, broker, counts) {
		written = append(written, r.Value)
	}
	require.Equal(t, []int64{5, 6}, written)
}
