package runnel

import (
	"context"
	"errors"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/metadata"
	"github.com/runnel-go/runnel/internal/wire"
	"github.com/runnel-go/runnel/topic"
)

// change is a command that changes the catalogue. The node that leads the catalogue runs
// it, for itself or for another node, to which it comes as a request.
type change struct {
	kind   changeKind
	specs  []topic.Spec // to create
	names  []string     // to delete, or the one to change
	total  int          // of partitions
	config topic.Config
	ids    []topic.ID // as identify gives them; none in a process of its own

	own   bool  // producer IDs are for this process
	first int64 // a result: a producer ID, or for another node the first of a block
}

type changeKind int8

// The kinds have these numbers between nodes.
const (
	createTopics changeKind = iota + 1
	createInternal
	deleteTopics
	addPartitions
	configureTopic
	allotProducerIDs
	lookUp // changes nothing: who asks has the catalogue then
)

// apply runs a change, as the catalogue's writer. Only the node that leads the catalogue
// judges it: another one may not have heard yet what the change contradicts, or no longer does.
func (b *Broker) apply(c *change) error {
	if err := b.metadata.Leads(); err != nil {
		return err
	}
	switch c.kind {
	case createTopics:
		return b.create(c.specs, c.ids...)
	case createInternal:
		if b.metadata.Catalogue.Topic(c.specs[0].Name) != nil {
			return nil
		}
		return b.create(c.specs)
	case deleteTopics:
		return b.delete(c.names, c.ids...)
	case addPartitions:
		values, err := b.metadata.Catalogue.AddPartitions(c.names[0], c.total, b.nodes())
		if err != nil {
			return err
		}
		return b.commit(values)
	case configureTopic:
		values, err := b.metadata.Catalogue.ConfigureTopic(c.names[0], c.config)
		if err != nil || len(values) == 0 {
			return err
		}
		return b.commit(values)
	case lookUp:
		if err := b.metadata.Confirm(); err != nil {
			return err
		}
		return b.catchUp()
	default:
		allot := b.metadata.AllotProducerIDs
		if c.own {
			allot = b.metadata.NewProducerID
		}
		first, err := allot()
		c.first = first
		return err
	}
}

// While no node leads the catalogue, a change is tried again for a minute, after a pause
// that grows.
const (
	leaderFirst = 20 * time.Millisecond
	leaderEvery = 500 * time.Millisecond
	leaderFor   = time.Minute
)

// change runs a change on the node that leads the catalogue. When it returns, the topics
// of this process are what the change made them. fault.UnknownOutcome where the leader is
// gone and may carry the change out later.
func (b *Broker) change(ctx context.Context, c *change) error {
	late := time.Now().Add(leaderFor)
	for pause := leaderFirst; ; pause = min(2*pause, leaderEvery) {
		err := b.command(ctx, func() error { return b.apply(c) })
		if elsewhere, ok := errors.AsType[*metadata.NotLeader](err); ok && elsewhere.Leader > 0 && elsewhere.Leader != b.node() {
			err = b.forward(ctx, elsewhere.Leader, c)
		}
		if b.cluster != nil && errors.Is(err, fault.UnknownOutcome) && ctx.Err() == nil {
			err = b.cluster.settle(b, ctx, c, err)
		}
		if !isUnled(err) || time.Now().After(late) {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fault.Newf(fault.CodeOf(err), "the catalogue has no leader").Because(ctx.Err())
		case <-b.host.Closing():
			timer.Stop()
			return fault.Closed
		}
	}
}

// lookUp waits until this node has everything that the catalogue had when it was called.
func (b *Broker) lookUp(ctx context.Context) error {
	select {
	case <-b.opened:
	case <-ctx.Done():
		return ctx.Err()
	}
	return b.change(ctx, &change{kind: lookUp})
}

