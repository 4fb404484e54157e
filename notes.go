package runnel

import (
	"errors"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/record"
)

// slowSync is how long a sync takes that is logged as slow.
const slowSync = time.Second

// of returns the attributes of a partition, and others.
func of(tp record.TopicPartition, attrs ...any) []any {
	return append([]any{"topic", tp.Topic, "partition", tp.Partition}, attrs...)
}

// logOpening logs what opening the directory found, unless it is nothing unusual.
func (b *Broker) logOpening() {
	if b.logger == nil {
		return
	}
	r := b.Recovery()
	if !r.Clean {
		var batches, bytes, cut int64
		for _, p := range r.Partitions {
			batches, bytes, cut = batches+p.Batches, bytes+p.Bytes, cut+p.Cut
		}
		b.journal.Info("recovered a directory that was not closed", "dir", b.dir,
			"partitions", len(r.Partitions), "batches", batches, "bytes", bytes,
			"cut", cut, "took", r.Duration)
	}
	for _, tp := range r.Missing {
		if r.Clean {
			b.journal.Error("a partition's directory is gone", of(tp)...)
		} else {
			b.journal.Warn("a partition's directory was missing, and was created empty", of(tp)...)
		}
	}
	for _, dir := range r.Removed {
		b.journal.Info("finished the removal of a deleted topic", "dir", dir)
	}
	for _, dir := range r.Orphans {
		b.journal.Warn("a directory of a partition that no topic has is left as it is", "dir", dir)
	}
}

// logRecovery logs what opening a partition found, unless it is nothing unusual.
func (b *Broker) logRecovery(p PartitionRecovery) {
	if p.Err != nil {
		b.journal.Error("a partition does not open", of(p.TopicPartition, "error", p.Err)...)
	}
	if p.Cut > 0 {
		b.journal.Warn("a torn tail was cut off", of(p.TopicPartition, "bytes", p.Cut, "reason", p.Reason)...)
	}
	for _, err := range p.Damage {
		b.journal.Error("a partition is damaged", of(p.TopicPartition, "error", err)...)
	}
}

// logCleaning logs that a partition could not be cleaned, unless it was closed or
// deleted meanwhile.
func (b *Broker) logCleaning(t *host.Topic, err error) {
	if err == nil || errors.Is(err, fault.Closed) || errors.Is(err, fault.UnknownTopic) || b.host.IsClosed() {
		return
	}
	attrs := []any{"topic", t.Name}
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Partition >= 0 {
		attrs = append(attrs, "partition", f.Partition)
	}
	b.journal.Warn("cleaning failed", append(attrs, "error", err)...)
}

// logFailed logs that a partition's log has failed.
func (b *Broker) logFailed(tp record.TopicPartition, err error) {
	b.journal.Error("a partition takes no more records", of(tp, "error", err)...)
}

// logSlow logs a slow sync.
func (b *Broker) logSlow(file string, took time.Duration) {
	b.journal.Warn("a sync was slow", "file", file, "took", took)
}

// logRefused logs that a group keeps its assignment because its assignor failed.
func (b *Broker) logRefused(err error) {
	b.journal.Warn("a group keeps its assignment, because that of its assignor is not valid", "error", err)
}

// logGone logs that members were expelled from their groups.
func (b *Broker) logGone(groups, members []string) {
	for i, member := range members {
		b.journal.Warn("a member was expelled from its group because it was silent for too long",
			"group", groups[i], "member", member)
	}
}
