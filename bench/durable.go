package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/topic"
)

// writers is how many goroutines send in the concurrent cases.
const writers = 64

// runnelDurable sends records from that many goroutines and waits for each to
// be on disk. After the directory is opened again, it reads and counts the
// records.
func runnelDurable(goroutines, slower int) func(context.Context, *Work) (Sample, error) {
	return func(ctx context.Context, w *Work) (Sample, error) {
		sample, err := runnelSend(topic.Fsync, goroutines, slower)(ctx, w)
		if err != nil {
			return Sample{}, err
		}
		broker, err := openRunnel(ctx, w.path("runnel"), topic.Fsync)
		if err != nil {
			return Sample{}, err
		}
		var t tally
		err = read(ctx, broker, int(sample.Records), new(waits), func(r *record.Record) { t.add(r.Key, r.Value) })
		return sample, errors.Join(err, t.check(int(sample.Records)), broker.Close())
	}
}

// batchOfOne returns the bytes in a segment of a record that was sent alone.
func (w *Work) batchOfOne() ([]byte, error) {
	b := record.NewBuilder(rawCall)
	b.Add(time.Now().UnixMilli(), w.key(0), w.value(0), nil)
	batch, err := b.Batch(nil, record.None, 0)
	return batch.Bytes, err
}

// holds returns an error unless the file is n times b, perhaps followed by
// zeros.
func holds(f *os.File, b []byte, n int) error {
	in := io.NewSectionReader(f, 0, 1<<62)
	got := make([]byte, len(b))
	for i := range n {
		if _, err := io.ReadFull(in, got); err != nil {
			return err
		}
		if !bytes.Equal(got, b) {
			return fmt.Errorf("record %d is not what was written", i)
		}
	}
	rest, err := io.ReadAll(in)
	if err == nil && len(bytes.Trim(rest, "\x00")) > 0 {
		err = fmt.Errorf("%d bytes more than were written", len(rest))
	}
	return err
}

// rawDurable writes one record at a time and makes it durable: after the end of
// the file, or over zeros that were written and synced before.
func rawDurable(zeros bool) func(context.Context, *Work) (Sample, error) {
	return func(_ context.Context, w *Work) (_ Sample, err error) {
		batch, err := w.batchOfOne()
		if err != nil {
			return Sample{}, err
		}
		f, err := os.Create(w.path("raw"))
		if err != nil {
			return Sample{}, err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		n := w.part(slowDisk)
		if zeros {
			if _, err := f.Write(make([]byte, n*len(batch))); err != nil {
				return Sample{}, err
			}
			if err := fdatasync(f); err != nil {
				return Sample{}, err
			}
		}
		sample, err := timed(w, n, func(i int) error {
			if _, err := f.WriteAt(batch, int64(i*len(batch))); err != nil {
				return err
			}
			return fdatasync(f)
		})
		return sample, errors.Join(err, holds(f, batch, n))
	}
}

// sharedFile is a file to which many goroutines append and share each other's
// fdatasync: the usual group commit.
type sharedFile struct {
	file *os.File

	mu      sync.Mutex
	synced  sync.Cond // broadcast after each fdatasync
	end     int64     // of what was written
	durable int64     // durable <= end
	syncing bool      // somebody calls fdatasync
	failed  error
}

func newSharedFile(f *os.File) *sharedFile {
	s := &sharedFile{file: f}
	s.synced.L = &s.mu
	return s
}

// append writes b at the end and waits until it is on disk. While one goroutine
// calls fdatasync the next ones write, and then the first of them calls it for
// all.
func (s *sharedFile) append(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.file.WriteAt(b, s.end); err != nil {
		return err
	}
	s.end += int64(len(b))
	for mine := s.end; s.durable < mine && s.failed == nil; {
		if s.syncing {
			s.synced.Wait()
			continue
		}
		s.syncing = true
		to := s.end
		s.mu.Unlock()
		err := fdatasync(s.file)
		s.mu.Lock()
		s.syncing, s.durable, s.failed = false, to, err
		s.synced.Broadcast()
	}
	return s.failed
}

// rawShared appends single records to one file from many goroutines that share
// their fdatasyncs.
func rawShared(_ context.Context, w *Work) (_ Sample, err error) {
	batch, err := w.batchOfOne()
	if err != nil {
		return Sample{}, err
	}
	f, err := os.Create(w.path("raw"))
	if err != nil {
		return Sample{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	s := newSharedFile(f)
	n := w.part(slowTurn)
	sample, err := timedBy(w, n, writers, func(int) error { return s.append(batch) })
	return sample, errors.Join(err, holds(f, batch, n))
}
