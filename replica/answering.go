package replica

import (
	"bufio"
	"context"
	"encoding/binary"
	"sync"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/partition"
)

const (
	waitingAsks  = 32      // questions of one stream that are answered at a time, or whose answers are being sent
	waitingWaits = 1 << 16 // of one stream
)

// serveAsks answers another node's questions.
func (n *Node) serveAsks(stream Stream) {
	a, asked := newAnswers(), make(tokens, waitingAsks)
	defer a.serve(stream)()
	w := &waits{answers: a, waiting: make(tokens, waitingWaits), open: map[*waitFor]struct{}{}}
	defer w.close()
	ctx, end := context.WithCancel(n.ctx)
	var answering sync.WaitGroup
	defer answering.Wait()
	defer end()
	r := bufio.NewReader(stream)
	for {
		b, err := readFrame(r, 8+askLen)
		if err != nil || len(b) < 8 {
			return
		}
		q, err := parseAsk(b[8:])
		if err != nil {
			return
		}
		number := binary.BigEndian.Uint64(b)
		if q.what == askWait {
			if !a.take(w.waiting) {
				return
			}
			n.serveWait(w, number, q)
			continue
		}
		if !a.take(asked) {
			return
		}
		answering.Go(func() { a.give(n.answerTo(ctx, number, q), asked) })
	}
}

// answerTo returns the answer to a question as a frame.
func (n *Node) answerTo(ctx context.Context, number uint64, q ask) []byte {
	r, ok := n.Replica(q.group)
	if !ok {
		return n.hasNone().encode(number)
	}
	y, s := r.answer(ctx, q)
	defer s.Release()
	return y.encode(number)
}

// hasNone is the answer of a node that has no replica of the partition.
func (n *Node) hasNone() *reply {
	return &reply{err: fault.Newf(fault.NotLeader, "node %v has no replica of the partition", n.cfg.ID), view: view{leader: -1}}
}

// answer answers a question that does not wait for records. It may wait for the group.
func (r *Replica) answer(ctx context.Context, q ask) (y reply, s partition.Slice) {
	var err error
	switch q.what {
	case askFetch:
		s, err = r.At(q.level).Read(q.a, int(min(max(q.b, 1), maxFetch)), nil)
		y.batches, y.aborted = s.Bytes, s.Aborted
	case askEpoch:
		y.value = int64(r.EpochAt(q.a))
	case askTime:
		y.value, y.ms, y.found, err = r.Copy().OffsetForTime(q.a) // the leader is asked, and asks no one
	case askLatest:
		y.value, err = r.readIndex(ctx)
	case askDelete:
		y.value, err = r.deleteRecords(ctx, q.a)
	}
	y.view, y.err = r.view(), errorIn(err)
	return y, s
}

// view returns what this replica knows. It does not wait: also a Waker calls it, on the
// goroutine that commits.
func (r *Replica) view() view {
	g, _ := r.led()
	v := view{start: r.StartOffset(), epoch: g.Epoch, leader: g.Leader, voters: int32(r.Replicas())}
	for i := range v.visible {
		v.visible[i] = r.At(partition.Isolation(i)).Visible()
	}
	v.high = r.HighWatermark() // read last, because it bounds what is visible
	return v
}

// readIndex returns the latest offset, if this replica leads; see Core.ReadIndex.
func (r *Replica) readIndex(ctx context.Context) (int64, error) {
	answered := make(chan Result, 1)
	r.stepper.post(event{r, func(c *Core) {
		r.wakes()
		c.ReadIndex(func(result Result) { answered <- result })
	}, 0})
	select {
	case result := <-answered:
		return result.Offset, result.Err
	case <-r.gone:
		return -1, fault.Closed
	case <-ctx.Done():
		return -1, fault.At(fault.NotLeader, r.cfg.Disk.Log.Topic, r.cfg.Disk.Log.Partition, -1).Because(context.Cause(ctx))
	}
}

// deleteRecords has the logs of all replicas begin later, if this one leads, and waits until
// its own does.
func (r *Replica) deleteRecords(ctx context.Context, before int64) (int64, error) {
	start, err := r.Copy().DeleteRecords(before)
	if err != nil {
		return start, err
	}
	written := make(chan struct{})
	r.disk.then(func() { close(written) }) // behind the write that lets the log begin there
	select {
	case <-written:
	case <-r.gone:
	case <-ctx.Done():
	}
	return start, nil
}

// waits are the questions of one stream that wait for records.
type waits struct {
	*answers
	waiting tokens

	mu     sync.Mutex
	open   map[*waitFor]struct{}
	closed bool
}

// waitFor is one of them: a partition.Waker, and a timer.
type waitFor struct {
	waits   *waits
	number  uint64
	replica *Replica
	part    partition.View
	late    *time.Timer
}

// maxWait is how long a question waits at the most.
const maxWait = time.Minute

// serveWait answers once there are records, or when its time is up. It does not wait.
func (n *Node) serveWait(w *waits, number uint64, q ask) {
	r, ok := n.Replica(q.group)
	if !ok {
		w.give(n.hasNone().encode(number), w.waiting)
		return
	}
	f := &waitFor{waits: w, number: number, replica: r, part: r.Copy().At(q.level)}
	w.mu.Lock()
	closed := w.closed
	if !closed {
		w.open[f] = struct{}{}
		f.late = time.AfterFunc(time.Duration(min(max(q.b, 0), maxWait.Milliseconds()))*time.Millisecond, f.timeout)
	}
	w.mu.Unlock()
	if !closed && !f.part.Wait(q.a, f) {
		f.Wake()
	}
}

// timeout answers although there are no records.
func (f *waitFor) timeout() {
	f.part.CancelWait(f)
	f.Wake()
}

// Wake implements partition.Waker: it answers, the first time.
func (f *waitFor) Wake() {
	w := f.waits
	w.mu.Lock()
	_, open := w.open[f]
	delete(w.open, f)
	w.mu.Unlock()
	if open {
		f.late.Stop()
		y := reply{view: f.replica.view()}
		w.give(y.encode(f.number), w.waiting)
	}
}

// close ends all that wait.
func (w *waits) close() {
	w.mu.Lock()
	open := w.open
	w.open, w.closed = nil, true
	w.mu.Unlock()
	for f := range open {
		f.part.CancelWait(f)
		f.late.Stop()
	}
}
