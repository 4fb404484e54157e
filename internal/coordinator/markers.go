package coordinator

import (
	"context"
	"errors"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator/group"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
)

// While a marker cannot be written, it is tried again after markFirst, then twice that and
// so on, up to markEvery, until the broker closes.
const (
	markFirst = 10 * time.Millisecond
	markEvery = 5 * time.Second
)

// marked is the outcome of a marker in one partition.
type marked struct {
	at  record.TopicPartition
	err error
}

// marking is a Completion of one marker.
type marking struct {
	at   record.TopicPartition
	told chan<- marked
}

// Appended implements partition.Completion.
func (m marking) Appended(_ int64, err error) { m.told <- marked{m.at, err} }

// mark writes a transaction's markers into its partitions, at the same time, and those that
// fail again. It returns nil when each is durable there, or has no place to be;
// fault.Closed if the broker closes, and fault.NotCoordinator once another coordinator has
// that to do.
func (s *txnShard) mark(e *ending) error {
	left := e.Partitions
	for pause := markFirst; ; pause = min(2*pause, markEvery) {
		var err error
		if left, err = s.markOnce(e, left); err != nil || len(left) == 0 {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-s.host.Closing():
			timer.Stop()
			return fault.Closed
		}
		if !s.leads(e.epoch) {
			return s.notCoordinator()
		}
	}
}

// markOnce returns the partitions in which it could not write the marker. A partition
// without a leader may make it wait.
func (s *txnShard) markOnce(e *ending, partitions []record.TopicPartition) (left []record.TopicPartition, err error) {
	told := make(chan marked, len(partitions)) // so that no writer waits
	marker := log.Marker{Commit: e.Commit, CoordinatorEpoch: e.epoch}
	for _, tp := range partitions {
		if tp.Topic == group.OffsetsTopic.Name { // whose coordinator is its only writer
			s.transactions.work.Go(func() {
				told <- marked{tp, s.transactions.cfg.Groups.EndTransaction(context.Background(), tp.Partition, e.Identity, e.Commit, marker.CoordinatorEpoch)}
			})
			continue
		}
		p, err := s.placeOf(tp)
		if err != nil {
			told <- marked{tp, err}
			continue
		}
		p.Append(marker.Batch(e.ProducerID, e.Epoch, time.Now().UnixMilli()), nil, marking{tp, told})
	}
	for range partitions {
		select {
		case m := <-told:
			if !isMarked(m.err) {
				left = append(left, m.at)
			}
		case <-s.host.Closing():
			return partitions, fault.Closed
		}
	}
	return left, nil
}

// placeOf returns a partition of a transaction.
func (s *txnShard) placeOf(tp record.TopicPartition) (host.Partition, error) {
	t, err := s.host.Topic(tp.Topic)
	if err != nil {
		return nil, err
	}
	return s.host.Sound(t, tp.Partition)
}

// isMarked reports whether a marker needs no more tries: it is there, its topic was
// deleted, or a later marker is there.
func isMarked(err error) bool {
	return err == nil || errors.Is(err, fault.UnknownTopic) || errors.Is(err, fault.InvalidProducerEpoch) || errors.Is(err, fault.CoordinatorFenced)
}
