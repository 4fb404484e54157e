package streams

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"

	"github.com/runnel-go/runnel/serde"
	"github.com/runnel-go/runnel/streams/state"
)

// JoinTablesBy joins each row of the left table with the row of the right one
// that it refers to: reference returns that row's key, and false if the left row
// refers to none. The results have the keys of the left table. A left row
// without its right row has no result: it sends a deletion, even if there was no
// result before.
//
// The tables need not have equal numbers of partitions (KIP-213). The left one
// subscribes to the rows that it refers to, through a repartition topic, and a
// second one leads the answers back. Each answer says for which value of the left
// row it is, and is dropped if that is no longer the row's value. One change on
// the right becomes a result for each left row that refers to it. The topics, and
// the store of the subscriptions, are named after the join: see Named. The
// result's timestamp is the larger one of the two rows.
func JoinTablesBy[K, V, K2, V2, R any](
	left *KTable[K, V], right *KTable[K2, V2], reference func(key K, value V) (K2, bool), join func(key K, left V, right V2) R, options ...ValueOption[R],
) *KTable[K, R] {
	both := func(key K, l V, r *V2) (result R, ok bool) {
		if r == nil {
			return result, false
		}
		return join(key, l, *r), true
	}
	return newTable(joinForeign(left.changes, right.changes, reference, both, reference != nil && join != nil, options))
}

// LeftJoinTablesBy is JoinTablesBy with a result for every row of the
// left table: join gets nil if there is no right row, or no reference to one.
func LeftJoinTablesBy[K, V, K2, V2, R any](
	left *KTable[K, V], right *KTable[K2, V2], reference func(key K, value V) (K2, bool), join func(key K, left V, right *V2) R, options ...ValueOption[R],
) *KTable[K, R] {
	one := func(key K, l V, r *V2) (R, bool) { return join(key, l, r), true }
	return newTable(joinForeign(left.changes, right.changes, reference, one, reference != nil && join != nil, options))
}

// joinForeign declares a join by reference:
//
//	left ──> register ──────────────────────────────> results
//	            │ subscriptions              answer ────┘
//	            v                              ^
//	  ─────────────────── repartition topics ──┼───────
//	            │                              │ responses
//	            └────────> subscribe ──────────┤
//	right ───────────────> fan out ────────────┘
//
// What needs no answer goes from register to the results directly: a left row
// that is deleted, or that refers to nothing.
func joinForeign[K, V, K2, V2, R any](
	left changes[K, V], right changes[K2, V2], reference func(K, V) (K2, bool), join func(K, V, *V2) (R, bool), given bool, options []ValueOption[R],
) changes[K, R] {
	t := left.topology
	register := t.process("KTABLE-FK-JOIN-SUBSCRIPTION-REGISTRATION-", left.out.node)
	t.need(register, given)
	key, value := serdeFor(t, register, "keys", left.key), serdeFor(t, register, "values", left.value)
	fkey, fvalue := serdeFor(t, right.out.node, "keys", right.key), serdeFor(t, right.out.node, "values", right.value)

	var n *node // of the results
	named := func(suffix string) func() string { return func() string { return n.name + suffix } }
	sent := &outlet[K2, subscription]{node: register}
	subscriptions := repartitionTopic(t, sent, named("-subscription"), 0, fkey, serde.Serde[subscription](subscriptionSerde{}))
	subscriptions.node.internal.like = right.out.node
	subscribe := t.process("KTABLE-FK-JOIN-SUBSCRIPTION-PROCESSOR-", subscriptions.node)
	fan := t.process("KTABLE-FK-JOIN-FAN-OUT-", right.out.node)
	answers := t.process("KTABLE-FK-JOIN-RESPONSE-", subscribe, fan)
	answered := &outlet[K, response[V2]]{node: answers}
	responses := repartitionTopic(t, answered, named("-response"), 0, key, serde.Serde[response[V2]](responseSerde[V2]{fvalue}))
	responses.node.internal.like = left.out.node
	answer := t.process("KTABLE-FK-JOIN-RESPONSE-PROCESSOR-", responses.node)
	n = t.process("KTABLE-FK-JOIN-OUTPUT-", register, answer)

	results := tabled[K, R](t, n, key, valueSerde(options), nil)
	results.view.quiet = true
	kept := &view[[]byte, []byte]{topology: t, node: subscribe, key: serde.Bytes, value: serde.Bytes}
	kept.quiet = true
	kept.keep("-subscriptions")
	t.connect(fan, kept.store)
	t.naming = append(t.naming, func() { kept.store.name = n.name + "-subscriptions" })
	// Both tables are read as they were forwarded, or an answer would tell of a
	// change that may yet be taken back before it is ever forwarded.
	t.demands = append(t.demands, left.view.sendOld, right.view.sendOld)
	t.reads(subscribe, right.topology, right.view.stores)
	t.reads(answer, left.topology, left.view.stores)
	if left.topology != right.topology {
		return results // which reads has refused
	}

	into := func(w *wiring) receiver[K, change[R]] {
		return once(w, n, func() receiver[K, change[R]] { return guarded(w, n, results.wire(w)) })
	}
	back := func(w *wiring) receiver[K, response[V2]] {
		return once(w, answers, func() receiver[K, response[V2]] { return answered.wire(w) })
	}
	left.out.to(register, func(w *wiring) receiver[K, change[V]] {
		return &registrar[K, V, K2, V2, R]{
			step: w.step(register), key: key, value: value, fkey: newCodec(fkey), reference: reference, join: join,
			result: newCodec(results.value), subscriptions: sent.wire(w), results: into(w),
		}
	})
	subscriptions.to(subscribe, func(w *wiring) receiver[K2, subscription] {
		return &subscriber[K, K2, V2]{
			step: w.step(subscribe), key: key, fkey: fkey, right: right.view.open(w),
			store: newKeeper(w, kept, discard[[]byte, change[[]byte]]{}), responses: back(w),
		}
	})
	right.out.to(fan, func(w *wiring) receiver[K2, change[V2]] {
		store, _ := kept.opened(w)
		return &fanner[K, K2, V2]{step: w.step(fan), key: key, fkey: fkey, store: store, responses: back(w)}
	})
	responses.to(answer, func(w *wiring) receiver[K, response[V2]] {
		return &joiner[K, V, V2, R]{
			step: w.step(answer), left: left.view.open(w), value: value, join: join, result: newCodec(results.value), results: into(w),
		}
	})
	return results
}

