package main

import (
	"context"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// rawCall is how many bytes the bare operations process per call.
const rawCall = 1 << 20

// encoded returns the records of a batch of about a MiB, encoded as in a
// segment, and their number.
func (w *Work) encoded() ([]byte, int, error) {
	b := record.NewBuilder(rawCall)
	n := 0
	for ms := time.Now().UnixMilli(); b.Add(ms, w.key(n), w.value(n), nil); n++ {
	}
	batch, err := b.Batch(nil, record.None, 0)
	return batch.Bytes, n, err
}

// rawWrite writes w.records encoded records to a new file, 1 MiB per call: the
// minimum for storing them.
func rawWrite(_ context.Context, w *Work) (Sample, error) {
	batch, per, err := w.encoded()
	if err != nil {
		return Sample{}, err
	}
	f, err := os.Create(w.path("raw"))
	if err != nil {
		return Sample{}, err
	}
	defer f.Close()
	m := w.start()
	n := 0
	for ; n < w.records; n += per {
		if _, err := f.Write(batch); err != nil {
			return Sample{}, err
		}
	}
	sample := m.done(int64(n), payloadBytes(n))
	info, err := f.Stat()
	if err != nil {
		return Sample{}, err
	}
	return sample, checkCount(info.Size()/int64(len(batch))*int64(per), n)
}

// rawMemmove copies the encoded records in memory.
func rawMemmove(_ context.Context, w *Work) (Sample, error) {
	batch, per, err := w.encoded()
	if err != nil {
		return Sample{}, err
	}
	// As much memory as a log's newest batches take, so not all of it is in the
	// nearest cache.
	dst := make([]byte, 16*len(batch))
	m := w.start()
	n := 0
	for ; n < w.records; n += per {
		copy(dst[n/per%16*len(batch):], batch)
	}
	return m.done(int64(n), payloadBytes(n)), nil
}

// rawCRC computes the checksum of the encoded records.
func rawCRC(_ context.Context, w *Work) (Sample, error) {
	batch, per, err := w.encoded()
	if err != nil {
		return Sample{}, err
	}
	table := crc32.MakeTable(crc32.Castagnoli)
	want := crc32.Checksum(batch, table)
	m := w.start()
	n := 0
	for ; n < w.records; n += per {
		if crc32.Checksum(batch, table) != want {
			return Sample{}, errors.New("a checksum that changes")
		}
	}
	return m.done(int64(n), payloadBytes(n)), nil
}

// rawReplay reads a file of encoded records, 1 MiB per call, and computes its
// checksum: one goroutine, warm cache, no read-ahead of its own.
func rawReplay(ctx context.Context, w *Work) (Sample, error) {
	written, err := rawWrite(ctx, w)
	if err != nil {
		return Sample{}, err
	}
	f, err := os.Open(w.path("raw"))
	if err != nil {
		return Sample{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Sample{}, err
	}
	m := w.start()
	pos, err := scan(f)
	if err != nil {
		return Sample{}, err
	}
	sample := m.done(written.Records, written.Bytes)
	return sample, checkCount(pos, int(info.Size()))
}

// scan reads a file through, computes the checksum of it, and returns its length.
func scan(f *os.File) (pos int64, err error) {
	table := crc32.MakeTable(crc32.Castagnoli)
	buf := make([]byte, rawCall)
	sum := uint32(0)
	for {
		n, err := f.ReadAt(buf, pos)
		sum ^= crc32.Checksum(buf[:n], table)
		pos += int64(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			return pos, err
		}
	}
	if sum == 0 {
		return pos, errors.New("a checksum of nothing")
	}
	return pos, nil
}

// rawScan reads what a broker had not synced when it crashed and computes its
// checksum: the minimum for opening.
func rawScan(ctx context.Context, w *Work) (Sample, error) {
	w = w.larger()
	dir, err := filledDir(ctx, w, false)
	if err != nil {
		return Sample{}, err
	}
	segments, err := filepath.Glob(filepath.Join(dir, benchPartition.Topic+"-0", "*.log"))
	if err != nil {
		return Sample{}, err
	}
	f, err := os.Open(segments[len(segments)-1]) // the others were synced when they were sealed
	if err != nil {
		return Sample{}, err
	}
	defer f.Close()
	m := w.start()
	size, err := scan(f)
	if err != nil {
		return Sample{}, err
	}
	sample := m.once(payloadBytes(w.records))
	broker, err := openRunnel(ctx, dir, topic.OS)
	if err != nil {
		return Sample{}, err
	}
	verified := int64(0)
	for _, p := range broker.Recovery().Partitions {
		if p.TopicPartition == benchPartition {
			verified = p.Bytes
		}
	}
	return sample, errors.Join(checkCount(size, int(verified)), broker.Close())
}
