package fetch

import (
	"context"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/closing"
	"github.com/runnel-go/runnel/internal/coordinator/group"
	"github.com/runnel-go/runnel/record"
)

// A session ends on the goroutine that fetches, which its callbacks belong to.
// Where that one is within a call, whoever closes asks it to end the session and
// waits. Between two calls there is nobody to ask: Session.Close then is the next
// call itself, while a broker that closes only takes everything away, and the
// next call tells what was lost.

// Close leaves the group and gives everything back. See consumer.Session.
func (s *Session) Close() error {
	switch s.gate.Close() {
	case closing.Mine:
		s.finish()
	case closing.Within:
		s.wake() // whoever is within ends it
		return nil
	case closing.Theirs:
		s.wake()
		late, cancel := closing.Late()
		defer cancel()
		if !s.gate.Wait(late.Done()) {
			return s.giveUpWaiting()
		}
	case closing.Over:
		s.tellLost()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// Abandon is Close by the broker, which is not the goroutine that fetches and
// does not wait for it yet: that is for Await.
func (s *Session) Abandon() {
	if s.gate.Close() != closing.Mine {
		s.wake()
		return
	}
	s.mu.Lock()
	for tp := range s.sources {
		s.untold = append(s.untold, tp)
	}
	s.mu.Unlock()
	s.giveBack()
}

// Await waits until an abandoned session has ended, or until it is too late.
func (s *Session) Await(late <-chan struct{}) error {
	if !s.gate.Wait(late) {
		return s.giveUpWaiting()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// giveUpWaiting takes the member out of its group though the goroutine that
// fetches does not come back, which then finds its partitions lost.
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
	lost, revoked := s.parted()
	s.lose(lost)
	if len(revoked) > 0 {
		s.call(s.cfg.OnRevoked, revoked)
	}
}

// parted returns which of the session's partitions another member may own
// already, and which are still its own.
func (s *Session) parted() (lost, owned []record.TopicPartition) {
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
	known := true
	err := m.shard.View(context.Background(), func(c *group.Coordinator) error {
		known = c.IsMember(s.cfg.Group, m.id)
		return nil
	})
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

// giveBack leaves the group and lets go of everything.
func (s *Session) giveBack() {
	err := s.leaveGroup()
	for _, tp := range s.Assignment() {
		s.drop(tp)
	}
	s.reads.Wait()
	s.mu.Lock()
	s.failure = err
	s.mu.Unlock()
	s.host.RemoveSession(s)
	s.gate.End()
}

// afterEnd is what a call says after the end, when it has told what was lost.
func (s *Session) afterEnd() error {
	s.tellLost()
	return fault.Closed
}

// tellLost tells which partitions went with an abandoned session, once.
func (s *Session) tellLost() {
	s.mu.Lock()
	lost := s.untold
	s.untold = nil
	s.mu.Unlock()
	if len(lost) > 0 {
		sortPartitions(lost)
		s.call(s.cfg.OnLost, lost)
	}
}
