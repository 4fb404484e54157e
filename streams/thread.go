package streams

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/runnel-go/runnel/consumer"
	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/tasks"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

const (
	fetchRecords = 1024
	fetchBytes   = 1 << 20

	// stopTimeout limits the last commit of an application that is being
	// stopped.
	stopTimeout = 30 * time.Second

	// retryCommit is the longest wait before the commit that follows a failed
	// one: Kafka's retry.backoff.ms.
	retryCommit = 100 * time.Millisecond
)

// thread is a goroutine that fetches records and sends them through the tasks
// that its consumer is assigned. Only that goroutine uses it, except for what
// run returns.
type thread struct {
	app  *App
	work context.Context // lives until the application has stopped
	in   consumer.Session
	out  *batches

	tasks   map[TaskID]*assigned
	gained  []record.TopicPartition // assigned, not yet part of a task
	outer   []record.TopicPartition // assigned, of topics that are not the application's own
	paused  bool                    // the partitions in outer are paused
	failure error                   // of OnRevoked, which cannot return it
	over    bool                    // run has returned
	rouse   context.CancelFunc      // ends a Fetch that waits

	// The next commit: what it contains and when it is due.
	offsets  map[record.TopicPartition]consumer.Offset
	commitAt time.Time // at the latest; zero: nothing to commit
	restAt   time.Time // the earliest time for a commit that is made because there is nothing else to do
	failedAt time.Time // the same after a failed commit, even while a CaughtUp waits

	counts  map[string]int                  // partitions of the topics that are read, at the start
	purged  map[record.TopicPartition]int64 // the offset below which repartition records have been deleted
	records []record.Record
	spare   [][]record.Record // for records, when those are in a queue
	leases  []consumer.Lease  // of records that were dropped, to be released
}

// assigned is a task and those of its partitions that this thread reads. If they
// are several, what was fetched from them waits in queues.
type assigned struct {
	*task
	partitions []record.TopicPartition
	inputs
}

// consumerConfig returns what all consumers of the application have in common.
func (a *App) consumerConfig(role string) consumer.Config {
	return consumer.Config{
		ClientID: a.plan.app + "-" + role, Group: a.plan.app, Start: topic.Earliest(),
		SessionTimeout: 45 * time.Second, RebalanceTimeout: 5 * time.Minute,
		MaxRecords: fetchRecords, MaxBytes: fetchBytes, ReuseBuffers: true,
	}
}

func openThread(work context.Context, a *App, found layout, number int) (*thread, error) {
	t := &thread{
		app: a, work: work, rouse: func() {}, counts: found.partitions, tasks: make(map[TaskID]*assigned),
		offsets: make(map[record.TopicPartition]consumer.Offset), purged: make(map[record.TopicPartition]int64),
		records: make([]record.Record, 0, fetchRecords),
	}
	cfg := a.consumerConfig(fmt.Sprintf("thread-%d", number))
	cfg.Topics = append(a.plan.topics(sourceNode, false), a.plan.topics(sourceNode, true)...)
	slices.Sort(cfg.Topics)
	var err error
	cfg.Assignor = tasks.Assignor
	if cfg.Metadata, err = a.plan.metadata(found.process).Encode(); err != nil {
		return nil, err
	}
	cfg.OnAssigned = func(tps []record.TopicPartition) {
		t.gained = append(t.gained, tps...)
		t.rouse() // process them now, not after the first record of another partition
	}
	cfg.OnRevoked = t.revoked
	cfg.OnLost = t.lost
	if t.out, err = openBatches(work, a, cfg.ClientID, found.batchBytes); err != nil {
		return nil, err
	}
	if t.in, err = a.backend.OpenConsumer(work, cfg); err != nil {
		return nil, errors.Join(err, t.out.session.Close())
	}
	return t, nil
}

// exited returns the error of a thread whose run did not return, because a
// function called runtime.Goexit.
func (t *thread) exited() error {
	for _, at := range t.tasks {
		if at.exited != nil {
			return at.exited
		}
	}
	return errExited
}

