package kafka

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// The client sends offsets of a group that it is a member of, and of no other. So the
// session makes these requests itself, for the client's producer ID. It makes them in the
// version before KIP-890, where the end of a transaction leaves the producer its epoch: the
// client would not learn of a new one.

// offsetsClient returns a client for these requests, which the session closes.
func (s *producing) offsetsClient() (*kgo.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.helper != nil || s.ctx.Err() != nil { // what end closes, it takes under mu once ctx has ended
		return s.helper, s.failure(s.ctx.Err())
	}
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(int16(kmsg.EndTxn), 4)
	versions.SetMaxKeyVersion(int16(kmsg.TxnOffsetCommit), 4)
	client, err := s.cluster.newClient(s.cfg.ClientID, kgo.MaxVersions(versions))
	if err == nil {
		s.helper = client
	}
	return client, err
}

// SendOffsets implements producer.Transactor.
func (s *producing) SendOffsets(ctx context.Context, g consumer.GroupMetadata, offsets map[record.TopicPartition]consumer.Offset) error {
	t := s.transaction
	if t == nil {
		return fault.Newf(fault.InvalidRequest, "the producer has no transactional ID")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := t.enter(); err != nil {
		return err
	}
	defer t.leave()
	if g.Group == "" {
		return s.fail(fault.Newf(fault.InvalidGroup, "offsets are committed for a group, and none is named"))
	}
	if len(offsets) == 0 {
		return nil
	}
	return s.fail(s.failure(s.sendOffsets(ctx, g, offsets)))
}

func (s *producing) sendOffsets(ctx context.Context, g consumer.GroupMetadata, offsets map[record.TopicPartition]consumer.Offset) error {
	client, err := s.offsetsClient()
	if err != nil {
		return err
	}
	id, epoch, err := s.client.ProducerID(ctx)
	if err != nil {
		return err
	}
	s.transaction.mu.Lock()
	s.transaction.offsets = true
	s.transaction.mu.Unlock()
	err = whileEnding(ctx, func() error {
		q := kmsg.NewPtrAddOffsetsToTxnRequest()
		q.TransactionalID, q.ProducerID, q.ProducerEpoch, q.Group = s.transaction.id, id, epoch, g.Group
		a, err := q.RequestWith(ctx, client)
		if err == nil {
			err = kerr.ErrorForCode(a.ErrorCode)
		}
		return err
	})
	if err != nil {
		return err
	}
	q := kmsg.NewPtrTxnOffsetCommitRequest()
	q.TransactionalID, q.Group, q.ProducerID, q.ProducerEpoch = s.transaction.id, g.Group, id, epoch
	q.Generation, q.MemberID = g.MemberEpoch, g.MemberID
	if g.InstanceID != "" {
		q.InstanceID = &g.InstanceID
	}
	byTopic := map[string][]kmsg.TxnOffsetCommitRequestTopicPartition{}
	for tp, o := range offsets {
		p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset, p.LeaderEpoch = tp.Partition, o.Offset, o.LeaderEpoch
		if o.Metadata != "" {
			p.Metadata = &o.Metadata
		}
		byTopic[tp.Topic] = append(byTopic[tp.Topic], p)
	}
	for name, partitions := range byTopic {
		t := kmsg.NewTxnOffsetCommitRequestTopic()
		t.Topic, t.Partitions = name, partitions
		q.Topics = append(q.Topics, t)
	}
	a, err := q.RequestWith(ctx, client)
	if err != nil {
		return err
	}
	for _, t := range a.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return failureAt(err, t.Topic, p.Partition)
			}
		}
	}
	return nil
}

// endOffsets ends a transaction that has offsets and no records.
func (s *producing) endOffsets(commit bool) error {
	client, err := s.offsetsClient()
	if err != nil {
		return err
	}
	id, epoch, err := s.client.ProducerID(s.ctx)
	if err != nil {
		return err
	}
	return whileEnding(s.ctx, func() error {
		q := kmsg.NewPtrEndTxnRequest()
		q.TransactionalID, q.ProducerID, q.ProducerEpoch, q.Commit = s.transaction.id, id, epoch, commit
		a, err := q.RequestWith(s.ctx, client)
		if err == nil {
			err = kerr.ErrorForCode(a.ErrorCode)
		}
		return err
	})
}

// whileEnding makes a request again while the last transaction is being ended.
func whileEnding(ctx context.Context, request func() error) error {
	for pause := markersFirst; ; pause = min(2*pause, markersEvery) {
		err := request()
		if !errors.Is(err, kerr.ConcurrentTransactions) {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}
