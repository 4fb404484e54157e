package streams

import (
	"time"

	"github.com/runnel-go/runnel/fault"
	"github.com/runnel-go/runnel/record"
	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams/state"
)

// Count counts the records of each key in a store of that name, and returns the
// table of the counts. The timestamp of a count is the largest of its records'.
func Count[K, V any](g Grouped[K, V], store string) *KTable[K, int64] {
	return newTable(counted(g.grouping(), store))
}

func counted[K, V any](g *grouping[K, V], store string) changes[K, int64] {
	return aggregate(g, "KSTREAM-AGGREGATE-", store, serde.Int64, true, func(f folding[K, int64], w gatherer[K, V]) receiver[K, V] {
		return &counter[K, V]{folding: f, gatherer: w}
	})
}

// Reduce combines the values of each key in a store of that name. The first
// value is the first result; f then returns the next result from the current
// one and the next value. A null result deletes the key.
func Reduce[K, V any](g Grouped[K, V], store string, f func(result, value V) V) *KTable[K, V] {
	return newTable(reduced(g.grouping(), store, f))
}

func reduced[K, V any](g *grouping[K, V], store string, f func(result, value V) V) changes[K, V] {
	return aggregate(g, "KSTREAM-REDUCE-", store, g.value, f != nil, func(work folding[K, V], w gatherer[K, V]) receiver[K, V] {
		return &reducer[K, V]{folding: work, gatherer: w, f: f}
	})
}

// Aggregate combines the values of each key in a store of that name into a
// value of another type, starting with the result of initial. A null aggregate
// deletes the key.
func Aggregate[K, V, A any](g Grouped[K, V], store string, initial func() A, add func(key K, value V, aggregate A) A, options ...ValueOption[A]) *KTable[K, A] {
	return newTable(aggregated(g.grouping(), store, initial, add, options))
}

func aggregated[K, V, A any](
	g *grouping[K, V], store string, initial func() A, add func(key K, value V, aggregate A) A, options []ValueOption[A],
) changes[K, A] {
	given := initial != nil && add != nil
	return aggregate(g, "KSTREAM-AGGREGATE-", store, valueSerde(options), given, func(f folding[K, A], w gatherer[K, V]) receiver[K, V] {
		return &aggregator[K, V, A]{folding: f, gatherer: w, initial: initial, add: add}
	})
}

// aggregate declares a node with a store of A over a grouping and returns its
// changes; work creates the node's processor. aggregate does not create the
// KTable itself, so that windowed groupings can have methods that call it: see
// KTable.
func aggregate[K, V, A any](
	g *grouping[K, V], prefix, store string, value serde.Serde[A], given bool,
	work func(folding[K, A], gatherer[K, V]) receiver[K, V],
) changes[K, A] {
	t := g.topology
	name := t.generate(prefix)
	from, asRead := g.gathered(store)
	n := t.add(processorNode, name, from.node)
	g.check(n)
	t.need(n, given)
	key := serdeFor(t, n, "keys", g.key)
	read := g.value
	if read == nil && asRead { // the repartition topic is written with this serde
		read, _ = serde.Default[V]()
	}
	in := newCodec(read)
	value = serdeFor(t, n, "results", value)
	results := tabled[K, A](t, n, key, value, nil)
	results.view.store, results.view.own = t.addStore(n, store), true
	if g.windows != nil {
		results.view.windows, results.view.store.retention = &g.windows.keys, g.windows.retention
	}
	from.to(n, func(w *wiring, clock *windowClock) receiver[K, V] {
		f := newFolding(w, results.view, results.wire(w))
		f.clock = clock
		at := work(f, gatherer[K, V]{key: newCodec(key), value: in, asRead: asRead})
		w.flushes(n, at.(flusher))
		return at
	})
	return results
}

// folding is what all aggregating nodes share: the store, and the handling of
// its changes.
type folding[K, A any] struct {
	step
	store   *state.Cache[K, A]
	timed   *state.Timed[K, A] // of windowed keys; else nil
	clock   *windowClock       // the same
	log     state.Changelog
	value   codec[A]
	next    receiver[K, change[A]]
	cached  bool // changes wait for the next flush
	guarded bool // an error handler is set
	old     bool // changes carry old values
	entry   *state.Entry[K, A]
}

