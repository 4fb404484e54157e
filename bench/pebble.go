package main

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/cockroachdb/pebble/v2"
)

// quiet is a logger that discards what a library logs.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(string, ...any) {}

func openPebble(w *Work) (*pebble.DB, error) {
	return pebble.Open(w.path("pebble"), &pebble.Options{Logger: quiet{}})
}

// pebbleSend puts records under rising numbers from that many goroutines. It
// waits for each to be in the write-ahead log on disk, and counts them when the
// directory is opened again.
func pebbleSend(goroutines, slower int) func(context.Context, *Work) (Sample, error) {
	return func(_ context.Context, w *Work) (Sample, error) {
		db, err := openPebble(w)
		if err != nil {
			return Sample{}, err
		}
		n := w.part(slower)
		sample, err := timedBy(w, n, goroutines, func(i int) error {
			var key [8]byte
			binary.BigEndian.PutUint64(key[:], uint64(i))
			return db.Set(key[:], w.payload(i), pebble.Sync)
		})
		if err := errors.Join(err, db.Close()); err != nil {
			return Sample{}, err
		}
		if db, err = openPebble(w); err != nil {
			return Sample{}, err
		}
		it, err := db.NewIter(nil)
		if err != nil {
			return Sample{}, errors.Join(err, db.Close())
		}
		var read tally
		for ok := it.First(); ok; ok = it.Next() {
			read.addJoined(it.Value())
		}
		return sample, errors.Join(it.Close(), db.Close(), read.check(n))
	}
}
