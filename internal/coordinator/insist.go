package coordinator

import (
	"context"
	"errors"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/host"
)

// While no node leads a coordinator's partition, a call is tried again
// after insistFirst, then twice that and so on, up to insistEvery, for insistFor: Kafka's
// default.api.timeout.ms.
const (
	insistFirst = 5 * time.Millisecond
	insistEvery = 500 * time.Millisecond
	insistFor   = time.Minute
)

// IsElsewhere reports whether an error says that a coordinator is not where it was looked
// for, or not ready. The call had no effect.
func IsElsewhere(err error) bool {
	return errors.Is(err, fault.NotCoordinator) || errors.Is(err, fault.CoordinatorLoading) || errors.Is(err, fault.CoordinatorNotAvailable)
}

// insist calls a coordinator until the call comes to it.
func (g *Groups) insist(ctx context.Context, call func() error) error {
	return insist(ctx, g.cfg.Host, "no node coordinates the group", call)
}

// insist makes a call until it comes to its coordinator. unled is the error's detail if ctx
// ends first.
func insist(ctx context.Context, h *host.Host, unled string, call func() error) error {
	late := time.Now().Add(insistFor)
	for pause := insistFirst; ; pause = min(2*pause, insistEvery) {
		err := call()
		if !h.IsReplicated() || !IsElsewhere(err) || time.Now().After(late) {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-h.Closing():
			timer.Stop()
			return fault.Closed
		case <-ctx.Done():
			timer.Stop()
			return fault.Newf(fault.NotCoordinator, "%s", unled).Because(ctx.Err())
		}
	}
}
