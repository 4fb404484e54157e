package runnel

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/archive"
	"github.com/runnel-go/runnel/internal/catalogue"
	"github.com/runnel-go/runnel/internal/cleaner"
	"github.com/runnel-go/runnel/internal/host"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/partition"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

const (
	// backupChunk is the size of the pieces, in bytes, into which a backup divides a
	// log. Each is a segment file.
	backupChunk = 8 << 20

	// backupTries is how often a log is copied again from its start because compaction
	// has changed it meanwhile.
	backupTries = 10
)

// Backup writes a copy of everything to w, while producers, consumers and commands
// continue: a tar archive of a data directory, from which Restore creates the
// directory again. Its memory does not depend on the amount of data.
//
// The copy is consistent as of one moment between the call and the return:
//
//   - It has everything that was acknowledged before the call.
//   - Each partition ends at its high watermark of that moment.
//   - No committed offset of a group lies beyond the records.
//   - Each transaction is in it as a whole or, if it was not decided yet, counts for nothing. A
//     node of a cluster copies its replicas, which do not promise that.
//   - A topic is complete or, if it was deleted meanwhile, absent.
//
// Records that were deleted from a log's beginning meanwhile may be missing.
//
// Backup verifies the checksum of every batch: damage ends it with a
// *fault.Corruption. After any error, also one of w, what was written is incomplete,
// and Restore refuses it.
func (b *Broker) Backup(ctx context.Context, w io.Writer) error {
	a := archive.NewWriter(w)
	if err := b.backup(ctx, a.File); err != nil {
		return err
	}
	return a.Close()
}

// backup hands the files of a backup to file, one after the other.
func (b *Broker) backup(ctx context.Context, file func(name string, b []byte) error) error {
	k := backup{b: b, ctx: ctx, writeFile: file, chunk: make([]byte, 0, backupChunk)}
	if err := k.run(); err != nil {
		return err
	}
	if b.isClosed() {
		return fault.Closed
	}
	return nil
}

// backup is a running Backup.
type backup struct {
	b         *Broker
	ctx       context.Context
	writeFile func(name string, b []byte) error

	catalogue [][]byte // as it was at the cut
	logs      []backupLog
	chunk     []byte
}

// backupLog is a log in a backup.
type backupLog struct {
	record.TopicPartition
	topic      *host.Topic // nil for the catalogue
	partition  *partition.Partition
	release    func() // of partition.Hold; nil once it was called
	start, end int64
	bytes      int64
	sum        uint32 // CRC-32C of all of its bytes
}

func (k *backup) run() error {
	defer func() {
		for i := range k.logs {
			k.release(&k.logs[i])
		}
	}()
	if err := k.openAll(); err != nil {
		return err
	}
	if err := k.cutWhole(); err != nil {
		return err
	}
	if err := k.writeCatalogue(k.catalogue); err != nil {
		return err
	}
	for i := range k.logs {
		if l := &k.logs[i]; l.topic != nil {
			if err := k.copy(l); err != nil {
				return err
			}
		}
	}
	if err := k.leaveOutDeleted(); err != nil {
		return err
	}
	return k.writeFile(archive.ManifestName, k.manifest())
}

// cutWhole cuts between transactions: each that is decided counts in all of its partitions.
func (k *backup) cutWhole() error {
	resume, err := k.b.transactions.Pause(k.ctx)
	if err != nil {
		return err
	}
	defer resume()
	k.flush()
	return k.b.command(k.ctx, k.cut)
}

// flush has all that is written become visible, markers above all, which are not synced by
// themselves. Where that fails, the partition says so to its producers; what is visible is copied.
func (k *backup) flush() {
	for t := range k.b.host.All() {
		for _, p := range t.Partitions() {
			if local := p.Copy(); local != nil && p.Err() == nil && local.HighWatermark() < local.EndOffset() {
				_ = local.FlushAwait()
			}
		}
	}
}

