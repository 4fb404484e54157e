package replica

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
)

// The methods below make a Replica the handle of its partition. It reads the copy on
// this node, and appends to the leader on whichever node.

// Append appends a batch by the partition's leader, and calls done with its offset once a
// majority has it. Bytes and order are as in partition.Partition.Append, but that recycle
// is not called. With no leader, an append waits for one, for two minutes; of an
// idempotent producer it goes to the next leader until its outcome is known. Other
// appends may end with fault.UnknownOutcome when a leader changes.
func (r *Replica) Append(batch []byte, _ log.Recycler, done partition.Completion) {
	r.route.append(batch, record.Condition{}, done)
}

// AppendIf is Append under a condition, which the leader judges; see
// partition.Partition.AppendIf.
func (r *Replica) AppendIf(batch []byte, condition record.Condition, done partition.Completion) {
	r.route.append(batch, condition, done)
}

// AppendAwait is Append, and waits.
func (r *Replica) AppendAwait(batch []byte) error {
	told := make(awaited, 1)
	r.Append(batch, nil, told)
	return <-told
}

// AppendIn appends a batch if this node leads in that epoch, and waits; see
// partition.Partition.AppendIn.
func (r *Replica) AppendIn(epoch int32, batch []byte) error { return r.Copy().AppendIn(epoch, batch) }

// Leadership returns the leader epoch, and whether this node leads and can read
// everything from before it.
func (r *Replica) Leadership() (epoch int32, leads bool) { return r.Copy().Leadership() }

// Confirm returns nil if this node leads in a leader epoch, which a majority has confirmed
// since the call; fault.NotLeader or fault.FencedLeaderEpoch otherwise. It waits for the
// majority, or until the leadership is lost.
func (r *Replica) Confirm(epoch int32) error {
	if _, err := r.readIndex(r.node.ctx); err != nil {
		return err
	}
	return r.Copy().Confirm(epoch)
}

// awaited is a Completion that one goroutine waits for.
type awaited chan error

// Appended implements partition.Completion.
func (a awaited) Appended(_ int64, err error) { a <- err }

// self implements leaderWay.
func (r *Replica) self() ID { return r.ID() }

// leader returns the leader if one is known that takes appends, or 0.
func (r *Replica) leader() ID {
	s := r.Status()
	if s.Leader == r.ID() && !s.Leading {
		return 0
	}
	return s.Leader
}

// deliver brings a batch to the leader.
func (r *Replica) deliver(batch []byte, condition record.Condition, done func(Result)) {
	s := r.Status()
	switch {
	case s.Leader == r.ID():
		r.part.Load().AppendIf(batch, condition, judged{r, completion(done)})
	case s.Leader == 0:
		done(Result{-1, r.noLeader()})
	default:
		r.node.forward(s.Leader.Node(), r.group, batch, condition, done)
	}
}

// noLeader is the error of an append that no leader takes. If the replica failed, it says why.
func (r *Replica) noLeader() error {
	return fault.At(fault.NotLeader, r.cfg.Disk.Log.Topic, r.cfg.Disk.Log.Partition, -1).Because(r.Status().Err)
}

// completion is a Completion that calls a function.
type completion func(Result)

// Appended implements partition.Completion.
func (c completion) Appended(base int64, err error) { c(Result{base, err}) }

// AppendWaits returns true: an append waits for other nodes.
func (r *Replica) AppendWaits() bool { return true }

// Replicas returns how many voters the group has.
func (r *Replica) Replicas() int { return len(r.Status().Members.Voters) }

// The rest is the copy's: what this node has of the log, up to the high watermark that
// it knows of.

// Err returns why the copy could not be opened, or nil.
func (r *Replica) Err() error { return r.Copy().Err() }

// Settings returns the current settings.
func (r *Replica) Settings() *partition.Settings { return r.Copy().Settings() }

// MinReplicas returns the current Settings' MinReplicas.
func (r *Replica) MinReplicas() int { return r.Copy().MinReplicas() }

// Check returns what is wrong with a batch, whatever the partition holds.
func (r *Replica) Check(batch []byte) error { return r.Copy().Check(batch) }

// CheckSize returns an error for a batch of more bytes than the topic allows.
func (r *Replica) CheckSize(bytes int) error { return r.Copy().CheckSize(bytes) }

// CheckTime returns an error for a record's time that the topic does not allow.
func (r *Replica) CheckTime(ms int64) error { return r.Copy().CheckTime(ms) }

// EndProducer says that a producer of this node appends no more.
func (r *Replica) EndProducer(id int64) { r.Copy().EndProducer(id) }

// DeleteRecords lets the logs of all replicas begin later, by the partition's leader, and
// returns when a majority has the new start: then it never goes back. The copy on this
// node has it, too, unless it lags by more than askAlone. With no leader, it waits for one,
// for half a minute.
func (r *Replica) DeleteRecords(before int64) (int64, error) {
	y, err := askLeader(context.Background(), r, ask{what: askDelete, a: before})
	if err == nil {
		r.follow(y.high)
	}
	return y.value, err
}

