package replica_test

import (
	"bytes"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/replica"
)

const tick = 50 * time.Millisecond

// cluster is replicas in one thread: an event heap, a network and disks, whose
// every choice comes from one seed.
type cluster struct {
	rng    *rand.Rand
	now    time.Duration
	events events
	number uint64
	nodes  []*node
	wires
	diskTime time.Duration

	lost   *node      // has lost its disk, and is being replaced; nil if none
	gone   replica.ID // the replica that it was
	harmed *node      // has a damaged log; nil if none

	truth truth
	account
	groups
	history *history // of what clients did; nil where nobody asks

	stopped  bool          // no more work
	resumed  time.Duration // how long writes took to succeed after the healing
	failures []string
	counts   counts
	trace    trace
}

// wires are the network: how messages fare, and which ways are cut.
type wires struct {
	loss, double, flip float64 // of batches, a bit
	delay              time.Duration
	cut                map[[2]int]time.Duration // until when
	loseSnapshots      int                      // how many get lost without a word
}

// account is what clients sent and were told.
type account struct {
	sent      uint64
	acked     []acked
	latest    int64           // behind all that was acknowledged
	deleted   int64           // before it everything was deleted, which was acknowledged
	sequences map[int64]int32 // what each idempotent producer's next batch in the log begins with
	unknown   int
	refused   int
	lastAck   time.Duration
}

// groups is what the log says of groups.
type groups struct {
	commits []commit         // in the order of the log
	epochs  map[string]int64 // of their members
}

// counts says what a run has been through.
type counts struct {
	messages, snapshots, loads, elections, transfers, changes int

	// Faults.
	crashes, lost, replaced, harms, mended, healed, cuts, flips, pauses, skews, jumps, full, syncs, stuck, retained, deletions, bereft int

	// What clients did.
	reads, fetches, resets, commits, resumptions int
}

// clock is a node's: how fast it goes, and how far from the true time of day it is.
type clock struct {
	rate float64 // 0: as it should
	off  time.Duration
}

// tick is what the node takes for a tick.
func (c clock) tick() time.Duration {
	if c.rate == 0 {
		return tick
	}
	return time.Duration(float64(tick) * c.rate)
}

type trace struct{ sum uint64 }

// add folds values into the hash of the run.
func (t *trace) add(values ...uint64) {
	h := fnv.New64a()
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], t.sum)
	h.Write(b[:])
	for _, v := range values {
		binary.BigEndian.PutUint64(b[:], v)
		h.Write(b[:])
	}
	t.sum = h.Sum64()
}

// acked is a batch whose producer was told that it is there for good.
type acked struct {
	offset int64
	sum    uint64
}

// event is something that happens at a time; events of one time happen in the order
// in which they were made.
type event struct {
	at     time.Duration
	number uint64
	do     func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].number < e[j].number
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// node is a machine with one replica.
type node struct {
	*cluster
	number int
	id     replica.ID
	clock  clock
	disk   *vfs.Crashable
	fs     *vfs.Faulty
	home   *replica.Disk
	core   *replica.Core
	life   int // counts crashes: what was meant for an earlier life does not happen
	up     bool
	paused time.Duration

	queue []replica.DiskWrite
	busy  bool
	out   replica.Output
	high  int64
	seen  int64 // the truth was compared up to here
	epoch int32

	changes []uint64 // where changes of members and log starts were written and not yet recorded

	expectFailure bool
	slow          time.Duration // what its disk takes longer than others
	stuck         time.Duration // until when its disk does nothing

	failedStarts int // in a row
	unhealed     int // how often the damage of its log made it fail, and nobody could repair that

	promised replica.HardState // what others were told: the latest term, and the vote in it
}

func newCluster(n int, seed uint64) *cluster {
	c := &cluster{
		rng:   rand.New(rand.NewPCG(seed, 1)),
		wires: wires{cut: make(map[[2]int]time.Duration), delay: 2 * time.Millisecond}, diskTime: 300 * time.Microsecond,
		account: account{sequences: make(map[int64]int32)}, groups: groups{epochs: make(map[string]int64)},
	}
	var members replica.Membership
	for i := range n {
		members.Voters = append(members.Voters, replica.NewID(replica.NodeID(i+1), 0))
	}
	for _, id := range members.Voters {
		c.add(id, members)
	}
	return c
}