// close leaves the group. The next owner of its tasks reprocesses what is not
// committed.
func (t *thread) close() error {
	err := t.in.Close()
	for _, at := range t.tasks { // none, if all were revoked within Close
		at.close()
	}
	return errors.Join(err, t.out.session.Close())
}

// run processes until ctx ends, then commits. After an error nothing more is
// committed.
func (t *thread) run(ctx context.Context) error {
	defer func() { t.over = true }()
	if err := t.loop(ctx); err != nil {
		return err
	}
	t.app.progress.stopping()
	return t.stop()
}

func (t *thread) loop(ctx context.Context) error {
	for ctx.Err() == nil {
		f, err := t.fetch(ctx)
		if err := t.startTasks(); err != nil {
			return err
		}
		switch {
		case errors.Is(err, fault.OffsetOutOfRange):
			continue // retention deleted records before this application read them; it continues at the log's start
		case err != nil && !ended(err):
			return err
		case err == nil && !f.IsNone():
			if err := t.process(f); err != nil {
				return err
			}
		}
		if err := t.punctuate(); err != nil {
			return err
		}
		if !t.commitAt.IsZero() && !time.Now().Before(t.commitAt) {
			if err := t.commit(t.work); err != nil {
				return err
			}
		}
	}
	return nil
}

