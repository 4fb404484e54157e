package coordinator

import (
	"errors"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator/txn"
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
// fail again. It returns true when each is durable there, or has no place to be; false if
// the broker closes.
func (s *txnShard) mark(e *txn.Ending) bool {
	left := e.Partitions
	for pause := markFirst; ; pause = min(2*pause, markEvery) {
		if left = s.markOnce(e, left); len(left) == 0 {
			return true
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-s.host.Closing():
			timer.Stop()
			return false
		}
	}
}

// markOnce returns the partitions in which it could not write the marker.
func (s *txnShard) markOnce(e *txn.Ending, partitions []record.TopicPartition) (left []record.TopicPartition) {
	told := make(chan marked, len(partitions)) // so that no writer waits
	marker := log.Marker{Commit: e.Commit, CoordinatorEpoch: s.Partition().LeaderEpoch()}
	for _, tp := range partitions {
		p, err := s.placeOf(tp)
		if err != nil {
			told <- marked{tp, err}
			continue
		}
		p.Append(marker.Batch(e.ProducerID, e.Epoch, time.Now().UnixMilli()), nil, marking{tp, told})
	}
	for range partitions {
		if m := <-told; !isMarked(m.err) {
			left = append(left, m.at)
		}
	}
	return left
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
