package runnel

import (
	"context"
	"slices"
	"sync"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/coordinator"
	fold "github.com/runnel-go/runnel/internal/coordinator/share"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/internal/sharing"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/share"
	"github.com/runnel-go/runnel/topic"
)

var (
	_ share.Backend = (*Broker)(nil)
	_ share.Admin   = (*Broker)(nil)
)

// shareGroups is what a broker has of share groups: nothing until they are used. A program
// that never uses them does not link them, so only methods that it does not call may name
// what they are made of.
type shareGroups struct {
	mu       sync.Mutex
	groups   interface{ Close() } // a *coordinator.Shares
	sessions any                  // a *sharing.Sessions
}

// close is called when the sessions are closed. No session is opened later.
func (s *shareGroups) close() {
	s.mu.Lock()
	groups := s.groups
	s.mu.Unlock()
	if groups != nil {
		groups.Close()
	}
}

// shareSessions returns the sessions of share consumers, with their coordinators, which it
// makes at the first call.
func (b *Broker) shareSessions() (*sharing.Sessions, *coordinator.Shares, error) {
	if b.replication != nil {
		return nil, nil, fault.Newf(fault.UnsupportedVersion, "share groups need partitions with one copy; these have replicas")
	}
	b.shares.mu.Lock()
	defer b.shares.mu.Unlock()
	if b.shares.groups == nil {
		groups := coordinator.NewShares(coordinator.SharesConfig{Host: b.host, Ensure: b.internalTopic, Reserve: b.reserve})
		b.shares.groups, b.shares.sessions = groups, sharing.New(b.host, groups)
	}
	return b.shares.sessions.(*sharing.Sessions), b.shares.groups.(*coordinator.Shares), nil
}

// OpenShare implements share.Backend. Programs call share.New. A broker whose partitions have
// replicas has no share groups yet: fault.UnsupportedVersion.
func (b *Broker) OpenShare(ctx context.Context, cfg share.Config) (share.Session, error) {
	sessions, _, err := b.shareSessions()
	if err != nil {
		return nil, err
	}
	s, err := sessions.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// ShareGroups lists the names of all share groups, sorted. See share.Admin.
func (b *Broker) ShareGroups(ctx context.Context) ([]string, error) {
	_, groups, err := b.shareSessions()
	if err != nil {
		return nil, err
	}
	return groups.Groups(ctx)
}

// DescribeShareGroup describes a share group. See share.Admin.
func (b *Broker) DescribeShareGroup(ctx context.Context, group string) (share.GroupDescription, error) {
	d := share.GroupDescription{Group: group}
	_, groups, err := b.shareSessions()
	if err != nil {
		return d, err
	}
	all, err := groups.Describe(ctx, group)
	if err != nil {
		return d, err
	}
	names := map[topic.ID]string{}
	for t := range b.host.All() {
		names[t.ID] = t.Name
	}
	for _, one := range all {
		name, exists := names[one.Topic]
		if !exists {
			continue // its topic was deleted
		}
		tp := record.TopicPartition{Topic: name, Partition: one.Partition}
		p, err := b.host.Partition(tp)
		if err != nil {
			return d, err
		}
		d.Partitions = append(d.Partitions, share.PartitionDescription{
			TopicPartition: tp, Start: one.Start, End: one.End, Acquired: one.Acquired, Delayed: one.Delayed, Available: one.Available,
			New: max(p.HighWatermark()-one.End, 0),
		})
	}
	slices.SortFunc(d.Partitions, func(a, b share.PartitionDescription) int { return a.TopicPartition.Compare(b.TopicPartition) })
	return d, nil
}

// DeleteShareGroup deletes a share group with all that it knows of records. See share.Admin.
func (b *Broker) DeleteShareGroup(ctx context.Context, group string) error {
	_, groups, err := b.shareSessions()
	if err != nil {
		return err
	}
	return groups.Delete(ctx, group)
}

// ResetShareGroup has a share group continue where an offset spec says. See share.Admin.
func (b *Broker) ResetShareGroup(ctx context.Context, group string, to topic.OffsetSpec, partitions ...record.TopicPartition) error {
	_, groups, err := b.shareSessions()
	if err != nil {
		return err
	}
	if group == "" {
		return fault.Newf(fault.InvalidGroup, "a group's name has at least one character")
	}
	for _, tp := range partitions {
		p, err := b.writable(tp)
		if err != nil {
			return err
		}
		at, err := host.ListOffset(ctx, p, to, partition.ReadUncommitted)
		if err != nil {
			return err
		}
		if at.Offset < p.StartOffset() || at.Offset > p.HighWatermark() {
			return fault.At(fault.OffsetOutOfRange, tp.Topic, tp.Partition, at.Offset).Detailf("it holds %d to %d", p.StartOffset(), p.HighWatermark())
		}
		t, err := b.host.Topic(tp.Topic)
		if err != nil {
			return err
		}
		if err := groups.Reset(ctx, fold.Key{Group: group, Topic: t.ID, Partition: tp.Partition}, at.Offset); err != nil {
			return err
		}
	}
	return nil
}