// add adds a node with a new replica.
func (c *cluster) add(id replica.ID, members replica.Membership) *node {
	d := &node{cluster: c, number: len(c.nodes), id: id, disk: vfs.NewCrashable()}
	c.nodes = append(c.nodes, d)
	d.fs = vfs.NewFaulty(d.disk)
	if err := replica.CreateDisk(d.config(), members); err != nil {
		c.failf("node %d: %v", d.number, err)
	}
	d.start()
	c.after(time.Duration(c.rng.Int64N(int64(tick))), d.tick)
	return d
}

const dataDir = "/data/orders-0"

func (d *node) config() replica.DiskConfig {
	return replica.DiskConfig{
		Log: log.Config{FS: d.fs, Dir: dataDir, Topic: "orders", SegmentBytes: 32 << 10, TailBytes: 8 << 10},
		ID:  d.id, Fsync: true,
	}
}

func (c *cluster) failf(format string, args ...any) {
	c.failures = append(c.failures, fmt.Sprintf("%v: ", c.now)+fmt.Sprintf(format, args...))
}

func (c *cluster) after(d time.Duration, do func()) {
	c.number++
	heap.Push(&c.events, event{c.now + d, c.number, do})
}

// run lets time pass, unless something is wrong.
func (c *cluster) run(d time.Duration) {
	for until := c.now + d; len(c.failures) == 0; {
		if len(c.events) == 0 || c.events[0].at > until {
			c.now = until
			return
		}
		e := heap.Pop(&c.events).(event)
		c.now = e.at
		e.do()
	}
}

// runUntil is run until something holds, and reports whether it does.
func (c *cluster) runUntil(d time.Duration, holds func() bool) bool {
	return c.runUntilStep(d, tick, holds)
}

func (c *cluster) runUntilStep(d, step time.Duration, holds func() bool) bool {
	for until := c.now + d; c.now < until && len(c.failures) == 0; c.run(step) {
		if holds() {
			return true
		}
	}
	return holds()
}

// start opens the disk and begins a life.
func (d *node) start() {
	home, state, mendable, err := d.donors().OpenOrMend(d.config())
	if d.harmed == d && (mendable || errors.Is(err, replica.ErrLost)) {
		d.tryAgain(err)
		return
	}
	if err != nil {
		d.failf("node %d does not start: %v", d.number, err)
		return
	}
	d.failedStarts = 0
	d.counts.mended += len(state.Recovery.Restored)
	core, err := replica.New(replica.Config{
		ID: d.id, Topic: "orders", TailBytes: 8 << 10, MessageBytes: 4 << 10, InflightMessages: 8,
	}, state)
	if err != nil {
		d.failf("node %d does not start: %v", d.number, err)
		return
	}
	if p := d.promised; state.State.Term < p.Term || state.State.Term == p.Term && p.Vote != 0 && state.State.Vote != p.Vote {
		d.failf("node %d told others of %+v, and starts with %+v", d.number, p, state.State)
	}
	d.changes = nil
	d.home, d.core, d.up, d.queue, d.busy = home, core, true, nil, false
	d.high, d.seen = 0, max(home.Log().StartOffset(), state.HighWatermark-4000)
	d.trace.add(1, uint64(d.number), state.State.Term, state.State.Commit, uint64(state.HighWatermark))
	d.observe(state.HighWatermark)
}

// tick is the node's clock.
func (d *node) tick() {
	d.after(d.clock.tick(), d.tick)
	if d.running() {
		d.core.Tick(time.UnixMilli(1_600_000_000_000).Add(d.now + d.clock.off))
		d.pump()
	}
}

func (d *node) running() bool { return d.up && d.now >= d.paused }

// live runs do later, unless the node crashed in between. A pause delays it.
func (d *node) live(after time.Duration, do func()) {
	life := d.life
	d.after(after, func() {
		switch {
		case d.life != life || !d.up:
		case d.now < d.paused:
			d.live(min(tick, d.paused-d.now), do) // a healing may end the pause
		default:
			do()
			if d.up && d.life == life {
				d.pump()
			}
		}
	})
}

