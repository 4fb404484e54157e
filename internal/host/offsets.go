package host

import (
	"context"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// ListOffsets returns the offset that spec names in each partition, as a level of
// isolation sees it. See topic.Admin.
func (h *Host) ListOffsets(ctx context.Context, spec topic.OffsetSpec, level partition.Isolation, partitions ...record.TopicPartition) (map[record.TopicPartition]topic.ListedOffset, error) {
	offsets := make(map[record.TopicPartition]topic.ListedOffset, len(partitions))
	for _, tp := range partitions {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		p, err := h.Partition(tp)
		if err != nil {
			return nil, err
		}
		if offsets[tp], err = ListOffset(ctx, p, spec, level); err != nil {
			return nil, err
		}
	}
	return offsets, nil
}

// ListOffset returns the offset that spec names in p. The latest one is behind every
// record that was acknowledged before the call, through whichever node; that of committed
// records is as this node knows it.
func ListOffset(ctx context.Context, p Partition, spec topic.OffsetSpec, level partition.Isolation) (topic.ListedOffset, error) {
	var listed topic.ListedOffset
	if at, ok := spec.Time(); ok {
		offset, ms, found, err := p.OffsetForTime(at.UnixMilli())
		if err != nil {
			return listed, err
		}
		if found && (level == partition.ReadUncommitted || offset < p.At(level).Visible()) { // which may lag on this node
			return topic.ListedOffset{Offset: offset, LeaderEpoch: p.EpochAt(offset), Timestamp: time.UnixMilli(ms)}, nil
		}
		spec = topic.Latest()
	}
	switch offset, ok := spec.Offset(); {
	case spec.IsNone():
		return listed, fault.Newf(fault.InvalidRequest, "topic.None names no offset")
	case ok:
		listed.Offset = offset
	case spec.IsLatest():
		latest, err := p.Latest(ctx)
		if err != nil {
			return listed, err
		}
		if listed.Offset = latest; level == partition.ReadCommitted {
			listed.Offset = p.At(level).Visible()
		}
	default:
		listed.Offset = p.Earliest()
	}
	listed.LeaderEpoch = p.EpochAt(listed.Offset)
	return listed, nil
}