// openAll opens the topics that were not used yet, so that cut, during which commands
// wait, is short.
func (k *backup) openAll() error {
	for t := range k.b.host.All() {
		if err := k.ctx.Err(); err != nil {
			return err
		}
		t, err := k.b.host.Whole(t.Name)
		if errors.Is(err, fault.UnknownTopic) {
			continue
		}
		if err != nil {
			return err
		}
		for _, p := range t.Partitions() {
			if err := p.Err(); err != nil {
				return err
			}
		}
	}
	return nil
}

// cut sets what the backup contains: the end of each log and the catalogue's records.
// It runs as the catalogue's writer, so topics are neither created nor deleted
// meanwhile. Until release, compaction removes no record in favor of one that is not
// in the backup (partition.Hold).
//
// The order of the cuts makes the copy consistent. Committed offsets, and those of share
// groups, come first: a record is written before its offset is committed, so its log is cut later. The
// catalogue comes last: a producer's ID is allotted before its records are written.
func (k *backup) cut() error {
	names := k.b.metadata.Catalogue.Names()
	for _, offsets := range [...]string{topic.ConsumerOffsets, topic.ShareGroupState} {
		if i := slices.Index(names, offsets); i > 0 {
			names = slices.Insert(slices.Delete(names, i, i+1), 0, offsets)
		}
	}
	for _, name := range names {
		t, err := k.b.host.Topic(name)
		if err != nil {
			return err
		}
		for n, p := range t.Partitions() {
			if err := p.Err(); err != nil {
				return err
			}
			local := p.Copy()
			if local == nil {
				return fault.At(fault.NotLeader, name, int32(n), -1).Detailf("this node keeps no replica to back up")
			}
			end, release := local.Hold()
			k.logs = append(k.logs, backupLog{
				TopicPartition: record.TopicPartition{Topic: name, Partition: int32(n)},
				topic:          t, partition: local, end: end, release: release,
			})
		}
	}
	k.catalogue = k.b.metadata.Catalogue.Records()
	return nil
}

// release ends a log's Hold, and has the log compacted if that was due meanwhile.
func (k *backup) release(l *backupLog) {
	if l.release == nil {
		return
	}
	l.release()
	l.release = nil
	if cleaner.Policy(l.topic.Config()).Compact {
		k.b.cleaner.Schedule(l.topic, l.partition, time.Now())
	}
}

// copy writes a log up to its cut.
func (k *backup) copy(l *backupLog) error {
	defer k.release(l)
	for range backupTries {
		whole, err := k.copyOnce(l)
		switch {
		case l.topic.IsGone():
			return nil // leaveOutDeleted removes it
		case whole || err != nil:
			return err
		}
	}
	return fault.At(fault.Storage, l.Topic, l.Partition, -1).Detailf("it was compacted %d times while it was copied", backupTries)
}

// copyOnce copies a log from its start. It returns false if records were deleted or
// compacted meanwhile, so that the batches written don't follow each other.
func (k *backup) copyOnce(l *backupLog) (whole bool, err error) {
	// Restore discards what it has of the log when it reads this file again.
	if err := k.writeFile(l.String()+"/"+layout.MetadataFile, layout.MetadataText(l.topic.ID, l.Partition)); err != nil {
		return false, err
	}
	buf := make([]byte, 0, verifyBytes)
	l.reset(min(l.partition.StartOffset(), l.end))
	k.chunk = k.chunk[:0]
	base, next := l.start, l.start // of the chunk, and after it
	for next < l.end {
		if err := k.ctx.Err(); err != nil {
			return false, err
		}
		s, err := l.partition.Read(next, verifyBytes, buf)
		if errors.Is(err, fault.OffsetOutOfRange) && l.partition.StartOffset() > next {
			return false, nil // records were deleted
		}
		if err != nil {
			return false, err
		}
		for rest := s.Bytes; len(rest) > 0 && next < l.end; {
			batch, err := record.Parse(rest)
			if err != nil {
				s.Release()
				return false, fault.At(fault.CorruptMessage, l.Topic, l.Partition, next).Because(err)
			}
			switch {
			case l.bytes == 0 && len(k.chunk) == 0:
				base = batch.BaseOffset // the log may start within its first batch
			case batch.BaseOffset != next:
				s.Release()
				return false, nil // it was compacted
			}
			k.chunk = append(k.chunk, rest[:batch.Size()]...)
			rest, next = rest[batch.Size():], batch.NextOffset()
		}
		s.Release()
		if len(k.chunk) >= backupChunk {
			if err := k.writeChunk(l, base); err != nil {
				return false, err
			}
			base = next
		}
	}
	if l.end > 0 && (len(k.chunk) > 0 || l.bytes == 0) {
		return true, k.writeChunk(l, base)
	}
	return true, nil
}

