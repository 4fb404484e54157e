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

// insist calls a coordinator until the call comes to it and is answered. What is asked for
// may be asked for again: a call that changes something has a ticket.
func (g *Groups) insist(ctx context.Context, call func() error) error {
	again := func(err error) bool {
		return IsElsewhere(err) || fault.CodeOf(err) == fault.UnknownOutcome && ctx.Err() == nil
	}
	return insist(ctx, g.cfg.Host, "no node coordinates the group", again, call)
}

// insist makes a call until again does not hold for its error. unled is the error's detail if
// ctx ends first.
func insist(ctx context.Context, h *host.Host, unled string, again func(error) bool, call func() error) error {
	late := time.Now().Add(insistFor)
	for pause := insistFirst; ; pause = min(2*pause, insistEvery) {
		err := call()
		if !h.IsReplicated() || !again(err) || time.Now().After(late) {
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
			return fault.Newf(fault.CodeOf(err), "%s", unled).Because(ctx.Err())
		}
	}
}

// insistGone is insist for a call that deletes something of a group: where its outcome was
// unknown, the group that is not found is deleted.
func (g *Groups) insistGone(ctx context.Context, call func() error) error {
	unknown := false
	return g.insist(ctx, func() error {
		err := call()
		if unknown && fault.CodeOf(err) == fault.GroupNotFound {
			return nil
		}
		unknown = unknown || fault.CodeOf(err) == fault.UnknownOutcome
		return err
	})
}
