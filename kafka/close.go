package kafka

import (
	"slices"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/closing"
	"github.com/runnel-go/runnel/record"
)

// Close implements consumer.Session.
func (s *consuming) Close() error {
	switch s.gate.Close() {
	case closing.Mine:
		s.finish()
	case closing.Within:
		s.rouse() // the goroutine within a call ends it
	case closing.Theirs:
		s.rouse()
		late, cancel := closing.Late()
		defer cancel()
		return s.await(late.Done())
	case closing.Over:
		s.tellLost()
	}
	return nil
}

// abandon is Close by the cluster, which does not run on the goroutine that
// fetches. If that goroutine is not within a call, its next call reports the
// lost partitions. Callers call await afterwards.
func (s *consuming) abandon() {
	if s.gate.Close() != closing.Mine {
		s.rouse()
		return
	}
	s.mu.Lock()
	s.silent = true
	s.mu.Unlock()
	s.finish()
}

// await waits until the session has ended, or until late is closed. Then it
// leaves the group even though the goroutine that fetches has not returned.
func (s *consuming) await(late <-chan struct{}) error {
	if s.gate.Wait(late) {
		return nil
	}
	s.mu.Lock()
	s.silent = true
	s.mu.Unlock()
	s.cutting.Do(func() { close(s.cut) })
	s.client.CloseAllowingRebalance()
	s.cluster.removeSession(s)
	return fault.Newf(fault.TimedOut, "a consumer's callback, or what it waits for, took longer than %v: the session was closed under it", closing.Patience)
}

// exit ends a call of the goroutine that fetches.
func (s *consuming) exit() {
	if s.gate.Leave() {
		s.finish()
	}
}

// finish ends the session, on the goroutine that fetches.
func (s *consuming) finish() {
	defer s.gate.End()
	defer s.cluster.removeSession(s)
	left := make(chan struct{})
	go func() {
		defer close(left)
		if s.member {
			id, _ := s.client.GroupMetadata()
			s.client.CloseAllowingRebalance()
			s.leaveAsStatic(id)
		}
	}()
	defer func() { // also if a callback ends this goroutine; the remaining callbacks are then not called
		s.cutting.Do(func() { close(s.cut) })
		<-left
		if !s.member {
			s.client.Close()
		}
	}()
	for waiting := true; waiting; {
		select {
		case <-s.kick:
			s.carryOut()
		case <-left:
			waiting = false
		}
	}
	// The partitions of a session without a group, and those the client did not
	// report.
	if owned := s.Assignment(); len(owned) > 0 {
		if !s.keepSilent(owned) {
			s.tell(s.cfg.OnRevoked, owned)
		}
		s.disown(owned)
	}
}

// isOver calls OnLost for lost partitions and returns the error of a call after
// the session's end.
func (s *consuming) isOver() error {
	s.tellLost()
	return fault.Closed
}

// tellLost calls OnLost for the partitions of an abandoned session, once.
func (s *consuming) tellLost() {
	s.mu.Lock()
	lost := s.untold
	s.untold = nil
	s.mu.Unlock()
	slices.SortFunc(lost, record.TopicPartition.Compare)
	s.tell(s.cfg.OnLost, lost)
}
