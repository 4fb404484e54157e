package main

import (
	"context"
	"errors"

	"github.com/tidwall/wal"
)

func openWAL(w *Work, sync bool) (*wal.Log, error) {
	return wal.Open(w.path("wal"), &wal.Options{NoSync: !sync, NoCopy: true})
}

// walFill writes n records in batches of 1 MiB.
func walFill(l *wal.Log, w *Work, n int) error {
	var b wal.Batch
	for i := range n {
		b.Write(uint64(i+1), w.payload(i))
		if (i+1)%(rawCall/(keyLen+valueLen)) == 0 || i == n-1 {
			if err := l.WriteBatch(&b); err != nil {
				return err
			}
		}
	}
	last, err := l.LastIndex()
	if err != nil {
		return err
	}
	return checkCount(last, n)
}

func walProduce(_ context.Context, w *Work) (_ Sample, err error) {
	l, err := openWAL(w, false)
	if err != nil {
		return Sample{}, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	m := w.start()
	if err := walFill(l, w, w.records); err != nil {
		return Sample{}, err
	}
	return m.done(int64(w.records), payloadBytes(w.records)), nil
}

func walReplay(_ context.Context, w *Work) (_ Sample, err error) {
	l, err := openWAL(w, false)
	if err != nil {
		return Sample{}, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if err := walFill(l, w, w.records); err != nil {
		return Sample{}, err
	}
	var read tally
	m := w.start()
	for i := range w.records {
		b, err := l.Read(uint64(i + 1))
		if err != nil {
			return Sample{}, err
		}
		read.addJoined(b)
	}
	return m.done(read.records, read.bytes), read.check(w.records)
}

func walSend(sync bool, slower int) func(context.Context, *Work) (Sample, error) {
	return func(_ context.Context, w *Work) (Sample, error) {
		l, err := openWAL(w, sync)
		if err != nil {
			return Sample{}, err
		}
		n := w.part(slower)
		sample, err := timed(w, n, func(i int) error {
			return l.Write(uint64(i+1), w.payload(i))
		})
		if err := errors.Join(err, l.Close()); err != nil {
			return Sample{}, err
		}
		if l, err = openWAL(w, sync); err != nil {
			return Sample{}, err
		}
		last, err := l.LastIndex()
		return sample, errors.Join(err, checkCount(last, n), l.Close())
	}
}

func walReopen(_ context.Context, w *Work) (_ Sample, err error) {
	l, err := openWAL(w, false)
	if err != nil {
		return Sample{}, err
	}
	if err := errors.Join(walFill(l, w, w.records), l.Close()); err != nil {
		return Sample{}, err
	}
	m := w.start()
	if l, err = openWAL(w, false); err != nil {
		return Sample{}, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	var read tally
	b, err := l.Read(uint64(w.records))
	if err != nil {
		return Sample{}, err
	}
	read.addJoined(b)
	return m.once(read.bytes), read.check(1)
}