// pump does what the core wants done.
func (d *node) pump() {
	d.out.Reset()
	d.core.Advance(&d.out)
	if d.out.StateChanged {
		s := d.core.Status()
		if s.Err != nil && errors.Is(s.Err, errSync) {
			d.counts.syncs++
			d.outage(vfs.RandomLoss(d.rng.Uint64()), time.Second)
			return
		}
		if known, healed := d.damaged(s.Err); known {
			if !healed && d.giveUp() {
				return
			}
			d.outage(vfs.RandomLoss(d.rng.Uint64()), time.Second)
			return
		}
		if s.Err != nil && !d.expectFailure {
			d.failf("node %d failed: %v", d.number, s.Err)
			return
		}
		if s.Role == replica.Leader && s.Epoch != d.epoch {
			d.counts.elections++
			d.epoch = s.Epoch
		}
	}
	for _, m := range d.out.Messages {
		d.send(m)
	}
	for i := range d.out.Writes {
		d.examine(&d.out.Writes[i])
	}
	if d.queue = append(d.queue, d.out.Writes...); len(d.queue) > 0 && !d.busy {
		d.busy = true
		d.live(d.jitter(d.diskTime)+d.slow, d.write)
	}
	for _, l := range d.out.Loads {
		d.counts.loads++
		d.live(d.jitter(d.diskTime), func() {
			r := d.home.Load(l)
			_, _ = d.damaged(r.Err) // the follower is tried again
			d.core.Loaded(r)
		})
	}
	if d.out.HighWatermarkMoved {
		d.observe(d.out.HighWatermark)
	}
	for _, r := range d.out.Replies {
		r.Done(r.Result)
	}
}

// examine checks that a write does not record as committed a change of members or a log
// start that is not recorded itself: a replica that starts again takes it for applied.
func (d *node) examine(w *replica.DiskWrite) {
	if w.Start != nil {
		d.changes = nil
	}
	if len(w.Batches) > 0 {
		d.changes = slices.DeleteFunc(d.changes, func(index uint64) bool { return index >= w.First })
	}
	for i, b := range w.Batches {
		if h, err := record.ParseHeader(b); err == nil && h.Control() && (isControl(b, 1000) || isControl(b, 1001)) {
			d.changes = append(d.changes, w.First+uint64(i))
		}
	}
	if len(d.changes) > 0 && w.HasState && w.State.Commit >= d.changes[0] {
		d.failf("node %d records index %d as committed, and not yet what it says of %d", d.number, w.State.Commit, d.changes[0])
	}
	if w.Members != nil || w.LogStart > 0 {
		d.changes = slices.Delete(d.changes, 0, min(1, len(d.changes))) // they are recorded in their order
	}
}

// isControl reports whether a control batch has a record of a type, of version 0.
func isControl(b []byte, kind uint16) bool {
	batch, err := record.Parse(b)
	if err != nil {
		return false
	}
	it, err := batch.Records(nil)
	var r record.Record
	return err == nil && it.Next(&r) && bytes.Equal(r.Key, []byte{0, 0, byte(kind >> 8), byte(kind)})
}

// write does what waits for the disk.
func (d *node) write() {
	if d.now < d.stuck {
		d.live(tick, d.write)
		return
	}
	writes := d.queue
	d.queue = nil
	r := d.home.Do(writes)
	d.core.DiskDone(r)
	if d.busy = len(d.queue) > 0; d.busy {
		d.live(d.jitter(d.diskTime)+d.slow, d.write)
	}
}

func (c *cluster) jitter(d time.Duration) time.Duration {
	return d/2 + time.Duration(c.rng.Int64N(int64(d)+1))
}

