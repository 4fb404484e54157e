package coordinator

import (
	"context"
	"sync/atomic"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/topic"
)

// shards is the shards of an internal topic, one for each of its partitions. They are
// created when they are first used, and once. It is safe for concurrent use.
type shards[S any] struct {
	loading chan struct{} // holds a token while the shards are created, and for good once it is closed
	created atomic.Pointer[[]S]
}

func newShards[S any]() shards[S] { return shards[S]{loading: make(chan struct{}, 1)} }

// all returns all shards; begin creates that of a partition. It returns none if the topic
// doesn't exist, unless create is true: then ensure creates it.
func (s *shards[S]) all(ctx context.Context, h *host.Host, spec topic.Spec, create bool,
	ensure func(context.Context, topic.Spec) (*host.Topic, error), begin func(t *host.Topic, number int32) S,
) ([]S, error) {
	if created := s.created.Load(); created != nil {
		return *created, nil
	}
	select {
	case s.loading <- struct{}{}:
		defer func() { <-s.loading }()
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-h.Closing():
		return nil, fault.Closed
	}
	if created := s.created.Load(); created != nil {
		return *created, nil
	}
	if _, exists := h.Lookup(spec.Name); !exists && !create {
		return nil, nil
	}
	t, err := ensure(ctx, spec)
	if err != nil {
		return nil, err
	}
	created := make([]S, len(t.Partitions()))
	for i := range created {
		created[i] = begin(t, int32(i))
	}
	s.created.Store(&created)
	return created, nil
}

// known returns all shards, and none only if their topic doesn't exist: a node that has just
// started lacks topics until it has caught up with the catalogue. catchUp is nil where there is one
// copy of that.
func known[S any](ctx context.Context, create bool, catchUp func(context.Context) error, all func(ctx context.Context, create bool) ([]S, error)) ([]S, error) {
	shards, err := all(ctx, create)
	if err != nil || len(shards) > 0 || catchUp == nil {
		return shards, err
	}
	if err := catchUp(ctx); err != nil {
		return nil, err
	}
	return all(ctx, create)
}

// close lets no shards be created any more, and returns those that there are.
func (s *shards[S]) close() []S {
	s.loading <- struct{}{}
	if created := s.created.Load(); created != nil {
		return *created
	}
	return nil
}
