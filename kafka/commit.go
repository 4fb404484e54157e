package kafka

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// Commit implements consumer.Session.
func (s *consuming) Commit(ctx context.Context, offsets map[record.TopicPartition]consumer.Offset) error {
	switch {
	case s.cfg.Group == "":
		return fault.Newf(fault.InvalidGroup, "offsets are committed for a group, and the consumer has none")
	case s.isGone():
		return fault.Closed
	case len(offsets) == 0:
		return nil
	case !s.member:
		return s.cluster.commit(ctx, s.cfg.Group, offsets)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return unsure(ctx, s.commitAsMember(ctx, offsets))
}

// commitAsMember commits with the member's identity and epoch, which the client
// knows.
func (s *consuming) commitAsMember(ctx context.Context, offsets map[record.TopicPartition]consumer.Offset) error {
	all := make(map[string]map[int32]kgo.EpochOffset)
	for tp, o := range offsets {
		if all[tp.Topic] == nil {
			all[tp.Topic] = make(map[int32]kgo.EpochOffset)
		}
		all[tp.Topic][tp.Partition] = kgo.EpochOffset{Epoch: o.LeaderEpoch, Offset: o.Offset}
	}
	annotated := kgo.PreCommitFnContext(ctx, func(req *kmsg.OffsetCommitRequest) error {
		for i := range req.Topics {
			for j := range req.Topics[i].Partitions {
				p := &req.Topics[i].Partitions[j]
				metadata := offsets[record.TopicPartition{Topic: req.Topics[i].Topic, Partition: p.Partition}].Metadata
				p.Metadata = &metadata
			}
		}
		return nil
	})
	var err error
	s.client.CommitOffsetsSync(annotated, all, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, failed error) {
		if failed != nil {
			err = failure(failed)
			return
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if failed := answer(p.ErrorCode, nil, t.Topic, p.Partition); failed != nil && err == nil {
					err = failed
				}
			}
		}
	})
	return err
}

// GroupMetadata implements consumer.Session.
func (s *consuming) GroupMetadata(context.Context) (consumer.GroupMetadata, error) {
	if s.cfg.Group == "" {
		return consumer.GroupMetadata{}, fault.Newf(fault.InvalidGroup, "the consumer has no group")
	}
	m := consumer.GroupMetadata{Group: s.cfg.Group, MemberEpoch: -1, InstanceID: s.cfg.InstanceID}
	if !s.member {
		return m, nil
	}
	if m.MemberID, m.MemberEpoch = s.client.GroupMetadata(); m.MemberID == "" {
		return m, fault.Newf(fault.UnknownMember, "the consumer has not joined group %q yet", s.cfg.Group)
	}
	return m, nil
}

// Committed implements consumer.Session.
func (s *consuming) Committed(ctx context.Context, partitions ...record.TopicPartition) (map[record.TopicPartition]consumer.Offset, error) {
	if s.cfg.Group == "" {
		return nil, fault.Newf(fault.InvalidGroup, "the consumer has no group")
	}
	all, err := s.cluster.GroupOffsets(ctx, s.cfg.Group)
	if err != nil {
		if errors.Is(err, fault.GroupNotFound) {
			return map[record.TopicPartition]consumer.Offset{}, nil
		}
		return nil, err
	}
	maps.DeleteFunc(all, func(tp record.TopicPartition, _ consumer.Offset) bool { return !slices.Contains(partitions, tp) })
	return all, nil
}