// send puts a message on the network, as bytes.
func (d *node) send(m replica.Message) {
	d.counts.messages++
	to := int(m.To.Node()) - 1
	if to >= len(d.nodes) || d.nodes[to].id != m.To {
		d.core.Unreachable(m.To)
		return
	}
	if m.Kind == replica.KindVoteReply || m.Kind == replica.KindAppendReply {
		if m.Term > d.promised.Term {
			d.promised = replica.HardState{Term: m.Term}
		}
		if m.Kind == replica.KindVoteReply && !m.Reject && m.Term == d.promised.Term {
			d.promised.Vote = m.To
		}
	}
	d.trace.add(uint64(d.now), uint64(m.Kind), uint64(m.From), uint64(m.To), m.Term, m.Index, m.Commit, uint64(len(m.Batches)))
	if m.Kind == replica.KindSnapshot {
		d.counts.snapshots++
		if d.loseSnapshots--; d.loseSnapshots >= 0 {
			return
		}
	}
	if d.now < d.cut[[2]int{d.number, to}] || d.rng.Float64() < d.loss {
		if d.rng.IntN(2) == 0 {
			d.core.Unreachable(m.To)
		}
		return
	}
	header := m.AppendHeader(nil)
	for n := 1; n > 0; n-- {
		if d.rng.Float64() < d.double {
			n++
		}
		batches, flipped := d.damage(m.Batches)
		d.after(d.jitter(d.delay), func() { d.nodes[to].receive(header, batches, flipped) })
	}
}

// damage flips a bit of a message's batches now and then, under the checksum of one.
func (c *cluster) damage(batches [][]byte) (damaged [][]byte, flipped bool) {
	if len(batches) == 0 || c.flip == 0 || c.rng.Float64() >= c.flip {
		return batches, false
	}
	c.counts.flips++
	const checksum = 17 // where it stands in a batch
	damaged = slices.Clone(batches)
	i := c.rng.IntN(len(damaged))
	b := bytes.Clone(damaged[i])
	b[checksum+c.rng.IntN(len(b)-checksum)] ^= 1 << c.rng.IntN(8)
	damaged[i] = b
	return damaged, true
}

func (d *node) receive(header []byte, batches [][]byte, damaged bool) {
	if !d.running() {
		return
	}
	m, err := replica.ParseMessage(header, batches...)
	if damaged && err != nil {
		return
	}
	if err != nil {
		d.failf("node %d got a message: %v", d.number, err)
		return
	}
	switch err := d.core.Step(m); {
	case damaged && err == nil && m.To == d.id:
		d.failf("node %d took %v with a batch that is damaged", d.number, m.Kind)
	case !damaged && fault.CodeOf(err) == fault.InvalidRequest && m.To == d.id:
		d.failf("node %d refused %v: %v", d.number, m.Kind, err)
	}
	d.pump()
}

// crash switches a machine off. What its disk is doing is done in part.
func (d *node) crash(loss vfs.Loss) {
	if !d.up {
		return
	}
	d.counts.crashes++
	if len(d.queue) > 0 && d.rng.IntN(2) == 0 {
		d.fs.Add(vfs.Rule{On: vfs.OpChange, Skip: d.rng.IntN(8), Err: errPower})
		_ = d.home.Do(d.queue)
	}
	d.life++
	d.up = false
	d.disk = d.disk.Crash(loss)
	d.fs = vfs.NewFaulty(d.disk)
	d.trace.add(2, uint64(d.number), uint64(d.now))
}

// errSync is what the disk says when a sync fails.
var errSync = errors.New("the sync failed")

var errPower = errors.New("the power is off")

// produce proposes a batch to a node, and keeps account of what it is told.
func (d *node) produce(records int) {
	d.sent++
	d.propose(batchOf(d.sent, records), func(replica.Result) {})
}