// isUnled reports whether a change certainly has no effect because its leader was not
// found.
func isUnled(err error) bool {
	return errors.Is(err, fault.NotLeader) || errors.Is(err, fault.LeaderNotAvailable) || errors.Is(err, fault.FencedLeaderEpoch) ||
		errors.Is(err, fault.NetworkException)
}

// forward has another node run a change. When it returns, this node has followed.
func (b *Broker) forward(ctx context.Context, node int32, c *change) error {
	answer, err := b.ask(ctx, node, requestChange, c.encode())
	if err != nil {
		return err
	}
	r := wire.NewReader(answer)
	first := r.Int64()
	if err := r.End(); err != nil {
		return fault.Newf(fault.UnknownOutcome, "the answer of node %d", node).Because(err)
	}
	if c.kind == allotProducerIDs {
		c.first = b.metadata.TakeBlock(first)
	}
	return nil
}

// serveChange runs a change for another node. It does not pass it on.
func (b *Broker) serveChange(ctx context.Context, fields []byte) ([]byte, error) {
	c, err := decodeChange(fields)
	if err == nil {
		err = b.command(ctx, func() error { return b.apply(c) })
	}
	if err != nil {
		return nil, err
	}
	var w wire.Writer
	w.Int64(c.first)
	return w.B, nil
}

func (c *change) encode() []byte {
	var w wire.Writer
	w.Int8(int8(c.kind))
	w.ArrayLen(len(c.specs))
	for _, s := range c.specs {
		w.CompactString(s.Name)
		w.Int32(int32(s.Partitions))
		w.Int32(int32(s.Replicas))
		writeConfig(&w, s.Config)
	}
	w.ArrayLen(len(c.names))
	for _, name := range c.names {
		w.CompactString(name)
	}
	w.Int32(int32(c.total))
	writeConfig(&w, c.config)
	w.ArrayLen(len(c.ids))
	for _, id := range c.ids {
		w.UUID(id)
	}
	return w.B
}

func writeConfig(w *wire.Writer, cfg topic.Config) {
	entries := cfg.Entries()
	w.ArrayLen(len(entries))
	for _, e := range entries {
		w.CompactString(e.Name)
		w.CompactString(e.Value)
	}
}

// decodeChange decodes what encode encoded. The change is not nil even with an error.
func decodeChange(b []byte) (*change, error) {
	r := wire.NewReader(b)
	c := &change{kind: changeKind(r.Int8())}
	for n := r.ArrayLen(13); n > 0; n-- {
		s := topic.Spec{Name: r.CompactString(), Partitions: int(r.Int32()), Replicas: int(r.Int32())}
		readConfig(&r, &s.Config)
		c.specs = append(c.specs, s)
	}
	for n := r.ArrayLen(1); n > 0; n-- {
		c.names = append(c.names, r.CompactString())
	}
	c.total = int(r.Int32())
	readConfig(&r, &c.config)
	for n := r.ArrayLen(16); n > 0; n-- {
		c.ids = append(c.ids, r.UUID())
	}
	if err := r.End(); err != nil {
		return c, err
	}
	needs := map[changeKind]bool{
		createTopics: len(c.ids) == len(c.specs), createInternal: len(c.specs) == 1, deleteTopics: len(c.ids) == len(c.names),
		addPartitions: len(c.names) == 1, configureTopic: len(c.names) == 1, allotProducerIDs: true, lookUp: true,
	}
	if !needs[c.kind] {
		return c, fault.Newf(fault.InvalidRequest, "a change of the catalogue of kind %d with %d topics", c.kind, len(c.specs)+len(c.names))
	}
	return c, nil
}

func readConfig(r *wire.Reader, cfg *topic.Config) {
	for n := r.ArrayLen(2); n > 0; n-- {
		name, value := r.CompactString(), r.CompactString()
		if r.Err() != nil {
			return
		}
		if err := cfg.Set(name, value); err != nil {
			r.Fail("%v", err)
			return
		}
	}
}