func newFolding[K, A any](w *wiring, v *view[K, A], next receiver[K, change[A]]) folding[K, A] {
	kept := v.inTask(w)
	return folding[K, A]{
		step: w.step(v.node), store: kept.cache, timed: kept.timed, log: kept.log, value: newCodec(v.value),
		next: next, cached: w.cached, guarded: w.guarded, old: v.old,
	}
}

// find returns the entry of a serialized key, and nil if its window has expired.
func (f *folding[K, A]) find(key []byte) (*state.Entry[K, A], error) {
	if f.timed == nil {
		return f.store.Entry(key)
	}
	f.timed.Advance(f.clock.ms)
	plain, start := splitWindowed(key)
	return f.timed.EntryAt(plain, start, 0)
}

// changed completes a change that the current record made to e.
func (f *folding[K, A]) changed(e *state.Entry[K, A]) error {
	ms := f.task.ms
	if e.Present {
		ms = max(ms, e.Ms)
	}
	return f.put(e, f.value.present(e.Value, true), ms)
}

// put completes a change that the current record made to e, with the timestamp
// that e has now.
func (f *folding[K, A]) put(e *state.Entry[K, A], present bool, ms int64) error {
	e.Ms = ms
	f.store.Changed(e, present)
	switch {
	case !f.cached:
		return f.write(true)
	case f.store.Full():
		return f.write(false)
	}
	return nil
}

// flush writes changes to the changelog and forwards them.
func (f *folding[K, A]) flush() error {
	f.task.origin = f
	return f.write(false)
}

// write writes and forwards changes, each as it was made if through is true. If
// an update cannot be written and the handler says to continue, write undoes
// it.
func (f *folding[K, A]) write(through bool) error {
	for {
		f.enter()
		err := f.try(through)
		if err == nil || f.store.Failing() == nil {
			return err
		}
		f.entry = f.store.Failing()
		if err := f.handle(Processing, fault.Newf(fault.Serialization, "a value of the store %s", f.store.Name()).Because(err)); err != nil {
			return err
		}
		if err := f.store.Undo(); err != nil {
			return err
		}
	}
}

// try is write up to the first error. If an error handler is set, a panic of
// the value's serde is an error, too.
func (f *folding[K, A]) try(through bool) (err error) {
	if f.guarded {
		defer func() {
			if f.store.Failing() == nil {
				return // not the serde's panic: one that run or a guard recovers
			}
			if p := recover(); p != nil {
				err = panicked(p)
			}
		}()
	}
	if through {
		return f.store.WriteThrough(f.log, f.emit)
	}
	return f.store.Flush(f.log, f.emit)
}

func (f *folding[K, A]) emit(e *state.Entry[K, A]) error {
	f.entry = e
	key, err := f.store.Key(e)
	if err != nil {
		return f.failed(err)
	}
	m := message[K, change[A]]{key: key, hasKey: true, hasValue: true}
	m.value.new, m.value.hasNew = e.Value, e.Present
	if f.old {
		if m.value.old, m.value.hasOld, err = f.store.Old(e); err != nil {
			return f.failed(err)
		}
	}
	ms := f.task.ms
	f.task.ms = e.Ms
	err = f.next.receive(m)
	f.task.ms = ms
	if err == nil {
		f.enter()
	}
	return err
}

// raw implements origin.
func (f *folding[K, A]) raw() record.Record {
	r := record.Record{
		Topic: f.task.plan.app + "-" + f.store.Name() + changelogSuffix, Partition: f.task.id.Partition, Offset: -1,
	}
	if e := f.entry; e != nil {
		r.Timestamp = time.UnixMilli(e.Ms)
		r.Key, r.Value = f.store.Encoded(e)
	}
	return r
}