// propose proposes a batch to a node, and checks what it is told before done is.
func (d *node) propose(batch []byte, done func(replica.Result)) {
	sum := content(batch)
	h, _ := record.ParseHeader(batch)
	told := func(int64, error) {}
	if h.ProducerID == record.NoProducerID && !bytes.Contains(batch, []byte(commitKey)) {
		told = d.history.call(appended{count: int64(h.Count)})
	}
	d.core.Propose(batch, replica.AcksAll, func(r replica.Result) {
		told(r.Offset, r.Err)
		switch {
		case r.Err == nil:
			d.lastAck = d.now
			d.acked = append(d.acked, acked{r.Offset, sum})
			d.latest = max(d.latest, r.Offset+int64(h.Count))
			if got := d.truth.at(r.Offset); got != sum {
				d.failf("the batch acknowledged at offset %d is not there: %x, not %x", r.Offset, got, sum)
			}
		case errors.Is(r.Err, fault.UnknownOutcome):
			d.unknown++
		case errors.Is(r.Err, fault.OutOfOrderSequence), errors.Is(r.Err, fault.UnknownProducer), errors.Is(r.Err, fault.DuplicateSequence):
			d.failf("node %d refuses a producer that did as it should: %v", d.number, r.Err)
		default:
			d.refused++
		}
		done(r)
	})
	d.pump()
}

// readLatest asks a node for the latest offset, and calls then when it has answered.
func (d *node) readLatest(then func()) {
	latest := d.latest
	told := d.history.call(asked{})
	d.core.ReadIndex(func(r replica.Result) {
		told(r.Offset, r.Err)
		switch {
		case r.Err != nil:
		case r.Offset < latest:
			d.failf("node %d says that the latest offset is %d, and %d was acknowledged before it was asked", d.number, r.Offset, latest)
		default:
			d.counts.reads++
		}
		then()
	})
	d.pump()
}

// idempotent is a producer that sends one batch after the other, each until it is
// acknowledged, and now and then once more.
type idempotent struct {
	*cluster
	id    int64
	next  int32
	try   int
	batch []byte
	told  func(offset int64, err error)
}

func (p *idempotent) send() {
	if p.stopped {
		return
	}
	if p.batch == nil {
		p.sent++
		p.batch = batchOf(p.sent, 1+p.rng.IntN(3))
		record.StampProducer(p.batch, p.id, 0, p.next)
		h, _ := record.ParseHeader(p.batch)
		p.told = p.history.call(appended{count: int64(h.Count)}) // however often it is sent
	}
	p.try++
	try := p.try
	p.after(time.Second, func() { // the node may have crashed
		if p.try == try {
			p.send()
		}
	})
	leaders := p.leaders()
	if len(leaders) == 0 {
		return
	}
	for n := 1 + p.rng.IntN(5)/4; n > 0; n-- {
		to := leaders[p.rng.IntN(len(leaders))]
		if !to.running() {
			continue
		}
		to.propose(bytes.Clone(p.batch), func(r replica.Result) {
			if p.try != try {
				return
			}
			p.try++
			if r.Err == nil {
				p.told(r.Offset, nil)
				h, _ := record.ParseHeader(p.batch)
				p.next, p.batch = p.next+h.Count, nil
			}
			p.after(time.Duration(1+p.rng.IntN(100))*time.Millisecond, p.send)
		})
	}
}

// leaders are the nodes that think they lead.
func (c *cluster) leaders() (leaders []*node) {
	for _, d := range c.nodes {
		if d.running() && d.core.Status().Role == replica.Leader {
			leaders = append(leaders, d)
		}
	}
	return leaders
}

// leader is the one of the latest epoch, or nil.
func (c *cluster) leader() (leader *node) {
	for _, d := range c.leaders() {
		if leader == nil || d.core.Status().Epoch > leader.core.Status().Epoch {
			leader = d
		}
	}
	return leader
}

// batchOf makes a batch as a producer does, that no other one equals.
func batchOf(number uint64, records int) []byte {
	b := record.NewBuilder(1 << 20)
	for i := range records {
		b.Add(1_600_000_000_000+int64(number), nil, fmt.Appendf(nil, "record %d of batch %d, with some more bytes to fill the segments", i, number), nil)
	}
	batch, err := b.Batch(nil, record.None, 0)
	if err != nil {
		panic(err)
	}
	return batch.Bytes
}

// content is a hash of a batch, without what a leader stamps.
func content(batch []byte) uint64 {
	h, _ := record.ParseHeader(batch)
	return uint64(h.CRC)<<32 | uint64(h.Size())
}

// truth is what any replica has shown below its high watermark: batches, from the
// first offset on.
type truth struct {
	offsets []int64
	sums    []uint64
	whole   []uint64 // of all bytes, stamps too
	end     int64
}