// follow waits until the copy on this node has done what the records before an offset say.
// It does not wait long for a copy that lags: whoever waits would be as slow as its disk.
func (r *Replica) follow(high int64) {
	late := time.NewTimer(askAlone)
	defer late.Stop()
	await := func(s signal) bool {
		select {
		case <-s:
			return true
		case <-r.gone:
		case <-late.C:
		}
		return false
	}
	reached := make(signal)
	for copy := r.Copy(); copy.Wait(high-1, reached); copy = r.Copy() {
		if !await(reached) {
			copy.CancelWait(reached)
			return
		}
		reached = make(signal) // the copy has it, or another one has taken its place
	}
	done := make(signal)
	r.disk.then(done.Wake) // behind the write that lets the log begin there
	await(done)
}

// signal is a Waker that one goroutine waits for.
type signal chan struct{}

// Wake implements partition.Waker.
func (s signal) Wake() { close(s) }

// Latest returns the offset after every record that was acknowledged before the call, on
// whichever node: the leader's high watermark, once a majority has confirmed that it
// leads. With no leader, it waits for one, for half a minute.
func (r *Replica) Latest(ctx context.Context) (int64, error) {
	y, err := askLeader(ctx, r, ask{what: askLatest})
	return y.value, err
}

// Earliest returns the first offset that may be read: the leader's, because the copy on this
// node may lag behind a deletion. Where no leader answers, it is the copy's.
func (r *Replica) Earliest() int64 {
	start := r.StartOffset()
	if y, answered := r.consult(ask{what: askLatest}); answered {
		start = max(start, y.start)
	}
	return start
}

// askOnce implements leaderAsker.
func (r *Replica) askOnce(ctx context.Context, q ask) (reply, error) {
	q.group = r.group
	leader := r.Status().Leader
	switch leader {
	case 0:
		return reply{}, fault.At(fault.NotLeader, r.cfg.Disk.Log.Topic, r.cfg.Disk.Log.Partition, -1)
	case r.ID():
		y, _ := r.answer(ctx, q)
		return y, nil
	}
	return r.node.ask(ctx, leader.Node(), q)
}

// place implements leaderAsker.
func (r *Replica) place() (topic string, number int32, gone <-chan struct{}) {
	return r.cfg.Disk.Log.Topic, r.cfg.Disk.Log.Partition, r.gone
}

// StartOffset returns the first offset that may be read here.
func (r *Replica) StartOffset() int64 { return r.Copy().StartOffset() }

// HighWatermark returns the offset after the last record that this node can read.
func (r *Replica) HighWatermark() int64 { return r.Copy().HighWatermark() }

// Visible returns the offset before which readers may see records here.
func (r *Replica) Visible() int64 { return r.Copy().Visible() }

// LeaderEpoch returns the epoch in which the partition is led, as far as this node knows.
func (r *Replica) LeaderEpoch() int32 { return r.Copy().LeaderEpoch() }

// EpochAt returns the leader epoch under which a record was written.
func (r *Replica) EpochAt(offset int64) int32 { return r.Copy().EpochAt(offset) }

// OffsetForTime returns the first record of a time or later: the leader's, because the copy
// on this node may lag. Where no leader answers, it is the copy's.
func (r *Replica) OffsetForTime(ms int64) (offset, timestamp int64, ok bool, err error) {
	if y, answered := r.consult(ask{what: askTime, a: ms}); answered {
		return y.value, y.ms, y.found, nil
	}
	return r.Copy().OffsetForTime(ms)
}

// consult asks the leader, if that is another node and answers soon.
func (r *Replica) consult(q ask) (reply, bool) {
	leader := r.Status().Leader
	if leader == 0 || leader == r.ID() {
		return reply{}, false
	}
	ctx, cancel := context.WithTimeout(context.Background(), askAlone)
	defer cancel()
	y, err := r.askOnce(ctx, q)
	return y, err == nil && y.err == nil
}

// Read reads the copy. What it finds damaged it gets from another replica first, where
// that has it. Of an offset that the copy does not have yet, the leader says whether it
// will: fault.OffsetOutOfRange if not.
func (r *Replica) Read(offset int64, max int, buf []byte) (partition.Slice, error) {
	return r.read(func() reader { return r.Copy() }, offset, max, buf)
}

// reader reads one copy at a level of isolation.
type reader interface {
	Read(offset int64, max int, buf []byte) (partition.Slice, error)
}

// read reads at an offset. A copy that was mended may be another one, so it asks for it
// each time.
func (r *Replica) read(copy func() reader, offset int64, max int, buf []byte) (partition.Slice, error) {
	s, err := copy().Read(offset, max, buf)
	if err != nil && r.heal(err) {
		s, err = copy().Read(offset, max, buf)
	}
	if err == nil && offset > s.HighWatermark {
		err = r.outside(offset)
	}
	return s, err
}