// gatherer decodes the input of an aggregation.
type gatherer[K, V any] struct {
	key     codec[K]
	value   codec[V]
	asRead  bool // the source's bytes are also the store's
	scratch []byte
}

// gathersBytes makes every node with a gatherer a bytesReceiver if it can be
// one.
func (g *gatherer[K, V]) gathersBytes() bool { return g.asRead }

// bytes returns m's key as the store encodes it, and false if the record must
// be skipped. The bytes are valid until the next call.
func (g *gatherer[K, V]) bytes(m *message[K, V]) ([]byte, bool, error) {
	if !g.key.present(m.key, m.hasKey) || !g.value.present(m.value, m.hasValue) {
		return nil, false, nil
	}
	var err error
	g.scratch, err = g.key.Append(g.scratch[:0], m.key)
	return g.scratch, true, err
}

type counter[K, V any] struct {
	folding[K, int64]
	gatherer[K, V]
}

func (c *counter[K, V]) receive(m message[K, V]) error {
	c.enter()
	key, ok, err := c.bytes(&m)
	if !ok || err != nil {
		return c.handle(Processing, err)
	}
	return c.count(key)
}

func (c *counter[K, V]) receiveBytes(key, value []byte) error {
	if key == nil || value == nil {
		return nil
	}
	return c.count(key)
}

func (c *counter[K, V]) count(key []byte) error {
	e, err := c.find(key)
	if e == nil || err != nil {
		return c.failed(err)
	}
	if !e.Present {
		e.Value = 0
	}
	e.Value++
	return c.changed(e)
}

type reducer[K, V any] struct {
	folding[K, V]
	gatherer[K, V]
	f func(result, value V) V
}

func (r *reducer[K, V]) receive(m message[K, V]) error {
	r.enter()
	key, ok, err := r.bytes(&m)
	if !ok || err != nil {
		return r.handle(Processing, err)
	}
	return r.reduce(key, m.value)
}

func (r *reducer[K, V]) receiveBytes(key, value []byte) error {
	if key == nil || value == nil {
		return nil
	}
	v, err := r.gatherer.value.Decode(value)
	if err != nil {
		return r.handle(Deserialization, fault.Newf(fault.Serialization, "the value").Because(err))
	}
	return r.reduce(key, v)
}

func (r *reducer[K, V]) reduce(key []byte, value V) error {
	e, err := r.find(key)
	if e == nil || err != nil {
		return r.failed(err)
	}
	if e.Present {
		r.enter()
		value = r.f(e.Value, value)
	}
	e.Value = value
	return r.changed(e)
}

type aggregator[K, V, A any] struct {
	folding[K, A]
	gatherer[K, V]
	initial func() A
	add     func(K, V, A) A
}

func (a *aggregator[K, V, A]) receive(m message[K, V]) error {
	a.enter()
	key, ok, err := a.bytes(&m)
	if !ok || err != nil {
		return a.handle(Processing, err)
	}
	e, err := a.find(key)
	if e == nil || err != nil {
		return a.failed(err)
	}
	defer a.store.Release(e) // if a panic leaves it empty
	return a.aggregate(e, m.key, m.value)
}

func (a *aggregator[K, V, A]) receiveBytes(key, value []byte) error {
	if key == nil || value == nil {
		return nil
	}
	v, err := a.gatherer.value.Decode(value)
	if err != nil {
		return a.handle(Deserialization, fault.Newf(fault.Serialization, "the value").Because(err))
	}
	e, err := a.find(key)
	if e == nil || err != nil {
		return a.failed(err)
	}
	defer a.store.Release(e) // if an error or a panic leaves it empty
	k, err := a.store.Key(e)
	if err != nil {
		return a.handle(Deserialization, fault.Newf(fault.Serialization, "the key").Because(err))
	}
	return a.aggregate(e, k, v)
}

func (a *aggregator[K, V, A]) aggregate(e *state.Entry[K, A], key K, value V) error {
	a.enter()
	if !e.Present {
		e.Value = a.initial()
	}
	e.Value = a.add(key, value, e.Value)
	return a.changed(e)
}