// reset starts a log's copy over, at its start offset.
func (l *backupLog) reset(start int64) { l.start, l.bytes, l.sum = start, 0, 0 }

// writeChunk writes the gathered batches of a log, which begin with an offset.
func (k *backup) writeChunk(l *backupLog, base int64) error {
	if err := k.writeFile(fmt.Sprintf("%s/%020d.log", l, base), k.chunk); err != nil {
		return err
	}
	l.bytes += int64(len(k.chunk))
	l.sum = crc32.Update(l.sum, archive.Castagnoli, k.chunk)
	k.chunk = k.chunk[:0]
	return nil
}

// writeCatalogue writes a catalogue of these records. It replaces one written before.
func (k *backup) writeCatalogue(values [][]byte) error {
	l := backupLog{TopicPartition: layout.Catalogue}
	builder := record.NewBuilder(backupChunk)
	now := time.Now().UnixMilli()
	k.chunk = k.chunk[:0]
	flush := func() error {
		batch, err := builder.Batch(nil, record.None, 0)
		if err != nil {
			return err
		}
		record.Stamp(batch.Bytes, l.end, 0)
		k.chunk = append(k.chunk, batch.Bytes...)
		l.end += int64(batch.Count)
		builder.Reset()
		return nil
	}
	for _, v := range values {
		if builder.Add(now, nil, v, nil) {
			continue
		}
		if err := flush(); err != nil {
			return err
		}
		builder.Add(now, nil, v, nil)
	}
	if err := flush(); err != nil {
		return err
	}
	if err := k.writeChunk(&l, 0); err != nil {
		return err
	}
	k.logs = append(slices.DeleteFunc(k.logs, func(l backupLog) bool { return l.TopicPartition == layout.Catalogue }), l)
	return nil
}

// leaveOutDeleted writes the catalogue again, without the topics that were deleted
// since the cut.
func (k *backup) leaveOutDeleted() error {
	var gone []string
	k.logs = slices.DeleteFunc(k.logs, func(l backupLog) bool {
		deleted := l.topic != nil && l.topic.IsGone()
		if deleted {
			gone = append(gone, l.Topic)
		}
		return deleted
	})
	if len(gone) == 0 {
		return nil
	}
	c := catalogue.New()
	for _, v := range k.catalogue {
		if err := c.Apply(v); err != nil {
			return err
		}
	}
	removals, err := c.DeleteTopics(slices.Compact(gone))
	if err != nil {
		return err
	}
	for _, v := range removals {
		if err := c.Apply(v); err != nil {
			return err
		}
	}
	return k.writeCatalogue(c.Records())
}

// manifest returns the backup's last file: docs/format.md has an example.
func (k *backup) manifest() []byte {
	var text strings.Builder
	fmt.Fprintf(&text, "runnel backup %d\n", archive.Version)
	for _, l := range k.logs {
		fmt.Fprintf(&text, "%s %d %d %d %08x\n", l, l.start, l.end, l.bytes, l.sum)
	}
	sum := crc32.Checksum([]byte(text.String()), archive.Castagnoli)
	fmt.Fprintf(&text, "complete %08x\n", sum)
	return []byte(text.String())
}
