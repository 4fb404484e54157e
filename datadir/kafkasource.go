package datadir

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/internal/catalogue"
	"github.com/runnel-go/runnel/internal/layout"
	"github.com/runnel-go/runnel/internal/vfs"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// kafkaSource is a log directory of a Kafka broker that is not running. It is only read.
type kafkaSource struct {
	fsys    *vfs.Disk
	dir     string
	cluster string // its ID
	clean   bool   // the broker was stopped in order
	starts  map[record.TopicPartition]int64
	copies  map[record.TopicPartition]topic.ID // the partitions of which it has a copy; the zero ID if it does not say
}

// openKafka reads what a directory of Kafka's holds.
func openKafka(dir string) (*kafkaSource, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fault.Newf(fault.InvalidConfig, "directory %s", dir).Because(err)
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, fault.Newf(fault.InvalidConfig, "%s is not a directory", dir).Because(err)
	}
	if layout.OfKafka(dir) == nil {
		return nil, fault.Newf(fault.InvalidConfig, "%s is not a log directory of Kafka: it has neither meta.properties nor a quorum-state", dir).
			Try("name a directory of the broker's log.dirs")
	}
	if err := notInUse(filepath.Join(dir, layout.LockFile)); err != nil {
		return nil, fault.Newf(fault.Storage, "%s is in use by a broker", dir).Because(err).Try("stop the broker, or name a copy that was made while it was stopped")
	}
	disk, err := vfs.OpenDisk(dir, layout.FileMode)
	if err != nil {
		return nil, fault.Newf(fault.OfDisk(err), "%s", dir).Because(err)
	}
	s := &kafkaSource{fsys: disk, dir: dir, copies: map[record.TopicPartition]topic.ID{}}
	if err := s.survey(); err != nil {
		s.release()
		return nil, err
	}
	return s, nil
}

func (s *kafkaSource) release() { _ = s.fsys.Close() }

// survey reads everything but records.
func (s *kafkaSource) survey() error {
	text, err := vfs.ReadFile(s.fsys, filepath.Join(s.dir, "meta.properties"), layout.MetadataLimit)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.Newf(fault.OfDisk(err), "%s", s.dir).Because(err)
	}
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(line, "="); name == "cluster.id" {
			s.cluster = strings.TrimSpace(value)
		}
	}
	if s.starts, err = layout.ReadStarts(s.fsys, s.dir); err != nil {
		return fault.Newf(fault.OfDisk(err), "%s", s.dir).Because(err)
	}
	entries, err := s.fsys.ReadDir(s.dir)
	if err != nil {
		return fault.Newf(fault.OfDisk(err), "%s", s.dir).Because(err)
	}
	s.clean = layout.Has(entries, layout.CleanFile)
	for _, e := range entries {
		tp, suffix, ok := layout.Parse(e.Name)
		if !ok || suffix != "" || !e.Dir {
			continue // of a deleted topic, a move that was not finished, or none of Kafka's
		}
		owner, _, err := layout.ReadOwner(s.fsys, filepath.Join(s.dir, e.Name), tp)
		if err != nil {
			return err
		}
		s.copies[tp] = owner.ID
	}
	return nil
}

// segments returns the first offsets of a partition's segments, in order.
func (s *kafkaSource) segments(tp record.TopicPartition) (bases []int64, err error) {
	entries, err := s.fsys.ReadDir(filepath.Join(s.dir, tp.String()))
	if err != nil {
		return nil, fault.At(fault.OfDisk(err), tp.Topic, tp.Partition, -1).Because(err)
	}
	for _, e := range entries {
		digits, isSegment := strings.CutSuffix(e.Name, ".log")
		base, err := strconv.ParseInt(digits, 10, 64)
		if isSegment && err == nil && base >= 0 && e.Name == fmt.Sprintf("%020d.log", base) {
			bases = append(bases, base)
		}
	}
	return bases, nil
}

// size returns the number of bytes of a partition's segments.
func (s *kafkaSource) size(tp record.TopicPartition) (bytes int64, err error) {
	bases, err := s.segments(tp)
	for _, base := range bases {
		e, err := s.fsys.Stat(s.path(tp, base))
		if err != nil {
			return 0, fault.At(fault.OfDisk(err), tp.Topic, tp.Partition, base).Because(err)
		}
		bytes += e.Size
	}
	return bytes, err
}

