package main

import (
	"context"
	"encoding/binary"
	"errors"

	"go.etcd.io/bbolt"
)

var boltBucket = []byte("records")

func openBolt(w *Work, sync bool) (*bbolt.DB, error) {
	db, err := bbolt.Open(w.path("bolt"), 0o600, &bbolt.Options{NoSync: !sync, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return nil, err
	}
	return db, db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(boltBucket)
		return err
	})
}

// boltPut puts a record under the next number, as a log kept in bbolt would.
func boltPut(b *bbolt.Bucket, w *Work, i int) error {
	var key [8]byte
	binary.BigEndian.PutUint64(key[:], uint64(i))
	return b.Put(key[:], w.payload(i))
}

// boltFill writes n records in transactions of 1 MiB.
func boltFill(db *bbolt.DB, w *Work, n int) error {
	const per = rawCall / (keyLen + valueLen)
	for first := 0; first < n; first += per {
		err := db.Update(func(tx *bbolt.Tx) error {
			b := tx.Bucket(boltBucket)
			b.FillPercent = 1 // numbers only rise
			for i := first; i < min(first+per, n); i++ {
				if err := boltPut(b, w, i); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return db.View(func(tx *bbolt.Tx) error {
		last, _ := tx.Bucket(boltBucket).Cursor().Last()
		return checkCount(binary.BigEndian.Uint64(last)+1, n)
	})
}

func boltProduce(_ context.Context, w *Work) (_ Sample, err error) {
	db, err := openBolt(w, false)
	if err != nil {
		return Sample{}, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	n := w.part(4)
	m := w.start()
	if err := boltFill(db, w, n); err != nil {
		return Sample{}, err
	}
	return m.done(int64(n), payloadBytes(n)), nil
}

func boltReplay(_ context.Context, w *Work) (_ Sample, err error) {
	db, err := openBolt(w, false)
	if err != nil {
		return Sample{}, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	n := w.part(2)
	if err := boltFill(db, w, n); err != nil {
		return Sample{}, err
	}
	var read tally
	m := w.start()
	err = db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(boltBucket).ForEach(func(_, v []byte) error {
			read.addJoined(v)
			return nil
		})
	})
	return m.done(read.records, read.bytes), errors.Join(err, read.check(n))
}

func boltSend(sync bool, slower int) func(context.Context, *Work) (Sample, error) {
	return func(_ context.Context, w *Work) (Sample, error) {
		db, err := openBolt(w, sync)
		if err != nil {
			return Sample{}, err
		}
		n := w.part(slower)
		sample, err := timed(w, n, func(i int) error {
			return db.Update(func(tx *bbolt.Tx) error { return boltPut(tx.Bucket(boltBucket), w, i) })
		})
		return sample, errors.Join(err, db.Close(), boltHolds(w, n))
	}
}

// boltBatch puts records from many goroutines, which bbolt combines into one
// transaction: it commits as soon as all of them wait.
func boltBatch(slower int) func(context.Context, *Work) (Sample, error) {
	return func(_ context.Context, w *Work) (Sample, error) {
		db, err := openBolt(w, true)
		if err != nil {
			return Sample{}, err
		}
		db.MaxBatchSize = writers
		n := w.part(slower)
		sample, err := timedBy(w, n, writers, func(i int) error {
			return db.Batch(func(tx *bbolt.Tx) error { return boltPut(tx.Bucket(boltBucket), w, i) })
		})
		return sample, errors.Join(err, db.Close(), boltHolds(w, n))
	}
}

// boltHolds opens the file again and returns an error unless it contains n
// records.
func boltHolds(w *Work, n int) (err error) {
	db, err := openBolt(w, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var read tally
	err = db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(boltBucket).ForEach(func(_, v []byte) error {
			read.addJoined(v)
			return nil
		})
	})
	return errors.Join(err, read.check(n))
}

func boltReopen(_ context.Context, w *Work) (_ Sample, err error) {
	db, err := openBolt(w, false)
	if err != nil {
		return Sample{}, err
	}
	n := w.part(2)
	if err := errors.Join(boltFill(db, w, n), db.Close()); err != nil {
		return Sample{}, err
	}
	m := w.start()
	if db, err = openBolt(w, false); err != nil {
		return Sample{}, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var read tally
	err = db.View(func(tx *bbolt.Tx) error {
		_, v := tx.Bucket(boltBucket).Cursor().Last()
		read.addJoined(v)
		return nil
	})
	return m.once(read.bytes), errors.Join(err, read.check(1))
}
