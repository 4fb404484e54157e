// Package pebble keeps stores of streams on disk, in Pebble, a log-structured
// merge tree: state that is larger than memory.
//
//	b, err := pebble.Open(dir)
//	…
//	counts := state.NewKeyValue("counts", serde.String, serde.Int64, state.Over(b))
//
// There is no write-ahead log, because the store's changelog is one: what was
// applied since the last Checkpoint may be lost in a crash, and is restored from
// the changelog behind the Checkpoint's position. A Checkpoint writes what is in
// memory as a file, so it is for now and then, not for every commit.
//
// A directory has one owner at a time. A Store belongs to one goroutine at a
// time; its snapshots may be read by others.
package pebble

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/streams/state"
)

// Store is a state.Bytes in a directory.
type Store struct {
	reader
	db       *pebble.DB
	dir      string
	failed   *failure
	position int64
	placed   bool // there was a Checkpoint
	value    []byte
}

var _ state.Bytes = (*Store)(nil)

// Keys begin with a byte that says what they are of.
const (
	metaKey byte = iota // the position
	userKey
	behindKeys
)

// Open opens the store that is in a directory, or creates one. It fails if
// another Store has the directory open.
func Open(dir string) (*Store, error) { return open(dir, vfs.Default) }

func open(dir string, fs vfs.FS) (*Store, error) {
	failed := &failure{}
	db, err := pebble.Open(dir, &pebble.Options{
		FS: fs, DisableWAL: true, Logger: failed, FormatMajorVersion: pebble.FormatNewest,
	})
	if err != nil {
		return nil, fmt.Errorf("the store in %s: %w", dir, err)
	}
	s := &Store{reader: reader{of: db, dir: dir, failed: failed}, db: db, dir: dir, failed: failed, value: make([]byte, 0, 64)}
	b, closer, err := db.Get([]byte{metaKey})
	switch {
	case err == nil && len(b) == 8:
		s.position, s.placed = int64(binary.BigEndian.Uint64(b)), true
		err = closer.Close()
	case err == nil:
		err = errors.Join(fault.Newf(fault.Serialization, "the position is %d bytes long", len(b)), closer.Close())
	case errors.Is(err, pebble.ErrNotFound):
		err = nil
	}
	if err != nil {
		return nil, errors.Join(s.named(err), db.Close())
	}
	return s, nil
}

// Get implements state.Reader.
func (s *Store) Get(key []byte) ([]byte, error) {
	found, err := s.get(s.value[:0], key)
	if found != nil {
		s.value = found
	}
	return found, err
}

// Apply implements state.Bytes.
func (s *Store) Apply(b *state.Batch) error {
	w := writer{batch: s.db.NewBatchWithSize(b.Size() + 16*b.Len())}
	err := b.Each(&w)
	if err == nil {
		err = w.batch.Commit(pebble.NoSync)
	}
	return s.named(errors.Join(err, w.batch.Close()))
}

// Snapshot implements state.Bytes.
func (s *Store) Snapshot() (state.Snapshot, error) {
	snap := s.db.NewSnapshot()
	return &snapshot{reader{of: snap, dir: s.dir, failed: s.failed}, snap}, s.failed.error()
}

// Size implements state.Bytes: the bytes on disk and those not written yet.
func (s *Store) Size() int64 {
	m := s.db.Metrics()
	return int64(m.DiskSpaceUsage() + m.MemTable.Size)
}

// Checkpoint implements state.Bytes.
func (s *Store) Checkpoint(position int64) error {
	err := s.db.Set([]byte{metaKey}, binary.BigEndian.AppendUint64(nil, uint64(position)), pebble.NoSync)
	if err == nil {
		err = s.db.Flush()
	}
	if err = s.named(err); err == nil {
		s.position, s.placed = position, true
	}
	return err
}

// Position implements state.Bytes.
func (s *Store) Position() (int64, bool) { return s.position, s.placed }

// Close implements state.Bytes. Snapshots must be closed before.
func (s *Store) Close() error { return s.named(s.db.Close()) }

// writer is a batch of Pebble as a state.Writer.
type writer struct {
	batch    *pebble.Batch
	from, to []byte
}

// Put implements state.Writer.
func (w *writer) Put(key, value []byte) error {
	w.from = appendKey(w.from[:0], key)
	return w.batch.Set(w.from, value, nil)
}

// Delete implements state.Writer.
func (w *writer) Delete(key []byte) error {
	w.from = appendKey(w.from[:0], key)
	return w.batch.Delete(w.from, nil)
}

// DeleteRange implements state.Writer.
func (w *writer) DeleteRange(from, to []byte) error {
	w.from, w.to = appendKey(w.from[:0], from), appendEnd(w.to[:0], to)
	if string(w.from) >= string(w.to) {
		return nil
	}
	return w.batch.DeleteRange(w.from, w.to, nil)
}

func appendKey(dst, key []byte) []byte { return append(append(dst, userKey), key...) }

// appendEnd appends the end of a range, which is behind all keys if it is nil.
func appendEnd(dst, to []byte) []byte {
	if to == nil {
		return append(dst, behindKeys)
	}
	return appendKey(dst, to)
}

// reader reads a database, or a snapshot of one.
type reader struct {
	of     pebble.Reader
	dir    string
	failed *failure
}

// named returns err, or what has made the database fail before.
func (r *reader) named(err error) error {
	if err = errors.Join(err, r.failed.error()); err != nil {
		return fmt.Errorf("the store in %s: %w", r.dir, err)
	}
	return nil
}

// get appends a key's value to dst, or returns nil.
func (r *reader) get(dst, key []byte) ([]byte, error) {
	value, closer, err := r.of.Get(appendKey(nil, key))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, r.named(nil)
	}
	if err != nil {
		return nil, r.named(err)
	}
	dst = append(dst, value...)
	return dst, r.named(closer.Close())
}

// Range implements state.Reader.
func (r *reader) Range(from, to []byte, order state.Order, yield func(key, value []byte) bool) error {
	first, behind := appendKey(nil, from), appendEnd(nil, to)
	if string(first) >= string(behind) {
		return nil
	}
	it, err := r.of.NewIter(&pebble.IterOptions{LowerBound: first, UpperBound: behind})
	if err != nil {
		return r.named(err)
	}
	begin, next := it.First, it.Next
	if order == state.Descending {
		begin, next = it.Last, it.Prev
	}
	for ok := begin(); ok && yield(it.Key()[1:], it.Value()); ok = next() {
	}
	return r.named(it.Close()) // with the error that ended it
}

// snapshot is a state.Snapshot.
type snapshot struct {
	reader
	snap *pebble.Snapshot
}

// Get implements state.Reader.
func (s *snapshot) Get(key []byte) ([]byte, error) { return s.get([]byte{}, key) }

// Close implements state.Snapshot.
func (s *snapshot) Close() error { return s.named(s.snap.Close()) }

// failure is Pebble's logger. It keeps what Pebble calls fatal, so that each
// call fails from then on and not the program ends.
type failure struct{ err atomic.Pointer[error] }

func (f *failure) error() error {
	if err := f.err.Load(); err != nil {
		return *err
	}
	return nil
}

// Infof implements Pebble's Logger.
func (*failure) Infof(string, ...any) {}

// Errorf implements Pebble's Logger. The calls that fail return these errors,
// too.
func (*failure) Errorf(string, ...any) {}

// Fatalf implements Pebble's Logger.
func (f *failure) Fatalf(format string, args ...any) {
	err := fmt.Errorf("pebble: "+format, args...)
	f.err.CompareAndSwap(nil, &err)
}
