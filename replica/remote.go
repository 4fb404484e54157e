package replica

import (
	"context"
	"sync"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// A Remote is the handle of a partition of which its node has no copy. It appends to the
// leader as every handle does, and asks the other nodes for everything else: the leader
// where it is known, otherwise one replica after the other. What it has learned is a view,
// which each answer renews; a reader that has read everything waits at the other node.
//
// While no node answers, its readers wait, and appends look for a leader.
type Remote struct {
	*partition.Rules // of the topic
	node             *Node
	group            GroupID
	at               topic.Placement
	changed          func() // partition.Config's LeadershipChanged: here, that another node leads
	route            route
	ctx              context.Context // ends when the handle is closed
	end              context.CancelFunc

	mu     sync.Mutex
	view   view
	seen   time.Time // when view was learned; zero: never
	turn   int       // of at.Replicas: which one is asked where no leader is known
	looked time.Time // when look asked last; zero: it has its answer
	closed error

	blocked bool // no node answers; readers wait
	retry   *time.Timer
	views   [levels]lookout // by level of isolation
}

var _ partition.Opened = (*Remote)(nil)

// How old a view may be for what is asked of it.
const (
	viewFresh = 20 * time.Millisecond  // where a caller wants to know the bounds
	viewStale = 200 * time.Millisecond // where a caller wants to know the leader
)

// remote returns a handle without a copy.
func (n *Node) remote(at topic.Placement, cfg partition.Config) *Remote {
	r := &Remote{Rules: partition.NewRules(cfg), node: n, group: GroupID{at.ID, at.Partition}, at: at, changed: cfg.LeadershipChanged}
	r.ctx, r.end = context.WithCancel(n.ctx)
	r.view.leader = -1
	r.route.way = r
	for i := range r.views {
		r.views[i].remote, r.views[i].level = r, partition.Isolation(i)
	}
	if r.changed == nil {
		r.changed = func() {}
	}
	return r
}

// learn renews the view by what a replica says. Bounds never go back, and an earlier epoch
// says nothing of the leader. What is visible is what that replica shows.
func (r *Remote) learn(v view) {
	r.mu.Lock()
	known := r.view
	r.view, r.seen = v, time.Now()
	r.view.start, r.view.high = max(v.start, known.start), max(v.high, known.high)
	if v.epoch < known.epoch || v.epoch == known.epoch && v.leader < 0 {
		r.view.epoch, r.view.leader = known.epoch, known.leader
	}
	leader, moved := r.view.leader, r.view.leader != known.leader
	var woken []partition.Waker
	for i := range r.views {
		woken = append(woken, r.views[i].reachLocked(v.visible[i])...)
	}
	r.mu.Unlock()
	for _, w := range woken {
		w.Wake()
	}
	if moved && leader > 0 {
		r.route.ledBy(NewID(NodeID(leader), 0))
	}
	if moved {
		r.changed()
	}
}

// target returns whom to ask.
func (r *Remote) target() NodeID {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.targetLocked()
}

func (r *Remote) targetLocked() NodeID {
	if r.view.leader > 0 {
		return NodeID(r.view.leader)
	}
	return NodeID(r.at.Replicas[r.turn%len(r.at.Replicas)])
}

// failed notes that a node has no answer: another one is asked next.
func (r *Remote) failed(node NodeID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if NodeID(r.view.leader) == node {
		r.view.leader = -1
	}
	if r.targetLocked() == node {
		r.turn++
	}
}

// askNode asks a node, and learns from its answer. An error for which isElsewhere holds is
// returned as such, any other one as part of the answer, naming the partition.
func (r *Remote) askNode(ctx context.Context, to NodeID, q ask) (reply, error) {
	q.group = r.group
	y, err := r.node.ask(ctx, to, q)
	if err == nil && y.err != nil {
		y.err.Topic, y.err.Partition = r.at.Topic, r.at.Partition
		if isElsewhere(y.err) {
			err = y.err
		}
	}
	if y.voters > 0 { // a replica's
		r.learn(y.view)
	}
	if err != nil {
		r.failed(to)
	}
	return y, err
}

// askAny asks the leader or, where it is not known or has no answer, each replica.
func (r *Remote) askAny(q ask) (y reply, err error) {
	for range 1 + len(r.at.Replicas) {
		if err := r.whyClosed(); err != nil {
			return y, err
		}
		ctx, cancel := context.WithTimeout(r.ctx, askAlone)
		y, err = r.askNode(ctx, r.target(), q)
		cancel()
		if err == nil {
			return y, nil
		}
	}
	return y, err
}

// askOnce implements leaderAsker.
func (r *Remote) askOnce(ctx context.Context, q ask) (reply, error) {
	leader := r.ledBy()
	if leader <= 0 {
		if _, err := r.askAny(ask{what: askView}); err != nil {
			return reply{}, err
		}
		if leader = r.ledBy(); leader <= 0 {
			return reply{}, fault.At(fault.NotLeader, r.at.Topic, r.at.Partition, -1)
		}
	}
	return r.askNode(ctx, NodeID(leader), q)
}

func (r *Remote) ledBy() int32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.view.leader
}

