package streams

import (
	"math"
	"slices"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// Clock says which time drives a punctuation.
type Clock uint8

const (
	// StreamTime is the largest timestamp that the task has read. It stands still
	// while no records come.
	StreamTime Clock = iota

	// WallClock is the time of day.
	WallClock
)

// Punctuation is a call that a processor has scheduled. It belongs to the task's
// goroutine, as everything that a processor has.
type Punctuation struct {
	step
	clock Clock
	every int64 // in milliseconds
	due   int64 // in milliseconds, on the clock
	call  func(now time.Time) error
}

// Cancel ends the calls. It may be called from within one.
func (p *Punctuation) Cancel() {
	t := p.task
	t.punctuations = slices.DeleteFunc(t.punctuations, func(other *Punctuation) bool { return other == p })
	t.reschedule()
}

// schedule adds a punctuation to the task. The first one by stream time is due as
// soon as that is known, and the next ones at multiples of the interval; one by the
// wall clock is due after each interval.
func (t *task) schedule(p *Punctuation) {
	if p.clock == WallClock {
		p.due = t.now().UnixMilli() + p.every
	}
	t.punctuations = append(t.punctuations, p)
	t.reschedule()
}

// reschedule finds the time of the next punctuation of each clock.
func (t *task) reschedule() {
	t.due = [2]int64{math.MaxInt64, math.MaxInt64}
	for _, p := range t.punctuations {
		t.due[p.clock] = min(t.due[p.clock], p.due)
	}
}

// punctuate makes the calls that are due on a clock: one for each punctuation, even if
// several intervals have passed.
func (t *task) punctuate(clock Clock, now int64) error {
	saved := t.recordContext
	for _, p := range slices.Clone(t.punctuations) { // calls may schedule and cancel
		if p.clock != clock || p.due > now || !slices.Contains(t.punctuations, p) {
			continue
		}
		p.due += (now-p.due)/p.every*p.every + p.every
		t.reschedule()
		t.recordContext = recordContext{ms: now}
		if err := p.fire(now); err != nil {
			return err // it is the punctuation's, not the record's
		}
	}
	t.recordContext = saved
	return nil
}

// fire makes one call. An error of the call goes to the handler, one of a node that
// it forwarded to has been there already.
func (p *Punctuation) fire(now int64) (err error) {
	if p.task.handling.set() {
		defer p.catch(Processing, &err)
	}
	p.enter()
	return p.returned(p.call(time.UnixMilli(now)))
}

// punctuateByWallClock makes the calls that are due by the wall clock, outside of any
// record.
func (t *task) punctuateByWallClock() error {
	return t.run(func() error { return t.punctuate(WallClock, t.now().UnixMilli()) })
}

// TaskContext is what a processor knows of the task that it runs in. It belongs to
// the task's goroutine.
type TaskContext struct {
	step
	started bool
	closers []func()
	stores  map[*storeDecl]any // *TaskStore
}

// Application returns the application's name.
func (c *TaskContext) Application() string { return c.task.plan.app }

// Task returns the task's name.
func (c *TaskContext) Task() TaskID { return c.task.id }

// Position returns where the record is that is being processed: its topic, partition
// and offset. In a punctuation, and for a change that a store had held back, there is
// none: false.
func (c *TaskContext) Position() (at record.Position, ok bool) {
	if c.task.input == nil {
		return record.Position{Offset: -1}, false
	}
	return c.task.input.Position(), true
}

// StreamTime returns the largest timestamp that the task has read, and false if it
// has read nothing.
func (c *TaskContext) StreamTime() (at time.Time, ok bool) {
	return time.UnixMilli(c.task.streamTime), c.task.streamTime >= 0
}

// Now returns the time of the wall clock, which a test may control.
func (c *TaskContext) Now() time.Time { return c.task.now() }

// Commit asks for a commit as soon as possible. Kafka calls it a request, too.
func (c *TaskContext) Commit() { c.task.urgent = true }

// Schedule makes f be called every interval of at least a millisecond, between two
// records, with the time on that clock, which also is the timestamp of what f
// forwards. By StreamTime, the first call is due at once, behind the task's next
// record, and the following ones at multiples of the interval. By WallClock, the first
// is due after one interval. When several intervals pass at once there is one call.
//
// An error of f, or a panic, is an error of the Processing phase without a record.
func (c *TaskContext) Schedule(every time.Duration, clock Clock, f func(now time.Time) error) (*Punctuation, error) {
	if every < time.Millisecond || f == nil || clock > WallClock {
		return nil, fault.Newf(fault.InvalidRequest, "a punctuation every %v: it takes at least a millisecond, a clock and a function", every)
	}
	p := &Punctuation{step: c.step, clock: clock, every: every.Milliseconds(), call: f}
	c.task.schedule(p)
	return p, nil
}

// OnClose makes f be called when the task ends: it moves elsewhere, or the application
// stops. Nothing can be forwarded any more.
func (c *TaskContext) OnClose(f func()) { c.closers = append(c.closers, f) }
