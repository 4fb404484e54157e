package fetch

import (
	"context"
	"errors"
	"time"

	"github.com/runnel-go/runnel/fault"
)

// A group's coordinator moves with the leader of its partition. While it is on its way,
// calls fail without an effect, and the session tries again after searchFirst, then twice
// that and so on, up to searchEvery: its heartbeats always, and calls of the program for
// searchFor.
const (
	searchFirst = 20 * time.Millisecond
	searchEvery = 500 * time.Millisecond
	searchFor   = time.Minute
)

// isElsewhere reports whether an error says that a coordinator is not where it was
// looked for, or not ready.
func isElsewhere(err error) bool {
	return errors.Is(err, fault.NotCoordinator) || errors.Is(err, fault.CoordinatorLoading) || errors.Is(err, fault.CoordinatorNotAvailable)
}

// searchLater has the session send a heartbeat again after a while.
func (s *Session) searchLater() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pause = min(max(2*s.pause, searchFirst), searchEvery)
	if s.search == nil {
		s.search = time.AfterFunc(s.pause, s.changed)
		return
	}
	s.search.Reset(s.pause)
}

// insist calls the group's coordinator until the call comes to it. It gives up, with the
// call's error, after a minute and when the session is closed, and when ctx ends, whose
// error is the cause then.
func (s *Session) insist(ctx context.Context, call func() error) error {
	err := call()
	if !isElsewhere(err) {
		return err
	}
	timer := time.NewTimer(searchFirst)
	defer timer.Stop()
	late := time.Now().Add(searchFor)
	for pause := searchFirst; isElsewhere(err) && time.Now().Before(late) && !s.gate.Closed(); err = call() {
		select {
		case <-timer.C:
		case <-s.host.Closing():
			return fault.Closed
		case <-ctx.Done():
			return fault.At(fault.CodeOf(err), "", -1, -1).Because(ctx.Err())
		}
		pause = min(2*pause, searchEvery)
		timer.Reset(pause)
	}
	return err
}
