package fetch

import (
	"context"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator"
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

// leaveFor is how long a session that ends looks for the coordinator, to commit and to leave.
// A group that does not hear of it expels the member later.
const leaveFor = 5 * time.Second

// isElsewhere reports whether an error says that a coordinator is not where it was
// looked for, or not ready.
func isElsewhere(err error) bool { return coordinator.IsElsewhere(err) }

// isUnknown reports whether an error leaves open what became of a call, because the
// coordinator moved or fell silent. What a member asks for may be asked for again.
func isUnknown(err error) bool { return fault.CodeOf(err) == fault.UnknownOutcome }

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

// insist calls the group's coordinator until the call comes to it and is answered. It gives
// up, with the call's error, after a minute, or after leaveFor once the session is closed,
// and when ctx ends, whose error is the cause then.
func (s *Session) insist(ctx context.Context, call func() error) error {
	began := time.Now()
	return s.insistWhile(ctx, func() bool { return !s.gate.Closed() || time.Since(began) < leaveFor }, call)
}

// insistWhile is insist for as long as goesOn says.
func (s *Session) insistWhile(ctx context.Context, goesOn func() bool, call func() error) error {
	again := func(err error) bool { return isElsewhere(err) || isUnknown(err) && ctx.Err() == nil }
	err := call()
	if !again(err) {
		return err
	}
	timer := time.NewTimer(searchFirst)
	defer timer.Stop()
	late := time.Now().Add(searchFor)
	for pause := searchFirst; again(err) && time.Now().Before(late) && goesOn(); err = call() {
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
