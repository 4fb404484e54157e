package datadir

import (
	"fmt"
	"math"
	"path/filepath"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/log"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// importLog imports a partition's log, unless that is done already, and returns how many
// offsets it covers. partition.metadata is written last, so a directory that has it is
// complete.
func (n *importing) importLog(l importedLog, id topic.ID) (offsets int64, err error) {
	n.progress(l, 0)
	w := &importWriter{logWriter: logWriter{fsys: n.fsys, dir: filepath.Join(n.dir, l.String())}, of: l}
	of, known, err := layout.ReadOwner(n.fsys, w.dir, l.TopicPartition)
	if err != nil {
		return 0, err
	}
	if known && of.Owns(id, l.Partition) {
		n.progress(l, l.bytes)
		return n.extent(l, w.dir)
	}
	torn, err := l.source.batches(l.TopicPartition, w.segment, func(b record.Batch) error {
		n.progress(l, int64(b.Size()))
		if err := n.ctx.Err(); err != nil {
			return err
		}
		return w.add(b)
	})
	if err == nil {
		err = w.finish()
	}
	if err != nil {
		_ = w.close() // the next Import begins this log again
		return 0, err
	}
	if torn > 0 {
		n.note("%s: without the last %d bytes, which are no whole batch", l.TopicPartition, torn)
	}
	start := l.source.starts[l.TopicPartition]
	if _, err := log.Adopt(n.logConfig(l.TopicPartition, w.dir), start); err != nil {
		return 0, err
	}
	if err := vfs.WriteFile(n.fsys, filepath.Join(w.dir, layout.MetadataFile), layout.MetadataText(id, l.Partition)); err != nil {
		return 0, err
	}
	return w.end - max(start, w.start), n.fsys.SyncDir(w.dir)
}

// extent returns how many offsets a log covers that was imported before.
func (n *importing) extent(l importedLog, dir string) (int64, error) {
	opened, _, err := log.Open(n.logConfig(l.TopicPartition, dir))
	if err != nil {
		return 0, err
	}
	return opened.EndOffset() - opened.StartOffset(), opened.Close()
}

func (n *importing) logConfig(tp record.TopicPartition, dir string) log.Config {
	return log.Config{FS: n.fsys, Dir: dir, Topic: tp.Topic, Partition: tp.Partition, Codec: record.NewCodec(0)}
}

func (n *importing) progress(l importedLog, bytes int64) {
	n.done += bytes
	if n.opts.Progress != nil {
		n.opts.Progress(ImportProgress{Partition: l.TopicPartition, Done: n.done, Total: n.total})
	}
}

// importWriter writes the log of a partition of Kafka's. Kafka's compaction leaves out
// offsets; here batches without records stand in their place.
type importWriter struct {
	logWriter
	of    importedLog
	start int64 // the log's first offset
	epoch int32 // the last batch's leader epoch
}

// segment continues with a segment of Kafka's. One begins here, too, so that retention
// and compaction find the log as Kafka's did.
func (w *importWriter) segment(base int64) error {
	switch {
	case !w.begun:
		w.start, w.epoch = base, record.NoLeaderEpoch
		if err := w.begin(base); err != nil {
			return err
		}
	case base < w.end:
		return w.misplaced(base, "a segment")
	default:
		if err := w.fill(base, w.epoch); err != nil {
			return err
		}
	}
	return w.nextFile()
}

// add adds a batch, after what is missing before it.
func (w *importWriter) add(b record.Batch) error {
	if b.BaseOffset < w.end {
		return w.misplaced(b.BaseOffset, "a batch")
	}
	if w.epoch == record.NoLeaderEpoch {
		w.epoch = b.LeaderEpoch
	}
	if b.LeaderEpoch < w.epoch {
		return fault.At(fault.CorruptMessage, w.of.Topic, w.of.Partition, b.BaseOffset).
			Detailf("in %s a batch of leader epoch %d follows one of %d", w.of.source.dir, b.LeaderEpoch, w.epoch)
	}
	if err := w.fill(b.BaseOffset, w.epoch); err != nil {
		return err
	}
	w.epoch = b.LeaderEpoch
	return w.append(b)
}

func (w *importWriter) misplaced(offset int64, what string) error {
	return fault.At(fault.CorruptMessage, w.of.Topic, w.of.Partition, offset).
		Detailf("in %s %s begins there, although offset %d comes next", w.of.source.dir, what, w.end)
}

// fill covers the offsets up to next with batches without records.
func (w *importWriter) fill(next int64, epoch int32) error {
	for w.end < next {
		delta := min(next-w.end-1, math.MaxInt32)
		b := record.Seal(make([]byte, record.HeaderLen), record.BatchHeader{
			BaseOffset: w.end, LeaderEpoch: max(epoch, 0), LastOffsetDelta: int32(delta),
			BaseTimestamp: record.NoTimestamp, MaxTimestamp: record.NoTimestamp,
			ProducerID: record.NoProducerID, ProducerEpoch: record.NoProducerEpoch, BaseSequence: record.NoSequence,
		})
		if err := w.append(b); err != nil {
			return err
		}
	}
	return nil
}

// finish ends the log, which may have no segment at all.
func (w *importWriter) finish() error {
	if !w.begun {
		return fmt.Errorf("%s: no segments in %s", w.of.TopicPartition, w.of.source.dir)
	}
	return w.close()
}
