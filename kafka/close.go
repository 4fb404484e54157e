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
		s.rouse() // whoever is within ends it
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

// abandon is Close by the cluster, which is not the goroutine that fetches: where
// that one is not within a call, its next one tells what was lost. await follows.
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

// await waits until the session has ended, or until it is too late: then the group
// is left though the goroutine that fetches does not come back.
func (s *consuming) await(late <-chan struct{}) error {
	if s.gate.Wait(late) {
		return nil
	}
	s.mu.Lock()
	s.silent = true
	s.mu.Unlock()
	s.cutting.Do(func() { close(s.cut) })
	s.client.CloseAllowingRebalance()
	s.cluster.remove(s)
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
	defer s.cluster.remove(s)
	left := make(chan struct{})
	go func() {
		defer close(left)
		if s.member {
			id, _ := s.client.GroupMetadata()
			s.client.CloseAllowingRebalance()
			s.leaveAsStatic(id)
		}
	}()
	defer func() { // also when a callback ends the goroutine: what is left is not told
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
	// Those of a session without a group, and what the client told nothing about.
	if owned := s.Assignment(); len(owned) > 0 {
		if !s.keepSilent(owned) {
			s.tell(s.cfg.OnRevoked, owned)
		}
		s.disown(owned)
	}
}

// isOver is what a call says after the end, when it has told what was lost.
func (s *consuming) isOver() error {
	s.tellLost()
	return fault.Closed
}

// tellLost tells which partitions went with an abandoned session, once.
func (s *consuming) tellLost() {
	s.mu.Lock()
	lost := s.untold
	s.untold = nil
	s.mu.Unlock()
	slices.SortFunc(lost, record.TopicPartition.Compare)
	s.tell(s.cfg.OnLost, lost)
}
