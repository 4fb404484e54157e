package runnel

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/internal/wire"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/topic"
)

// maxAsked is how many partitions one request asks for.
const maxAsked = 10_000

// leaderAnswers is how long a leader may take to say what it knows of its partitions. A
// description that lacks it is better than one that comes late.
const leaderAnswers = 2 * time.Second

// asked is a partition of which a leader is asked.
type asked struct {
	id     topic.ID
	number int32
	into   *topic.PartitionDescription
}

// askLeaders completes descriptions by what only the partitions' leaders know. A leader
// that does not answer is the leader nevertheless, as far as this node knows.
func (b *Broker) askLeaders(ctx context.Context, descriptions []topic.Description) {
	leaders := map[int32][]asked{}
	for i := range descriptions {
		d := &descriptions[i]
		for n := range d.Partitions {
			if p := &d.Partitions[n]; p.Leader >= 0 && p.Leader != b.node() {
				leaders[p.Leader] = append(leaders[p.Leader], asked{d.ID, p.Number, p})
			}
		}
	}
	if len(leaders) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, leaderAnswers)
	defer cancel()
	var asking sync.WaitGroup
	for _, node := range slices.Sorted(maps.Keys(leaders)) {
		asking.Go(func() {
			for part := range slices.Chunk(leaders[node], maxAsked) {
				if b.askGroups(ctx, node, part) != nil {
					return
				}
			}
		})
	}
	asking.Wait()
}

// askGroups asks a node for the groups of partitions. What it says counts where it leads, and
// where it knows of a later leader than this node does.
func (b *Broker) askGroups(ctx context.Context, node int32, parts []asked) error {
	var w wire.Writer
	w.ArrayLen(len(parts))
	for _, p := range parts {
		w.UUID(p.id)
		w.Int32(p.number)
	}
	answer, err := b.ask(ctx, node, requestGroups, w.B)
	if err != nil {
		return err
	}
	groups, err := decodeGroups(answer)
	if err == nil && len(groups) != len(parts) {
		err = fault.Newf(fault.CorruptMessage, "node %d was asked for %d partitions, and answered for %d", node, len(parts), len(groups))
	}
	for i, g := range groups {
		if err != nil {
			return err
		}
		if p := parts[i].into; g.Epoch >= p.LeaderEpoch && g.Leader >= 0 {
			setGroup(p, g)
		}
	}
	return err
}

// setGroup makes a description say what a node knows of the partition's group.
func setGroup(p *topic.PartitionDescription, g partition.Group) {
	p.Leader, p.LeaderEpoch, p.ISR = g.Leader, g.Epoch, slices.Clone(g.InSync)
	p.Lag = nil
	for _, l := range g.Lag {
		p.Lag = append(p.Lag, topic.Lag{Node: l.Node, Records: l.Records})
	}
}

// serveGroups answers with what this node knows of the groups of partitions, in the order
// in which it is asked for them.
func (b *Broker) serveGroups(_ context.Context, fields []byte) ([]byte, error) {
	r := wire.NewReader(fields)
	n := r.ArrayLen(20)
	topics := map[topic.ID]*host.Topic{}
	for t := range b.host.All() {
		topics[t.ID] = t
	}
	groups := make([]partition.Group, n)
	for i := range groups {
		t, number := topics[r.UUID()], r.Int32()
		groups[i] = partition.Group{Leader: -1, Epoch: -1}
		if t == nil {
			continue
		}
		if open := t.Partitions(); number >= 0 && int(number) < len(open) && !host.IsBroken(open[number]) {
			groups[i], _ = open[number].Group()
		}
	}
	if err := r.End(); err != nil {
		return nil, err
	}
	return encodeGroups(groups), nil
}

func encodeGroups(groups []partition.Group) []byte {
	var w wire.Writer
	w.ArrayLen(len(groups))
	for _, g := range groups {
		w.Int32(g.Leader)
		w.Int32(g.Epoch)
		w.ArrayLen(len(g.InSync))
		for _, n := range g.InSync {
			w.Int32(n)
		}
		w.ArrayLen(len(g.Lag))
		for _, l := range g.Lag {
			w.Int32(l.Node)
			w.Int64(l.Records)
		}
	}
	return w.B
}

// decodeGroups decodes what encodeGroups encoded.
func decodeGroups(b []byte) (groups []partition.Group, err error) {
	r := wire.NewReader(b)
	for n := r.ArrayLen(16); n > 0; n-- {
		g := partition.Group{Leader: r.Int32(), Epoch: r.Int32()}
		for k := r.ArrayLen(4); k > 0; k-- {
			g.InSync = append(g.InSync, r.Int32())
		}
		for k := r.ArrayLen(12); k > 0; k-- {
			g.Lag = append(g.Lag, partition.Lag{Node: r.Int32(), Records: r.Int64()})
		}
		groups = append(groups, g)
	}
	if err := r.End(); err != nil {
		return nil, err
	}
	return groups, nil
}
