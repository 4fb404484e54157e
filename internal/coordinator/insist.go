package coordinator

import (
	"context"
	"errors"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator/group"
)

// While no node leads a group's partition, a call of an administrator is tried again
// after insistFirst, then twice that and so on, up to insistEvery, for insistFor: Kafka's
// default.api.timeout.ms.
const (
	insistFirst = 5 * time.Millisecond
	insistEvery = 500 * time.Millisecond
	insistFor   = time.Minute
)

// insist calls a shard until its partition is led, here or elsewhere. Calls that fail for
// want of a leader have changed nothing.
func (g *Groups) insist(ctx context.Context, s *GroupShard, call func() error) error {
	late := time.Now().Add(insistFor)
	for pause := insistFirst; ; pause = min(2*pause, insistEvery) {
		led := s.isLed() // before the call: it may be led behind it
		err := call()
		if led || !errors.Is(err, fault.NotCoordinator) || time.Now().After(late) {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-g.cfg.Host.Closing():
			timer.Stop()
			return fault.Closed
		case <-ctx.Done():
			timer.Stop()
			return fault.Newf(fault.NotCoordinator, "no node leads the group's partition").Because(ctx.Err())
		}
	}
}

// isLed reports whether a node is known that leads the shard's partition and can read all
// of it.
func (s *GroupShard) isLed() bool {
	g, replicated := s.topic.Partitions()[s.number].Group()
	return !replicated || g.Leader >= 0
}

// view is View of a shard, once it has its partition.
func (g *Groups) view(ctx context.Context, s *GroupShard, fn func(*group.Coordinator) error) error {
	return g.insist(ctx, s, func() error { return s.View(ctx, fn) })
}
