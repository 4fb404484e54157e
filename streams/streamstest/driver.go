package streamstest

import (
	"testing"
	"time"

	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams"
	"github.com/runnel-go/runnel/streams/state"
)

// Application is the name that the topology runs under, the prefix of its
// internal topics.
const Application = "test"

// Driver runs one topology for a test.
type Driver struct {
	*streams.Simulation
	t testing.TB
}

// New returns a Driver. An invalid topology fails the test.
func New(t testing.TB, define func(*streams.Topology), options ...streams.Option) *Driver {
	t.Helper()
	s, err := streams.NewSimulation(Application, define, options...)
	if err != nil {
		t.Fatalf("streamstest: %v", err)
	}
	t.Cleanup(s.Close)
	return &Driver{Simulation: s, t: t}
}

// Record is a typed record.
type Record[K, V any] = streams.Record[K, V]

// TestInput writes to a topic that the topology reads.
type TestInput[K, V any] struct {
	d  *Driver
	to serde.Topic[K, V]
}

// Input returns the writer to a topic.
func Input[K, V any](d *Driver, to serde.Topic[K, V]) *TestInput[K, V] {
	return &TestInput[K, V]{d, to}
}

// Send writes a record at the driver's time. An error fails the test.
func (in *TestInput[K, V]) Send(key K, value V) {
	in.d.t.Helper()
	in.must(Record[K, V]{Key: key, HasKey: true, Value: value, HasValue: true})
}

// SendAt writes a record at a time of its own. An error fails the test.
func (in *TestInput[K, V]) SendAt(at time.Time, key K, value V) {
	in.d.t.Helper()
	in.must(Record[K, V]{Key: key, HasKey: true, Value: value, HasValue: true, At: at})
}

// SendValue writes a record with a null key. An error fails the test.
func (in *TestInput[K, V]) SendValue(value V) {
	in.d.t.Helper()
	in.must(Record[K, V]{Value: value, HasValue: true})
}

// Delete writes a tombstone. An error fails the test.
func (in *TestInput[K, V]) Delete(key K) {
	in.d.t.Helper()
	in.must(Record[K, V]{Key: key, HasKey: true})
}

func (in *TestInput[K, V]) must(r Record[K, V]) {
	in.d.t.Helper()
	if err := in.Try(r); err != nil {
		in.d.t.Fatalf("streamstest: %v", err)
	}
}

// Try writes a record and returns the topology's error: nil, or a
// *streams.ProcessingError. A zero At means the driver's time.
func (in *TestInput[K, V]) Try(r Record[K, V]) (err error) {
	raw := record.Record{Topic: in.to.Name, Timestamp: r.At, Headers: r.Headers}
	if raw.Key, err = encode(in.to.Key, r.Key, r.HasKey); err != nil {
		return err
	}
	if raw.Value, err = encode(in.to.Value, r.Value, r.HasValue); err != nil {
		return err
	}
	return in.d.Simulation.Send(raw)
}

// encode returns the bytes of v, and nil for null.
func encode[T any](s serde.Serde[T], v T, has bool) ([]byte, error) {
	if null, ok := s.(serde.NullableSerde[T]); !has || ok && null.IsNull(v) {
		return nil, nil
	}
	return s.Append([]byte{}, v)
}

// TestOutput reads a topic that the topology writes, each record once.
type TestOutput[K, V any] struct {
	d    *Driver
	from serde.Topic[K, V]
	next int
}

// Output returns a reader of a topic, from its first record on.
func Output[K, V any](d *Driver, from serde.Topic[K, V]) *TestOutput[K, V] {
	return &TestOutput[K, V]{d: d, from: from}
}

// Read returns the next record, and whether there is one. Bytes that a serde
// does not accept fail the test.
func (out *TestOutput[K, V]) Read() (Record[K, V], bool) {
	out.d.t.Helper()
	all := out.d.Records(out.from.Name)
	if out.next == len(all) {
		return Record[K, V]{}, false
	}
	raw := all[out.next]
	out.next++
	r := Record[K, V]{HasKey: raw.Key != nil, HasValue: raw.Value != nil, At: raw.Timestamp, Headers: raw.Headers}
	var err error
	if r.HasKey {
		if r.Key, err = out.from.Key.Decode(raw.Key); err != nil {
			out.d.t.Fatalf("streamstest: the key at %s: %v", raw.Position(), err)
		}
	}
	if r.HasValue {
		if r.Value, err = out.from.Value.Decode(raw.Value); err != nil {
			out.d.t.Fatalf("streamstest: the value at %s: %v", raw.Position(), err)
		}
	}
	return r, true
}

// ReadAll returns the records that have not been read yet.
func (out *TestOutput[K, V]) ReadAll() []Record[K, V] {
	out.d.t.Helper()
	var all []Record[K, V]
	for r, ok := out.Read(); ok; r, ok = out.Read() {
		all = append(all, r)
	}
	return all
}

// Table reads the records that have not been read yet as a table: the last
// value of each key, without the keys that were deleted. It skips records with
// a null key.
func Table[K comparable, V any](out *TestOutput[K, V]) map[K]V {
	out.d.t.Helper()
	table := make(map[K]V)
	for _, r := range out.ReadAll() {
		switch {
		case !r.HasKey:
		case r.HasValue:
			table[r.Key] = r.Value
		default:
			delete(table, r.Key)
		}
	}
	return table
}

// Store returns the store of that name. A store that does not exist, or that
// has other types, fails the test.
func Store[K, V any](d *Driver, name string) *state.KeyValue[K, V] {
	d.t.Helper()
	s, ok := d.Simulation.Store(name)
	if !ok {
		d.t.Fatalf("streamstest: no store %q", name)
	}
	typed, ok := s.(*state.KeyValue[K, V])
	if !ok {
		d.t.Fatalf("streamstest: the store %q is a %T", name, s)
	}
	return typed
}