func (s *kafkaSource) path(tp record.TopicPartition, base int64) string {
	return filepath.Join(s.dir, tp.String(), fmt.Sprintf("%020d.log", base))
}

// tail returns the leader epoch of a copy's last batch and the offset after it: of two
// copies, the one with the higher pair has everything that was committed.
func (s *kafkaSource) tail(tp record.TopicPartition) (epoch int32, end int64, err error) {
	bases, err := s.segments(tp)
	if err != nil {
		return -1, 0, err
	}
	epoch = -1
	for i := len(bases) - 1; i >= 0 && epoch < 0; i-- {
		end = max(end, bases[i])
		f, err := s.open(tp, bases[i])
		if err != nil {
			return -1, 0, err
		}
		for {
			h, err := f.skip()
			if err != nil {
				break // the end, or what copying the partition reports
			}
			epoch, end = h.LeaderEpoch, h.NextOffset()
		}
		_ = f.close()
	}
	return epoch, end, nil
}

// segmentReader reads the batches of one segment in order.
type segmentReader struct {
	tp   record.TopicPartition
	path string
	file vfs.File
	size int64
	pos  int64
	buf  []byte // holds the bytes of the file from from on
	from int64
}

// readBytes is how many bytes a segmentReader reads at once.
const readBytes = 1 << 20

func (s *kafkaSource) open(tp record.TopicPartition, base int64) (*segmentReader, error) {
	r := &segmentReader{tp: tp, path: s.path(tp, base)}
	var err error
	if r.file, err = s.fsys.OpenFile(r.path, os.O_RDONLY); err == nil {
		if r.size, err = r.file.Size(); err != nil {
			_ = r.file.Close()
		}
	}
	if err != nil {
		return nil, fault.At(fault.OfDisk(err), tp.Topic, tp.Partition, base).Because(err)
	}
	return r, nil
}

func (r *segmentReader) close() error { return r.file.Close() }

// at returns n bytes at pos.
func (r *segmentReader) at(pos int64, n int) ([]byte, error) {
	if pos < r.from || pos+int64(n) > r.from+int64(len(r.buf)) {
		if size := min(int64(max(n, readBytes)), r.size-pos); int64(cap(r.buf)) < size {
			r.buf = make([]byte, size)
		} else {
			r.buf = r.buf[:size]
		}
		got, err := r.file.ReadAt(r.buf, pos)
		if r.buf, r.from = r.buf[:got], pos; got < n {
			return nil, fault.At(fault.Storage, r.tp.Topic, r.tp.Partition, -1).Detailf("reading %s at byte %d", r.path, pos).Because(err)
		}
	}
	return r.buf[pos-r.from:][:n], nil
}

// header reads the header of the batch at pos. Its error is io.EOF at the segment's end.
func (r *segmentReader) header() (h record.BatchHeader, err error) {
	left := r.size - r.pos
	if left == 0 {
		return h, io.EOF
	}
	b, err := r.at(r.pos, int(min(left, record.HeaderLen)))
	if err != nil {
		return h, err
	}
	switch h, err = record.ParseHeader(b); {
	case len(b) < record.HeaderLen:
		return h, r.flaw("a batch's header", fmt.Sprintf("the last %d bytes of the file", left))
	case err != nil && len(bytes.Trim(b, "\x00")) == 0:
		return h, r.flaw("a batch", "zeros")
	case err != nil:
		return h, r.flaw("a batch of format 2", err.Error())
	case int64(h.Size()) > left:
		return h, r.flaw(fmt.Sprintf("a batch of %d bytes", h.Size()), fmt.Sprintf("the last %d bytes of the file", left))
	}
	return h, nil
}

// skip reads a batch's header only.
func (r *segmentReader) skip() (record.BatchHeader, error) {
	h, err := r.header()
	if err == nil {
		r.pos += int64(h.Size())
	}
	return h, err
}

// next returns the next batch, whose bytes are valid until the next call. Its error is
// io.EOF at the segment's end, and a *fault.Corruption for bytes that are no batch.
func (r *segmentReader) next() (record.Batch, error) {
	h, err := r.header()
	if err != nil {
		return record.Batch{}, err
	}
	raw, err := r.at(r.pos, h.Size())
	if err != nil {
		return record.Batch{}, err
	}
	b, err := record.Parse(raw)
	if err != nil {
		return b, r.flaw(fmt.Sprintf("the batch of offset %d", h.BaseOffset), err.Error())
	}
	r.pos += int64(h.Size())
	return b, nil
}