// outside returns fault.OffsetOutOfRange for an offset behind the leader's latest one.
// A reader that has the offset of another replica has one that was committed, and so is
// not behind what a majority confirms now.
func (r *Replica) outside(offset int64) error {
	if y, answered := r.consult(ask{what: askLatest}); answered && offset > y.value {
		return fault.At(fault.OffsetOutOfRange, r.cfg.Disk.Log.Topic, r.cfg.Disk.Log.Partition, offset).
			Detailf("it holds %d to %d", y.start, y.value)
	}
	return nil
}

// Wait waits for records in the copy.
func (r *Replica) Wait(offset int64, w partition.Waker) bool { return r.Copy().Wait(offset, w) }

// At returns the copy's view of a level of isolation.
func (r *Replica) At(level partition.Isolation) partition.View {
	if level == partition.ReadUncommitted {
		return r
	}
	return levelView{r, level}
}

// levelView is a view of whatever copy the replica has.
type levelView struct {
	*Replica
	level partition.Isolation
}

func (v levelView) Visible() int64 { return v.Copy().At(v.level).Visible() }

func (v levelView) Read(offset int64, max int, buf []byte) (partition.Slice, error) {
	return v.read(func() reader { return v.Copy().At(v.level) }, offset, max, buf)
}

func (v levelView) Wait(offset int64, w partition.Waker) bool {
	return v.Copy().At(v.level).Wait(offset, w)
}

// CancelWait ends Wait.
func (r *Replica) CancelWait(w partition.Waker) { r.Copy().CancelWait(w) }

// Scan calls fn for every record of the copy, with its batch.
func (r *Replica) Scan(fn func(*record.Batch, *record.Record) error) error {
	err := r.Copy().Scan(fn)
	if err != nil {
		r.heal(err) // for the next one
	}
	return err
}

// Configure changes the settings of the copy.
func (r *Replica) Configure(s partition.Settings) {
	p := r.Copy()
	p.Configure(copySettings(s))
	p.Acknowledge(0) // what waited for more replicas than are demanded now
	r.demands(s.MinReplicas)
}

// SetSegments changes how the copy's log is cut into segments.
func (r *Replica) SetSegments(bytes int64, age time.Duration) { r.Copy().SetSegments(bytes, age) }

// Group returns who leads, and where this node does, how far the others have got. A
// replica that is about to replace another one of its node has that one's place, and is
// not in sync before it has replaced it.
func (r *Replica) Group() (partition.Group, bool) {
	g, leads := r.led()
	if !leads {
		return g, true
	}
	s := r.inquire()
	silent := r.node.silent() // the leader of a group that rests does not hear of its followers
	if s.Leading {
		g.InSync = append(g.InSync, int32(r.node.cfg.ID))
	}
	for _, p := range s.Peers {
		node := int32(p.ID.Node())
		if p.InSync && s.Members.holds(p.ID) && !slices.Contains(silent, p.ID.Node()) {
			g.InSync = append(g.InSync, node)
		}
		i := slices.IndexFunc(g.Lag, func(l partition.Lag) bool { return l.Node == node })
		switch {
		case i < 0:
			g.Lag = append(g.Lag, partition.Lag{Node: node, Records: p.Lag})
		case p.Active:
			g.Lag[i].Records = p.Lag
		}
	}
	slices.Sort(g.InSync)
	slices.SortFunc(g.Lag, func(a, b partition.Lag) int { return cmp.Compare(a.Node, b.Node) })
	return g, true
}

// led returns who leads and in which epoch, and whether it is this node. It does not wait.
func (r *Replica) led() (g partition.Group, leads bool) {
	s := r.Status()
	g = partition.Group{Leader: -1, Epoch: s.Epoch}
	_, leads = r.Leadership()
	if s.Leader != 0 && (leads || s.Leader != r.ID()) { // a leader that is elected does not lead yet
		g.Leader = int32(s.Leader.Node())
	}
	return g, leads
}

// inquire returns the replica's state as it is now, which Status is not while nothing but
// offsets changes. After the replica has closed, it is the last one.
func (r *Replica) inquire() Status {
	told := make(chan Status, 1)
	r.stepper.post(event{r, func(c *Core) { told <- c.Status() }, 0})
	select {
	case s := <-told:
		return s
	case <-r.gone:
		return r.Status()
	}
}

// Abandon closes the replica, whose topic is deleted, and leaves its files. What was sent
// ends with fault.UnknownTopic, too: whatever became of it is gone with the topic.
func (r *Replica) Abandon() {
	_ = r.shut(func() {}, fault.UnknownTopic, fault.UnknownTopic, (*partition.Partition).Abandon)
}

// Delete closes the replica, whose topic is deleted, and removes its directory.
func (r *Replica) Delete() error {
	r.Abandon()
	return r.Copy().Delete()
}

// copySettings returns the settings of a copy whose topic has s. The disk of the replica
// syncs, once for all that waits.
func copySettings(s partition.Settings) partition.Settings {
	s.Fsync = false
	return s
}

var _ partition.Opened = (*Replica)(nil)