// at returns the content of the batch that begins at an offset.
func (t *truth) at(offset int64) uint64 {
	if i, ok := t.find(offset); ok {
		return t.sums[i]
	}
	return 0
}

func (t *truth) find(offset int64) (int, bool) {
	lo, hi := 0, len(t.offsets)
	for lo < hi {
		if mid := (lo + hi) / 2; t.offsets[mid] < offset {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, lo < len(t.offsets) && t.offsets[lo] == offset
}

// observe compares what a replica shows with what others have shown.
func (d *node) observe(high int64) {
	if high < d.high {
		d.failf("the high watermark of node %d went back from %d to %d", d.number, d.high, high)
	}
	d.high = high
	l := d.home.Log()
	if high > l.EndOffset() {
		d.failf("the high watermark of node %d is %d, and its log ends at %d", d.number, high, l.EndOffset())
		return
	}
	for d.seen = max(d.seen, l.StartOffset()); d.seen < high; {
		s, err := l.Read(d.seen, high, 1<<20, nil)
		if known, healed := d.damaged(err); known {
			if next := min(d.truth.end, high); !healed && next > d.seen {
				d.seen = next // what others have shown is compared at the end
			} else if !healed {
				return
			}
			continue
		}
		if err != nil || len(s.Bytes) == 0 {
			d.failf("node %d at offset %d of %d: %v", d.number, d.seen, high, err)
			return
		}
		for b := s.Bytes; len(b) > 0; {
			h, err := record.ParseHeader(b)
			if err != nil {
				d.failf("node %d at offset %d: %v", d.number, d.seen, err)
				return
			}
			d.compare(&h, b[:h.Size()])
			d.seen = h.NextOffset()
			b = b[h.Size():]
		}
	}
}

func (d *node) compare(h *record.BatchHeader, batch []byte) {
	f := fnv.New64a()
	f.Write(batch)
	whole := f.Sum64()
	t := &d.truth
	if h.BaseOffset >= t.end {
		if h.BaseOffset > t.end {
			d.failf("node %d shows offset %d after %d", d.number, h.BaseOffset, t.end)
		}
		if h.ProducerID >= 0 {
			if next := d.sequences[h.ProducerID]; next != h.BaseSequence {
				d.failf("producer %d has sequence %d at offset %d instead of %d", h.ProducerID, h.BaseSequence, h.BaseOffset, next)
			}
			d.sequences[h.ProducerID] = h.LastSequence() + 1
		}
		d.fold(h.BaseOffset, batch)
		t.offsets, t.sums, t.whole = append(t.offsets, h.BaseOffset), append(t.sums, content(batch)), append(t.whole, whole)
		t.end = h.NextOffset()
		return
	}
	if i, ok := t.find(h.BaseOffset); !ok || t.whole[i] != whole {
		d.failf("node %d shows at offset %d another batch than was shown there", d.number, h.BaseOffset)
	}
}

// settled reports whether all nodes show everything there is.
func (c *cluster) settled() bool {
	for _, d := range c.nodes {
		if s := d.core.Status(); !d.running() || s.HighWatermark != c.truth.end || s.EndOffset != c.truth.end {
			return false
		}
	}
	return len(c.leaders()) == 1
}

// check is what must hold at the end, with all nodes up and settled.
func (c *cluster) check() {
	for _, d := range c.nodes {
		d.seen = 0
		d.observe(d.high)
	}
	members := fmt.Sprint(c.nodes[0].core.Status().Members)
	for _, d := range c.nodes {
		if m := fmt.Sprint(d.core.Status().Members); m != members {
			c.failf("the members are %s to node %d and %s to node 0", m, d.number, members)
		}
	}
	for _, d := range c.nodes {
		if start := d.home.Log().StartOffset(); start < c.deleted {
			c.failf("the records before %d were deleted, and the log of node %d begins at %d", c.deleted, d.number, start)
		}
	}
	for _, a := range c.acked {
		if got := c.truth.at(a.offset); got != a.sum {
			c.failf("the batch acknowledged at offset %d is gone", a.offset)
		}
	}
}
