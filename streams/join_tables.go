package streams

// JoinTables joins two tables by their keys: a row of the result for each key
// that both have. A change on either side changes the result. The result's
// timestamp is the larger one of the two rows, and it is deleted when one of
// them is. The topics of both tables must have the same number of partitions.
func JoinTables[K, V, V2, R any](left *KTable[K, V], right *KTable[K, V2], join func(key K, left V, right V2) R, options ...ValueOption[R]) *KTable[K, R] {
	both := func(key K, l *V, r *V2) (result R, ok bool) {
		if l == nil || r == nil {
			return result, false
		}
		return join(key, *l, *r), true
	}
	return newTable(joinTables(left.changes, right.changes, both, join != nil, options))
}

// LeftJoinTables is JoinTables with a row for every row of the left table: join
// gets nil where the right one has none.
func LeftJoinTables[K, V, V2, R any](left *KTable[K, V], right *KTable[K, V2], join func(key K, left V, right *V2) R, options ...ValueOption[R]) *KTable[K, R] {
	one := func(key K, l *V, r *V2) (result R, ok bool) {
		if l == nil {
			return result, false
		}
		return join(key, *l, r), true
	}
	return newTable(joinTables(left.changes, right.changes, one, join != nil, options))
}

// OuterJoinTables is JoinTables with a row for every row of either table: join
// gets nil for the one that is missing.
func OuterJoinTables[K, V, V2, R any](left *KTable[K, V], right *KTable[K, V2], join func(key K, left *V, right *V2) R, options ...ValueOption[R]) *KTable[K, R] {
	either := func(key K, l *V, r *V2) (result R, ok bool) {
		if l == nil && r == nil {
			return result, false
		}
		return join(key, l, r), true
	}
	return newTable(joinTables(left.changes, right.changes, either, join != nil, options))
}

// joinTables declares a join of two tables: a node for each side, and one that
// emits the results of both. join returns false where there is no row.
//
// A side reads the rows of the other one as they were forwarded, so that what it
// computes is a change from the last result to the next one, also while stores
// hold changes back. That does not hold if both sides come from one store, whose
// change reaches one side first while the other one reads it already. Then the
// results are kept in a store, which knows what was forwarded. (Kafka forwards
// what the sides compute, and never deletes some results: KAFKA-6443.)
func joinTables[K, V, V2, R any](
	left changes[K, V], right changes[K, V2], join func(K, *V, *V2) (R, bool), given bool, options []ValueOption[R],
) changes[K, R] {
	t := left.topology
	merged := t.generate("KTABLE-MERGE-")
	this := t.process("KTABLE-JOINTHIS-", left.out.node)
	other := t.process("KTABLE-JOINOTHER-", right.out.node)
	n := t.add(processorNode, merged, this, other)
	t.need(n, given)
	value := valueSerde(options)
	codec, unchecked := newCodec(value), join
	join = func(key K, l *V, r *V2) (R, bool) {
		result, ok := unchecked(key, l, r)
		return result, codec.present(result, ok)
	}
	results := tabled(t, n, left.key, value, &joinedRows[K, V, V2, R]{left: left.view, right: right.view, node: n, join: join})
	t.reads(this, right.topology, right.view.stores)
	t.reads(other, left.topology, left.view.stores)
	t.demands = append(t.demands, func() {
		left.view.sendOld()
		right.view.sendOld()
		if meet(left.view.stores(), right.out.node) || meet(right.view.stores(), left.out.node) {
			results.view.keep("")
		}
		results.view.quiet = true
	})
	into := func(w *wiring) receiver[K, change[R]] {
		return once(w, n, func() receiver[K, change[R]] { return guarded(w, n, results.wire(w)) })
	}
	left.out.to(this, func(w *wiring) receiver[K, change[V]] {
		return &joinSide[K, V, V2, R]{step: w.step(this), other: right.view.open(w), join: join, view: results.view, next: into(w)}
	})
	right.out.to(other, func(w *wiring) receiver[K, change[V2]] {
		mirrored := func(key K, r *V2, l *V) (R, bool) { return join(key, l, r) }
		return &joinSide[K, V2, V, R]{step: w.step(other), other: left.view.open(w), join: mirrored, view: results.view, next: into(w)}
	})
	return results
}

// joinSide joins the changes of one table with the rows of another.
type joinSide[K, V, O, R any] struct {
	step
	other getter[K, O]
	join  func(K, *V, *O) (R, bool)
	view  *view[K, R]
	next  receiver[K, change[R]]
}

func (j *joinSide[K, V, O, R]) receive(m message[K, change[V]]) error {
	j.enter()
	row, err := j.other.get(m.key, forwarded)
	if err != nil {
		return j.handle(Processing, err)
	}
	j.enter()
	var c change[R]
	if m.value.hasNew {
		c.new, c.hasNew = j.join(m.key, &m.value.new, row.pointer())
	} else {
		c.new, c.hasNew = j.join(m.key, nil, row.pointer())
	}
	switch {
	case j.view.store != nil: // which knows the old result
	case m.value.hasOld:
		c.old, c.hasOld = j.join(m.key, &m.value.old, row.pointer())
	default:
		c.old, c.hasOld = j.join(m.key, nil, row.pointer())
	}
	if !c.hasNew && !c.hasOld && j.view.store == nil {
		return nil // there was no result, and there is none
	}
	ms := j.task.ms
	if row.ok {
		j.task.ms = max(ms, row.ms)
	}
	err = j.next.receive(message[K, change[R]]{key: m.key, hasKey: true, value: c, hasValue: true})
	j.task.ms = ms
	return err
}

// joinedRows are the rows of a join that are not in a store.
type joinedRows[K, V, V2, R any] struct {
	left  rows[K, V]
	right rows[K, V2]
	node  *node
	join  func(K, *V, *V2) (R, bool)
}

func (j *joinedRows[K, V, V2, R]) sendOld() {} // a join always asks both sides

func (j *joinedRows[K, V, V2, R]) stores() []*storeDecl {
	return append(append([]*storeDecl(nil), j.left.stores()...), j.right.stores()...)
}

func (j *joinedRows[K, V, V2, R]) open(w *wiring) getter[K, R] {
	return &joiningRows[K, V, V2, R]{step: w.step(j.node), left: j.left.open(w), right: j.right.open(w), join: j.join}
}

type joiningRows[K, V, V2, R any] struct {
	step
	left  getter[K, V]
	right getter[K, V2]
	join  func(K, *V, *V2) (R, bool)
}

func (j *joiningRows[K, V, V2, R]) get(key K, as age) (r row[R], err error) {
	left, err := j.left.get(key, as)
	if err != nil {
		return r, err
	}
	right, err := j.right.get(key, as)
	if err != nil {
		return r, err
	}
	j.enter()
	r.ms = max(left.ms, right.ms)
	r.value, r.ok = j.join(key, left.pointer(), right.pointer())
	return r, nil
}
