package runnel

import (
	"context"
	"slices"
	"sync"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/attach"
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

// ShareGroups has the broker coordinate share groups (package share) also for others: for
// processes that attach to its directory, and for the other nodes of its cluster, each of which
// then needs the option. For consumers of its own the broker coordinates them without it. A
// program that has neither does not link what share groups are made of.
func ShareGroups() Option { return option(func(c *config) { c.openShares = (*Broker).makeShares }) }

// shareGroups is what a broker has of share groups: nothing until they are used. So that a program
// which never uses them does not link them, what all programs have refers to them by functions
// alone, which makeShares returns.
type shareGroups struct {
	mu     sync.Mutex
	opened *openedShares
}

// openedShares is what makeShares makes.
type openedShares struct {
	sessions          any // a *sharing.Sessions
	groups            any // a *coordinator.Shares
	attached          *attach.Sharing
	serve             requestHandler
	leadershipChanged func(number int32)
	close             func()
}

// closeShares is called when the sessions are closed. No session is opened later.
func (b *Broker) closeShares() {
	b.shares.mu.Lock()
	opened := b.shares.opened
	b.shares.mu.Unlock()
	if opened != nil {
		opened.close()
	}
}

// sharesForOthers returns the share groups for other processes or nodes.
func (b *Broker) sharesForOthers() (*openedShares, error) {
	b.shares.mu.Lock()
	defer b.shares.mu.Unlock()
	if b.shares.opened == nil && b.openShares != nil {
		b.shares.opened = b.openShares(b)
	}
	if b.shares.opened == nil {
		return nil, fault.Newf(fault.UnsupportedVersion, "the program that has the broker open does not coordinate share groups for others").
			Try("open the broker with runnel.ShareGroups()")
	}
	return b.shares.opened, nil
}

// makeShares makes the sessions of share consumers with their coordinators.
func (b *Broker) makeShares() *openedShares {
	cfg := coordinator.SharesConfig{Host: b.host, Ensure: b.internalTopic, Reserve: b.reserve, Node: b.node()}
	if b.replication != nil {
		cfg.CatchUp = b.lookUp
		cfg.Ask = func(ctx context.Context, node int32, request []byte) ([]byte, error) {
			return b.ask(ctx, node, requestShareGroups, request)
		}
	}
	groups := coordinator.NewShares(cfg)
	return &openedShares{
		sessions: sharing.New(b.host, groups), groups: groups,
		attached: &attach.Sharing{
			Open: b.OpenShare, List: b.ShareGroups, Describe: b.DescribeShareGroup, Delete: b.DeleteShareGroup,
			DeleteOffsets: b.DeleteShareGroupOffsets, Reset: b.ResetShareGroup,
		},
		serve: groups.Serve, leadershipChanged: groups.LeadershipChanged, close: groups.Close,
	}
}

// shareSessions returns what makeShares makes, which it calls once.
func (b *Broker) shareSessions() (*sharing.Sessions, *coordinator.Shares) {
	b.shares.mu.Lock()
	defer b.shares.mu.Unlock()
	if b.shares.opened == nil {
		b.shares.opened = b.makeShares()
	}
	return b.shares.opened.sessions.(*sharing.Sessions), b.shares.opened.groups.(*coordinator.Shares)
}

// serveShares answers another node's request about share groups.
func (b *Broker) serveShares(ctx context.Context, fields []byte) ([]byte, error) {
	opened, err := b.sharesForOthers()
	if err != nil {
		return nil, err
	}
	return opened.serve(ctx, fields)
}

// shareLeadershipChanged tells the coordinators of share groups, if they are open, that they have
// begun or ceased to lead a partition.
func (b *Broker) shareLeadershipChanged(number int32) {
	b.shares.mu.Lock()
	opened := b.shares.opened
	b.shares.mu.Unlock()
	if opened != nil {
		opened.leadershipChanged(number)
	}
}

// OpenShare implements share.Backend. Programs call share.New.
func (b *Broker) OpenShare(ctx context.Context, cfg share.Config) (share.Session, error) {
	sessions, _ := b.shareSessions()
	s, err := sessions.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// ShareGroups lists the names of all share groups, sorted. See share.Admin.
func (b *Broker) ShareGroups(ctx context.Context) ([]string, error) {
	_, groups := b.shareSessions()
	return groups.Groups(ctx)
}

// DescribeShareGroup describes a share group. See share.Admin.
func (b *Broker) DescribeShareGroup(ctx context.Context, group string) (share.GroupDescription, error) {
	d := share.GroupDescription{Group: group}
	_, groups := b.shareSessions()
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
		end, err := host.ListOffset(ctx, p, topic.Latest(), partition.ReadUncommitted)
		if err != nil {
			return d, err
		}
		d.Partitions = append(d.Partitions, share.PartitionDescription{
			TopicPartition: tp, Start: one.Start, End: one.End, Acquired: one.Acquired, Delayed: one.Delayed, Available: one.Available,
			New: max(end.Offset-one.End, 0), Members: one.Members,
		})
	}
	slices.SortFunc(d.Partitions, func(a, b share.PartitionDescription) int { return a.TopicPartition.Compare(b.TopicPartition) })
	return d, nil
}

// DeleteShareGroup deletes a share group with all that it knows of records. See share.Admin.
func (b *Broker) DeleteShareGroup(ctx context.Context, group string) error {
	_, groups := b.shareSessions()
	return groups.Delete(ctx, group)
}

// DeleteShareGroupOffsets has a share group forget what it knows of topics' records. See
// share.Admin.
func (b *Broker) DeleteShareGroupOffsets(ctx context.Context, group string, topics ...string) error {
	_, groups := b.shareSessions()
	if _, err := groups.Describe(ctx, group); err != nil {
		return err
	}
	for _, name := range topics {
		t, err := b.host.Topic(name)
		if err != nil {
			return err
		}
		if err := groups.Forget(ctx, group, t.ID); err != nil {
			return err
		}
	}
	return nil
}

// ResetShareGroup has a share group continue where an offset spec says. See share.Admin.
func (b *Broker) ResetShareGroup(ctx context.Context, group string, to topic.OffsetSpec, partitions ...record.TopicPartition) error {
	_, groups := b.shareSessions()
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
		end, err := host.ListOffset(ctx, p, topic.Latest(), partition.ReadUncommitted)
		if err != nil {
			return err
		}
		if at.Offset < p.StartOffset() || at.Offset > end.Offset {
			return fault.At(fault.OffsetOutOfRange, tp.Topic, tp.Partition, at.Offset).Detailf("it holds %d to %d", p.StartOffset(), end.Offset)
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