// valueHash identifies a value of a left row.
type valueHash [16]byte

func hashOf(value []byte) (h valueHash) {
	sum := sha256.Sum256(value)
	copy(h[:], sum[:])
	return h
}

// registrar tells the right table which of its rows the left one refers to.
type registrar[K, V, K2, V2, R any] struct {
	step
	key           serde.Serde[K]
	value         serde.Serde[V]
	fkey          codec[K2]
	reference     func(K, V) (K2, bool)
	join          func(K, V, *V2) (R, bool)
	result        codec[R]
	subscriptions receiver[K2, subscription]
	results       receiver[K, change[R]]

	old, new, scratch []byte
}

func (r *registrar[K, V, K2, V2, R]) receive(m message[K, change[V]]) (err error) {
	r.enter()
	from, was, err := r.refer(m.key, m.value.old, m.value.hasOld, &r.old)
	if err != nil {
		return r.handle(Processing, err)
	}
	to, is, err := r.refer(m.key, m.value.new, m.value.hasNew, &r.new)
	if err != nil {
		return r.handle(Processing, err)
	}
	var s subscription
	if s.key, err = r.key.Append(nil, m.key); err != nil {
		return r.handle(Processing, err)
	}
	if was && (!is || !bytes.Equal(r.old, r.new)) {
		s.kind = unsubscribing
		if err := r.subscriptions.receive(message[K2, subscription]{from, s, true, true}); err != nil {
			return err
		}
	}
	if !is {
		return r.direct(m)
	}
	if r.scratch, err = r.value.Append(r.scratch[:0], m.value.new); err != nil {
		return r.handle(Processing, err)
	}
	s.kind, s.hash = subscribing, hashOf(r.scratch)
	return r.subscriptions.receive(message[K2, subscription]{to, s, true, true})
}

// refer returns the reference of a left row, and its bytes.
func (r *registrar[K, V, K2, V2, R]) refer(key K, value V, has bool, encoded *[]byte) (fk K2, ok bool, err error) {
	if !has {
		return fk, false, nil
	}
	if fk, ok = r.reference(key, value); !r.fkey.present(fk, ok) {
		return fk, false, nil
	}
	*encoded, err = r.fkey.Append((*encoded)[:0], fk)
	return fk, err == nil, err
}