// ended reports whether err says only that a context has ended.
func ended(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// fetch returns the next records. If none are available it sends what was
// written so far, and waits for records until the next commit is due.
//
// Records of repartition topics come first: while there are some, the topics
// they were made from are paused. So they are read while they are still in the
// CPU cache, and do not pile up when one record becomes many.
func (t *thread) fetch(ctx context.Context) (consumer.Fetched, error) {
	t.releaseDropped()
	f, err := t.in.Fetch(t.work, 0, t.records)
	if t.paused && err == nil && f.IsNone() && t.failure == nil {
		if err := t.resume(); err != nil {
			return f, err
		}
		f, err = t.in.Fetch(t.work, 0, t.records)
	}
	if err != nil || !f.IsNone() || len(t.gained) > 0 || t.failure != nil {
		return f, err
	}
	patience, err := t.settle(t.work)
	if err != nil || patience == 0 {
		return f, err
	}
	if t.commitAt.IsZero() {
		return t.wait(ctx, patience)
	}
	return t.rest(ctx, patience)
}

// wait is Fetch that ends, too, when partitions are assigned.
func (t *thread) wait(ctx context.Context, wait time.Duration) (consumer.Fetched, error) {
	ctx, t.rouse = context.WithCancel(ctx)
	defer t.rouse()
	return t.in.Fetch(ctx, wait, t.records)
}

// rest is Fetch for when there is something to commit and nothing available to
// process. A commit delays no record now, so it becomes due at once. It is made
// no more often than once per commit interval, unless a CaughtUp waits for it. rest
// waits no longer than patience.
func (t *thread) rest(ctx context.Context, patience time.Duration) (consumer.Fetched, error) {
	if err := t.out.flush(); err != nil { // this thread may be the one that reads it
		return consumer.Fetched{}, err
	}
	f, err := t.in.Fetch(t.work, 0, t.records)
	if err != nil || !f.IsNone() || len(t.gained) > 0 || t.failure != nil {
		return f, err
	}
	now, calm := time.Now(), t.app.progress.untilWaiter()
	// Read once, for both the decision and the wakeup below: a CaughtUp that
	// begins after this line cancels the same context that ends the Fetch.
	urged, until := calm.Err() != nil, t.restAt
	if urged || until.Before(t.failedAt) {
		until = t.failedAt
	}
	if !now.Before(until) {
		t.commitAt = now
		return f, err
	}
	if !urged {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(calm, cancel)()
	}
	return t.wait(ctx, min(until.Sub(now), patience))
}

// process sends fetched records through their task, or into its queue if it reads
// several partitions.
func (t *thread) process(f consumer.Fetched) error {
	at, ok := t.tasks[t.app.plan.taskOf(f.TopicPartition)]
	if !ok {
		t.in.Release(f.Lease)
		return nil // taken away during this very Fetch
	}
	if q := at.queue(f.TopicPartition); q != nil {
		if err := t.enqueue(q, f); err != nil {
			return err
		}
		if err := t.advance(at); err != nil {
			return err
		}
	} else {
		err := at.process(f.Topic, f.Records)
		t.in.Release(f.Lease)
		if err != nil {
			return err
		}
		t.processed(f.TopicPartition, consumer.Offset{Offset: f.Next, LeaderEpoch: f.LeaderEpoch})
	}
	if err := t.out.send(readyBytes); err != nil {
		return err
	}
	return t.pause()
}

// processed makes an offset part of the next commit.
func (t *thread) processed(tp record.TopicPartition, next consumer.Offset) {
	t.offsets[tp] = next
	t.toCommit()
}

// toCommit makes sure that a commit will follow.
func (t *thread) toCommit() {
	if t.commitAt.IsZero() {
		t.commitAt = time.Now().Add(t.app.config.commitInterval)
	}
}

// pause stops fetching from the topics that repartition topics are made from,
// if this thread reads a repartition topic.
func (t *thread) pause() error {
	read := 0
	for _, at := range t.tasks {
		read += len(at.partitions)
	}
	if t.paused || read == len(t.outer) {
		return nil
	}
	t.paused = true
	return t.in.Pause(t.outer...)
}

func (t *thread) resume() error {
	t.paused = false
	return t.in.Resume(slices.DeleteFunc(slices.Clone(t.outer), t.full)...)
}

// commit makes everything processed so far final. It writes and forwards what
// stores held back, waits until everything written is acknowledged, and then
// commits the offsets.
//
// This order makes processing at least once. A crash before the offsets are
// committed repeats records. If the offsets were committed first, a crash would
// lose the results of records that are never read again. A commit that the
// group does not accept now leaves the offsets as they are, and the next one
// includes them.
func (t *thread) commit(ctx context.Context) error {
	if t.commitAt.IsZero() {
		return nil
	}
	for _, at := range t.tasks {
		if err := at.flush(); err != nil {
			return err
		}
	}
	if err := t.out.flush(); err != nil {
		return err
	}
	var err error
	if len(t.offsets) > 0 {
		t.stamp(t.offsets)
		err = t.in.Commit(ctx, t.offsets)
	}
	switch {
	case err == nil:
		t.app.progress.committed()
		err = t.purge(ctx)
		clear(t.offsets)
		t.commitAt, t.restAt = time.Time{}, time.Now().Add(t.app.config.commitInterval)
	case fault.Retriable(err) || expelled(err):
		t.commitAt = time.Now().Add(min(t.app.config.commitInterval, retryCommit))
		t.failedAt = t.commitAt
		return nil
	}
	return err
}

// expelled reports whether err says that the group has removed this member. The
// next Fetch reports the lost partitions to OnLost and joins the group again.
func expelled(err error) bool {
	return errors.Is(err, fault.UnknownMember) || errors.Is(err, fault.FencedMemberEpoch) || errors.Is(err, fault.IllegalGeneration)
}

// stop commits for the last time.
func (t *thread) stop() error {
	ctx, cancel := context.WithTimeout(t.work, stopTimeout)
	defer cancel()
	for {
		if err := t.commit(ctx); err != nil || t.commitAt.IsZero() {
			return err
		}
		if ctx.Err() != nil {
			return fault.Newf(fault.TimedOut, "the last commit")
		}
		// The group is changing: take part in it, and try again.
		for {
			f, err := t.in.Fetch(ctx, time.Until(t.commitAt), t.records)
			if err != nil || f.IsNone() {
				break
			}
			t.in.Release(f.Lease) // not processed, so not committed either
		}
		if t.failure != nil {
			return t.failure
		}
	}
}

// revoked is called within Fetch or Close, while this thread still owns the
// partitions. It commits, so that their next owner continues after what was
// processed here. A thread whose run has returned has committed already, or has
// failed and must not.
func (t *thread) revoked(tps []record.TopicPartition) {
	if t.failure == nil && !t.over {
		t.failure = t.commit(t.work)
	}
	t.release(tps)
}

// lost is called when another member may own the partitions already. Changes
// that were not sent to changelogs are dropped: they would overwrite what the
// new owners have written since.
func (t *thread) lost(tps []record.TopicPartition) {
	for _, tp := range tps {
		if at, ok := t.tasks[t.app.plan.taskOf(tp)]; ok {
			for _, s := range at.stores {
				t.out.forget(s.changelog, at.id.Partition)
			}
		}
	}
	t.release(tps)
}

// release removes partitions from their tasks. A task ends with its last one.
func (t *thread) release(tps []record.TopicPartition) {
	for _, tp := range tps {
		delete(t.offsets, tp)
		delete(t.purged, tp)
		t.gained, t.outer = without(t.gained, tp), without(t.outer, tp)
		id := t.app.plan.taskOf(tp)
		if at, ok := t.tasks[id]; ok {
			for _, f := range at.remove(tp) {
				t.leases = append(t.leases, f.Lease) // a Fetch is under way, which may not be disturbed
			}
			at.partitions = without(at.partitions, tp)
			if len(at.partitions) == 0 {
				at.close()
				delete(t.tasks, id)
			}
		}
	}
}

func without(tps []record.TopicPartition, tp record.TopicPartition) []record.TopicPartition {
	return slices.DeleteFunc(tps, func(other record.TopicPartition) bool { return other == tp })
}

// startTasks creates tasks for the new partitions, and restores their stores.
func (t *thread) startTasks() error {
	if len(t.gained) == 0 || t.failure != nil {
		return t.failure
	}
	t.app.progress.restoring()
	defer t.app.progress.restored()
	fresh := make(map[TaskID]*task)
	for _, tp := range t.gained {
		if err := t.app.grown(tp, t.counts); err != nil {
			return err
		}
		id := t.app.plan.taskOf(tp)
		if fresh[id] == nil {
			made, err := t.makeTask(id)
			if err != nil {
				return err
			}
			fresh[id] = made
		}
		at := t.tasks[id]
		at.partitions = append(at.partitions, tp)
		at.line(t.app.plan)
		if !t.app.plan.internal[tp.Topic] {
			t.outer = append(t.outer, tp)
		}
	}
	if err := t.resumeTimes(t.work, t.gained); err != nil {
		return err
	}
	t.gained = t.gained[:0]
	if err := t.app.restore(t.work, slices.Collect(maps.Values(fresh))); err != nil {
		return err
	}
	for _, made := range fresh {
		if err := made.start(); err != nil {
			return err
		}
	}
	return nil
}

// makeTask creates a task whose stores are still to be restored. A running task
// that gains a partition, because its topics grew, is recreated: it writes what
// it holds back, and its stores are restored from their changelogs, to which
// another member may have written.
func (t *thread) makeTask(id TaskID) (*task, error) {
	at, runs := t.tasks[id]
	if runs {
		if err := at.flush(); err != nil {
			return nil, err
		}
		if err := t.out.flush(); err != nil {
			return nil, err
		}
		at.close()
	}
	made, err := newTask(t.app.plan, id, t.out, !t.app.config.uncached, t.app.config.handling)
	if err != nil {
		return nil, err
	}
	if runs {
		for name, was := range at.sources {
			made.resumeTime(name, was.time())
		}
		for _, m := range at.memories {
			made.remember(m.name, *m.ms)
		}
	} else {
		at = &assigned{inputs: inputs{wait: t.app.config.taskIdle}}
		t.tasks[id] = at
	}
	at.task = made
	for _, q := range at.queues {
		q.source = made.sources[q.tp.Topic]
	}
	return made, nil
}

// purge deletes committed records of repartition topics, which no task reads
// again. A deletion is a separate request and frees whole segments, so purge
// waits until there are purgeRecords of them.
func (t *thread) purge(ctx context.Context) error {
	for tp, o := range t.offsets {
		if !t.app.plan.internal[tp.Topic] || o.Offset-t.purged[tp] < t.app.config.purgeRecords {
			continue
		}
		_, err := t.app.backend.DeleteRecords(ctx, map[record.TopicPartition]int64{tp: o.Offset})
		switch {
		case err == nil:
			t.purged[tp] = o.Offset
		case !fault.Retriable(err): // otherwise the next commit tries again
			return err
		}
	}
	return nil
}