func (r *segmentReader) flaw(expected, found string) error {
	return &fault.Corruption{
		Topic: r.tp.Topic, Partition: r.tp.Partition, Offset: -1, File: r.path, Pos: r.pos, Expected: expected, Found: found,
		Hint: "import another broker's copy of the partition, or let Kafka recover this one",
	}
}

// batches calls fn with all batches of a partition, in order. A directory whose broker was
// not stopped in order may end with part of a batch: it returns how many bytes are none.
// begin is called with the first offset of each segment.
func (s *kafkaSource) batches(tp record.TopicPartition, begin func(base int64) error, fn func(record.Batch) error) (torn int64, err error) {
	bases, err := s.segments(tp)
	if err != nil {
		return 0, err
	}
	for i, base := range bases {
		if err := begin(base); err != nil {
			return 0, err
		}
		last := i == len(bases)-1 && !s.clean
		if torn, err = s.segment(tp, base, last, fn); err != nil {
			return 0, err
		}
	}
	return torn, nil
}

func (s *kafkaSource) segment(tp record.TopicPartition, base int64, mayBeTorn bool, fn func(record.Batch) error) (torn int64, err error) {
	r, err := s.open(tp, base)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	for {
		b, err := r.next()
		_, flaw := errors.AsType[*fault.Corruption](err)
		switch {
		case err == io.EOF:
			return 0, nil
		case flaw && mayBeTorn:
			return r.size - r.pos, nil
		case err != nil:
			return 0, err
		}
		if err := fn(b); err != nil {
			return 0, err
		}
	}
}

// metadata folds the cluster's metadata, and returns how much of its log that is; nil if
// the directory has none.
func (s *kafkaSource) metadata() (k *catalogue.KRaft, epoch int32, end int64, err error) {
	if _, ok := s.copies[layout.Catalogue]; !ok {
		return nil, -1, 0, nil
	}
	k = catalogue.NewKRaft()
	from, err := s.snapshot(k)
	if err != nil {
		return nil, -1, 0, err
	}
	_, err = s.batches(layout.Catalogue, func(int64) error { return nil }, func(b record.Batch) error {
		epoch, end = b.LeaderEpoch, b.NextOffset()
		if b.BaseOffset < from {
			return nil
		}
		return eachRecord(b, func(r *record.Record) error { return k.Apply(r.Value) })
	})
	return k, epoch, max(end, from), err
}

// snapshot folds the newest snapshot of the metadata, and returns the offset after what it
// replaces.
func (s *kafkaSource) snapshot(k *catalogue.KRaft) (from int64, err error) {
	dir := filepath.Join(s.dir, layout.Catalogue.String())
	entries, err := s.fsys.ReadDir(dir)
	if err != nil {
		return 0, fault.Newf(fault.OfDisk(err), "%s", dir).Because(err)
	}
	newest := ""
	for _, e := range entries { // sorted, so the last one is the newest
		if id, ok := catalogue.ParseSnapshotName(e.Name); ok {
			newest, from = e.Name, id.Offset
		}
	}
	if newest == "" {
		return 0, nil
	}
	text, err := vfs.ReadFile(s.fsys, filepath.Join(dir, newest), 1<<30)
	if err != nil {
		return 0, fault.Newf(fault.OfDisk(err), "%s", dir).Because(err)
	}
	for pos := 0; pos < len(text); {
		h, err := record.ParseHeader(text[pos:])
		if err == nil && h.Size() > len(text)-pos {
			err = io.ErrUnexpectedEOF
		}
		var b record.Batch
		if err == nil {
			b, err = record.Parse(text[pos : pos+h.Size()])
		}
		if err == nil {
			err = eachRecord(b, func(r *record.Record) error { return k.Apply(r.Value) })
		}
		if err != nil {
			return 0, fault.Newf(fault.CorruptMessage, "%s at byte %d", filepath.Join(dir, newest), pos).Because(err)
		}
		pos += h.Size()
	}
	return from, nil
}

// eachRecord calls fn with each record of a batch, but not with markers.
func eachRecord(b record.Batch, fn func(*record.Record) error) error {
	if b.Control() {
		return nil
	}
	it, err := b.Records(record.NewCodec(0))
	if err != nil {
		return err
	}
	for r := (record.Record{}); it.Next(&r); {
		if err := fn(&r); err != nil {
			return err
		}
	}
	return it.Err()
}