// direct sends the result of a row that refers to nothing or was deleted.
func (r *registrar[K, V, K2, V2, R]) direct(m message[K, change[V]]) error {
	if !m.value.hasNew && !m.value.hasOld {
		return nil
	}
	var c change[R]
	if m.value.hasNew {
		c.new, c.hasNew = r.join(m.key, m.value.new, nil)
		c.hasNew = r.result.present(c.new, c.hasNew)
	}
	return r.results.receive(message[K, change[R]]{m.key, c, true, true})
}

// subscriber keeps the subscriptions to the right table, and answers them, also
// if there is no right row: a left row may come back with the value that it had
// before it was deleted, and then an answer that is still on its way is taken for
// one to the new row. All answers for one value are about one right row and stay
// in order, so that the last one puts the result right.
type subscriber[K, K2, V2 any] struct {
	step
	key       serde.Serde[K]
	fkey      serde.Serde[K2]
	right     getter[K2, V2]
	store     receiver[[]byte, change[[]byte]]
	responses receiver[K, response[V2]]
	scratch   []byte
}

func (s *subscriber[K, K2, V2]) receive(m message[K2, subscription]) (err error) {
	s.enter()
	if s.scratch, err = subscribersOf(s.scratch[:0], s.fkey, m.key); err != nil {
		return s.handle(Processing, err)
	}
	s.scratch = append(s.scratch, m.value.key...)
	c := change[[]byte]{new: m.value.hash[:], hasNew: m.value.kind != unsubscribing}
	if err := s.store.receive(message[[]byte, change[[]byte]]{s.scratch, c, true, true}); err != nil {
		return err
	}
	if m.value.kind == unsubscribing {
		return nil
	}
	s.enter()
	found, err := s.right.get(m.key, forwarded)
	if err != nil {
		return s.handle(Processing, err)
	}
	key, err := s.key.Decode(m.value.key)
	if err != nil {
		return s.handle(Processing, err)
	}
	ms := s.task.ms
	s.task.ms = max(ms, found.ms)
	err = s.responses.receive(message[K, response[V2]]{key, response[V2]{m.value.hash, found.value, found.ok}, true, true})
	s.task.ms = ms
	return err
}

// fanner sends each change of a right row to the left rows that refer to it, in
// the order of their keys.
type fanner[K, K2, V2 any] struct {
	step
	key       serde.Serde[K]
	fkey      serde.Serde[K2]
	store     *state.KeyValue[[]byte, []byte]
	responses receiver[K, response[V2]]
	scratch   []byte
}

func (f *fanner[K, K2, V2]) receive(m message[K2, change[V2]]) (err error) {
	f.enter()
	if f.scratch, err = subscribersOf(f.scratch[:0], f.fkey, m.key); err != nil {
		return f.handle(Processing, err)
	}
	prefix := f.scratch
	for r, err := range f.store.Prefix(prefix) {
		if err != nil {
			return f.failed(err)
		}
		key, err := f.key.Decode(r.Key[len(prefix):])
		if err != nil {
			return f.handle(Processing, err)
		}
		answer := response[V2]{valueHash(r.Value), m.value.new, m.value.hasNew}
		if err := f.responses.receive(message[K, response[V2]]{key, answer, true, true}); err != nil {
			return err
		}
	}
	return nil
}

// subscribersOf appends the first part of the keys of a right row's
// subscriptions, which the key of a left row follows.
func subscribersOf[K any](dst []byte, s serde.Serde[K], key K) ([]byte, error) {
	b, err := s.Append(nil, key)
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...), err
}

// joiner makes results from answers.
type joiner[K, V, V2, R any] struct {
	step
	left    getter[K, V]
	value   serde.Serde[V]
	join    func(K, V, *V2) (R, bool)
	result  codec[R]
	results receiver[K, change[R]]
	scratch []byte
}

func (j *joiner[K, V, V2, R]) receive(m message[K, response[V2]]) error {
	j.enter()
	left, err := j.left.get(m.key, forwarded)
	if err == nil && left.ok {
		j.scratch, err = j.value.Append(j.scratch[:0], left.value)
	}
	if err != nil {
		return j.handle(Processing, err)
	}
	if !left.ok || hashOf(j.scratch) != m.value.hash {
		return nil // the left row has changed since
	}
	right := row[V2]{value: m.value.right, ok: m.value.hasRight}
	var c change[R]
	j.enter()
	c.new, c.hasNew = j.join(m.key, left.value, right.pointer())
	c.hasNew = j.result.present(c.new, c.hasNew)
	ms := j.task.ms
	j.task.ms = max(ms, left.ms)
	err = j.results.receive(message[K, change[R]]{m.key, c, true, true})
	j.task.ms = ms
	return err
}
