package runnel

import (
	"errors"
	"sync"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
)

// slowSync is how long a sync of a file takes that is worth a line.
const slowSync = time.Second

// maxLines is how many lines may wait for the logger.
const maxLines = 1000

// journal hands what is worth a line to the program's logger, which is the program's
// code: a goroutine calls it that lives as long as there are lines, and nothing else
// waits for it but Close.
//
// It takes no *slog.Logger but what that can: package slog, which not every program
// links, is a tenth of what the broker adds to one.
type journal struct {
	logger logger // nil: nobody wants to know

	mu      sync.Mutex
	lines   []func()
	dropped int  // since the last line that was kept
	writing bool // the goroutine runs
	closed  bool // nothing is written any more
	work    sync.WaitGroup
}

// logger is what a *slog.Logger can.
type logger interface {
	Info(message string, attributes ...any)
	Warn(message string, attributes ...any)
	Error(message string, attributes ...any)
}

func (j *journal) info(message string, attrs ...any)  { j.line(logger.Info, message, attrs) }
func (j *journal) warn(message string, attrs ...any)  { j.line(logger.Warn, message, attrs) }
func (j *journal) error(message string, attrs ...any) { j.line(logger.Error, message, attrs) }

// line notes a line. It does not block.
func (j *journal) line(how func(logger, string, ...any), message string, attrs []any) {
	if j.logger == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.closed:
		return
	case len(j.lines) >= maxLines:
		j.dropped++
		return
	}
	if j.dropped > 0 {
		attrs = append(attrs, "dropped", j.dropped) // lines before this one
		j.dropped = 0
	}
	j.lines = append(j.lines, func() { how(j.logger, message, attrs...) })
	if !j.writing {
		j.begin()
	}
}

// begin starts the goroutine. j.mu is held.
func (j *journal) begin() {
	j.writing = true
	j.work.Add(1)
	go j.write()
}

// write is the goroutine. A logger that ends it, or panics as a nil one does, loses
// its own line: it is not worth the program.
func (j *journal) write() {
	defer j.work.Done()
	ended := false
	defer func() {
		if ended {
			return
		}
		_ = recover()
		j.mu.Lock()
		defer j.mu.Unlock()
		j.begin()
	}()
	for line := j.take(); line != nil; line = j.take() {
		line()
	}
	ended = true
}

// take takes the next line. Where there is none, it gives the goroutine's role up
// and returns nil.
func (j *journal) take() func() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.lines) == 0 {
		j.lines, j.writing = nil, false
		return nil
	}
	line := j.lines[0]
	j.lines = j.lines[1:]
	return line
}

// close waits until everything is written.
func (j *journal) close() {
	j.mu.Lock()
	j.closed = true
	j.mu.Unlock()
	j.work.Wait()
}

// of returns the attributes that name a partition, and others.
func of(tp record.TopicPartition, attrs ...any) []any {
	return append([]any{"topic", tp.Topic, "partition", tp.Partition}, attrs...)
}

// noteOpening writes what opening the directory found, if it is worth a line.
func (b *Broker) noteOpening() {
	if b.journal.logger == nil {
		return
	}
	r := b.Recovery()
	if !r.Clean {
		var batches, bytes, cut int64
		for _, p := range r.Partitions {
			batches, bytes, cut = batches+p.Batches, bytes+p.Bytes, cut+p.Cut
		}
		b.journal.info("recovered a directory that was not closed", "dir", b.dir,
			"partitions", len(r.Partitions), "batches", batches, "bytes", bytes,
			"cut", cut, "took", r.Duration)
	}
	for _, tp := range r.Missing {
		if r.Clean {
			b.journal.error("a partition's directory is gone", of(tp)...)
		} else {
			b.journal.warn("a partition's directory was missing, and it begins anew, empty", of(tp)...)
		}
	}
	for _, dir := range r.Removed {
		b.journal.info("finished the removal of a deleted topic", "dir", dir)
	}
	for _, dir := range r.Orphans {
		b.journal.warn("a directory of a partition that no topic has is left as it is", "dir", dir)
	}
}

// noteRecovery writes what opening a partition found, if it is worth a line.
func (b *Broker) noteRecovery(p PartitionRecovery) {
	if p.Err != nil {
		b.journal.error("a partition does not open", of(p.TopicPartition, "error", p.Err)...)
	}
	if p.Cut > 0 {
		b.journal.warn("a torn tail was cut off", of(p.TopicPartition, "bytes", p.Cut, "reason", p.Reason)...)
	}
	for _, err := range p.Damage {
		b.journal.error("a partition is damaged", of(p.TopicPartition, "error", err)...)
	}
}

// noteCleaning writes that a partition could not be cleaned, but for one that was
// closed or deleted meanwhile.
func (b *Broker) noteCleaning(j *chore, err error) {
	if err == nil || errors.Is(err, fault.Closed) || errors.Is(err, fault.UnknownTopic) || b.isClosed() {
		return
	}
	attrs := []any{"topic", j.topic.name}
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Partition >= 0 {
		attrs = append(attrs, "partition", f.Partition)
	}
	b.journal.warn("cleaning failed", append(attrs, "error", err)...)
}

// noteFailed returns what writes that a partition's log has failed.
func (b *Broker) noteFailed(tp record.TopicPartition) func(error) {
	return func(err error) {
		b.journal.error("a partition takes no more records", of(tp, "error", err)...)
	}
}

// noteSlow writes that a sync took long.
func (b *Broker) noteSlow(file string, took time.Duration) {
	b.journal.warn("a sync was slow", "file", file, "took", took)
}

// noteGone writes that members were expelled from their groups.
func (b *Broker) noteGone(groups, members []string) {
	for i, member := range members {
		b.journal.warn("a member was expelled from its group, for it was silent for too long",
			"group", groups[i], "member", member)
	}
}
