package fetch

import (
	"context"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/closing"
	"github.com/runnel-go/runnel/record"
)

// A session ends on the goroutine that fetches, because its callbacks run there. If that
// goroutine is within a call, a Close from elsewhere asks it to end the session, and
// waits. Between two calls no goroutine is there to ask. Then Session.Close ends the
// session itself: it counts as a call of that goroutine. A broker that closes must not
// run callbacks on its own goroutine, so it only gives everything back (Abandon), and
// the next call reports the lost partitions.

// Close leaves the group and releases everything. See consumer.Session.
func (s *Session) Close() error {
	s.end()
	switch s.gate.Close() {
	case closing.Mine:
		s.finish()
	case closing.Within:
		s.wake() // the goroutine within a call ends it
		return nil
	case closing.Theirs:
		s.wake()
		late, cancel := closing.Late()
		defer cancel()
		if !s.gate.Wait(late.Done()) {
			return s.giveUpWaiting()
		}
	case closing.Over:
		s.reportLost()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// Abandon is Close by the broker, from another goroutine than the one that fetches. It
// doesn't wait for that one; Await does. So a broker can close many sessions at once.
func (s *Session) Abandon() {
	s.end()
	if s.gate.Close() != closing.Mine {
		s.wake()
		return
	}
	s.mu.Lock()
	for tp := range s.sources {
		s.unreported = append(s.unreported, tp)
	}
	s.mu.Unlock()
	s.giveBack()
}

// Await waits until an abandoned session has ended, or until late is closed.
func (s *Session) Await(late <-chan struct{}) error {
	if !s.gate.Wait(late) {
		return s.giveUpWaiting()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// giveUpWaiting takes the member out of its group although the goroutine that fetches
// has not returned, for example from a callback. That goroutine later finds its
// partitions lost.
func (s *Session) giveUpWaiting() error {
	s.mu.Lock()
	s.cut = true
	s.mu.Unlock()
	s.host.RemoveSession(s)
	_ = s.leaveGroup()
	return fault.Newf(fault.TimedOut, "a consumer's callback, or what it waits for, took longer than %v: the session was closed under it", closing.Patience)
}

// exit ends a call of the goroutine that fetches.
func (s *Session) exit() {
	if s.gate.Leave() {
		s.finish()
	}
}

// finish ends the session, on the goroutine that fetches.
func (s *Session) finish() {
	defer s.giveBack()
	lost, revoked := s.lostAndOwned()
	s.lose(lost)
	if len(revoked) > 0 {
		s.call(s.cfg.OnRevoked, revoked)
	}
}

// lostAndOwned returns which of the session's partitions another member may own
// already, and which are still its own.
func (s *Session) lostAndOwned() (lost, owned []record.TopicPartition) {
	all := s.Assignment()
	if !s.cfg.Subscribes() {
		return nil, all
	}
	m := s.membership()
	s.mu.Lock()
	cut := s.cut
	s.mu.Unlock()
	if cut || m.id == "" {
		return all, nil
	}
	known, err := m.coordinator.IsMember(context.Background(), s.cfg.Group, m.id)
	if err == nil && !known {
		return all, nil
	}
	for _, tp := range all {
		src, err := s.source(tp)
		if err != nil {
			continue
		}
		if s.host.Has(tp.Topic, src.id) {
			owned = append(owned, tp)
		} else {
			lost = append(lost, tp)
		}
	}
	return lost, owned
}

// giveBack leaves the group and releases everything.
func (s *Session) giveBack() {
	err := s.leaveGroup()
	for _, tp := range s.Assignment() {
		s.drop(tp)
	}
	s.reads.Wait()
	s.mu.Lock()
	if s.search != nil {
		s.search.Stop()
	}
	s.failure = err
	s.mu.Unlock()
	s.host.RemoveSession(s)
	s.gate.End()
}

// afterEnd returns the error of a call after the session's end, and reports what was
// lost with it.
func (s *Session) afterEnd() error {
	s.reportLost()
	return fault.Closed
}

// reportLost calls OnLost, once, for the partitions that an abandoned session had.
func (s *Session) reportLost() {
	s.mu.Lock()
	lost := s.unreported
	s.unreported = nil
	s.mu.Unlock()
	if len(lost) > 0 {
		sortPartitions(lost)
		s.call(s.cfg.OnLost, lost)
	}
}