// place implements leaderAsker.
func (r *Remote) place() (topic string, number int32, gone <-chan struct{}) {
	return r.at.Topic, r.at.Partition, r.ctx.Done()
}

// known returns the view, which is renewed first if it is older than that. Where no node
// answers, it is as old as it is.
func (r *Remote) known(age time.Duration) view {
	r.mu.Lock()
	fresh := !r.seen.IsZero() && time.Since(r.seen) <= age || r.blocked
	r.mu.Unlock()
	if !fresh {
		if _, err := r.askAny(ask{what: askView}); err != nil {
			r.block()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.view
}

// look asks who leads, and does not wait for the answer.
func (r *Remote) look() {
	r.mu.Lock()
	now, to := time.Now(), r.targetLocked()
	idle := r.closed == nil && now.Sub(r.looked) >= viewStale
	if idle {
		r.looked = now
	}
	r.mu.Unlock()
	if !idle {
		return
	}
	q := ask{what: askView, group: r.group}
	r.node.link(to, StreamAsks, maxReply).send(q.encode(), nil, func(b []byte, err error) {
		if r.take(to, b, err) {
			r.mu.Lock()
			r.looked = time.Time{}
			if r.view.leader <= 0 {
				r.turn++
			}
			r.mu.Unlock()
		}
	})
}

// take takes an answer that nobody waits for, and reports whether a replica has given it.
func (r *Remote) take(from NodeID, b []byte, err error) bool {
	var y reply
	if err == nil {
		y, err = parseReply(b)
	}
	if err != nil || y.voters == 0 {
		r.failed(from)
		return false
	}
	r.learn(y.view)
	return true
}

// self implements leaderWay: this node has no replica.
func (r *Remote) self() ID { return 0 }

// leader implements leaderWay. Where none is known, deliver looks for it.
func (r *Remote) leader() ID { return NewID(r.target(), 0) }

// noLeader implements leaderWay.
func (r *Remote) noLeader() error { return fault.At(fault.NotLeader, r.at.Topic, r.at.Partition, -1) }

// deliver implements leaderWay.
func (r *Remote) deliver(batch []byte, condition record.Condition, done func(Result)) {
	leader := r.ledBy()
	if leader <= 0 {
		r.look()
		done(Result{-1, r.noLeader()})
		return
	}
	r.node.forward(NodeID(leader), r.group, batch, condition, func(result Result) {
		if isElsewhere(result.Err) {
			r.failed(NodeID(leader))
		}
		done(result)
	})
}

// Append appends a batch by the partition's leader; see Replica.Append.
func (r *Remote) Append(batch []byte, _ log.Recycler, done partition.Completion) {
	r.route.append(batch, record.Condition{}, done)
}

// AppendIf is Append under a condition; see Replica.AppendIf.
func (r *Remote) AppendIf(batch []byte, condition record.Condition, done partition.Completion) {
	r.route.append(batch, condition, done)
}

// AppendAwait is Append, and waits.
func (r *Remote) AppendAwait(batch []byte) error {
	told := make(awaited, 1)
	r.Append(batch, nil, told)
	return <-told
}

// AppendIn fails with fault.NotLeader: this node never leads.
func (r *Remote) AppendIn(int32, []byte) error { return r.noLeader() }

// AppendWaits returns true: an append waits for other nodes.
func (r *Remote) AppendWaits() bool { return true }

// Leadership returns the leader epoch as it was last heard, and false: this node never
// leads.
func (r *Remote) Leadership() (epoch int32, leads bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.view.epoch, false
}

// Confirm fails with fault.NotLeader: this node never leads.
func (r *Remote) Confirm(int32) error { return r.noLeader() }

// Err returns nil: there is nothing here that could not be opened.
func (r *Remote) Err() error { return nil }

// whyClosed returns why the handle is closed, or nil.
func (r *Remote) whyClosed() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}

// Replicas returns how many replicas the partition has.
func (r *Remote) Replicas() int { return len(r.at.Replicas) }

// EndProducer does nothing: the leader forgets producers in time.
func (r *Remote) EndProducer(int64) {}

// DeleteRecords is as Replica.DeleteRecords.
func (r *Remote) DeleteRecords(before int64) (int64, error) {
	y, err := askLeader(r.ctx, r, ask{what: askDelete, a: before})
	return y.value, err
}

// Latest is as Replica.Latest.
func (r *Remote) Latest(ctx context.Context) (int64, error) {
	y, err := askLeader(ctx, r, ask{what: askLatest})
	return y.value, err
}

// Earliest is as Replica.Earliest.
func (r *Remote) Earliest() int64 {
	ctx, cancel := context.WithTimeout(context.Background(), askAlone)
	defer cancel()
	start := r.StartOffset()
	if y, err := r.askOnce(ctx, ask{what: askLatest}); err == nil && y.err == nil {
		start = max(start, y.start)
	}
	return start
}

// StartOffset returns the first offset that may be read, as a replica has it now.
func (r *Remote) StartOffset() int64 { return r.known(viewFresh).start }

// HighWatermark returns the offset after the last record that a replica has shown.
func (r *Remote) HighWatermark() int64 { return r.known(viewFresh).high }

// At returns the view of a level of isolation.
func (r *Remote) At(level partition.Isolation) partition.View { return &r.views[level] }

// Visible returns the offset before which readers may see records, as it was last heard.
func (r *Remote) Visible() int64 { return r.views[partition.ReadUncommitted].Visible() }

// Read reads from another node. Where none answers, it returns nothing, as at the end of
// what is visible; Wait waits until one does.
func (r *Remote) Read(offset int64, most int, buf []byte) (partition.Slice, error) {
	return r.views[partition.ReadUncommitted].Read(offset, most, buf)
}

// Wait is as partition.Partition.Wait.
func (r *Remote) Wait(offset int64, w partition.Waker) bool {
	return r.views[partition.ReadUncommitted].Wait(offset, w)
}

// CancelWait cancels w's Waits.
func (r *Remote) CancelWait(w partition.Waker) { r.views[partition.ReadUncommitted].CancelWait(w) }

// LeaderEpoch returns the epoch in which the partition is led, as it was last heard.
func (r *Remote) LeaderEpoch() int32 { return r.known(time.Hour).epoch }

// EpochAt returns the leader epoch under which a record was written, -1 where no node
// answers.
func (r *Remote) EpochAt(offset int64) int32 {
	y, err := r.askAny(ask{what: askEpoch, a: offset})
	if err != nil || y.err != nil {
		return -1
	}
	return int32(y.value)
}

// OffsetForTime returns the first record of a time or later.
func (r *Remote) OffsetForTime(ms int64) (offset, timestamp int64, ok bool, err error) {
	y, err := r.askAny(ask{what: askTime, a: ms})
	if err == nil && y.err != nil {
		err = y.err
	}
	return y.value, y.ms, y.found, err
}

// Scan calls fn for every record that is visible, with its batch.
func (r *Remote) Scan(fn func(*record.Batch, *record.Record) error) error {
	return partition.Scan(r, r.Codec(), fn)
}

// Copy returns nil: this node has none.
func (r *Remote) Copy() *partition.Partition { return nil }

// Group returns who leads, as it was heard not long ago.
func (r *Remote) Group() (partition.Group, bool) {
	v := r.known(time.Hour)
	r.mu.Lock()
	stale := time.Since(r.seen) > viewStale
	r.mu.Unlock()
	if stale || v.leader <= 0 {
		r.look()
	}
	return partition.Group{Leader: v.leader, Epoch: v.epoch}, true
}

// SetSegments does nothing: there is no log here.
func (r *Remote) SetSegments(int64, time.Duration) {}

// Abandon closes the handle, whose topic is deleted. What was sent ends with
// fault.UnknownTopic, too.
func (r *Remote) Abandon() { r.shut(fault.UnknownTopic, fault.UnknownTopic) }

// Delete is Abandon.
func (r *Remote) Delete() error {
	r.Abandon()
	return nil
}

// Close closes the handle: its appends fail, and its readers find it closed.
func (r *Remote) Close() error {
	r.shut(fault.Closed, fault.UnknownOutcome)
	return nil
}

func (r *Remote) shut(queued, sent fault.Code) {
	place := func(code fault.Code) error { return fault.At(code, r.at.Topic, r.at.Partition, -1) }
	r.mu.Lock()
	first := r.closed == nil
	if first {
		r.closed = place(queued)
	}
	var woken []partition.Waker
	for i := range r.views {
		woken = append(woken, r.views[i].closeLocked()...)
	}
	if r.retry != nil {
		r.retry.Stop()
	}
	r.mu.Unlock()
	if !first {
		return
	}
	r.end()
	for _, w := range woken {
		w.Wake()
	}
	r.route.close(place(queued), place(sent))
}
